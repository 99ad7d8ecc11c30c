//! Where things go: data to standard output or to a file, words to standard error.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Serialize;
use tempfile::NamedTempFile;

pub(crate) const CANNOT_WRITE: &str = "cannot write to standard output";
/// What standard output is called. Not opened by its name: that would lose what a shell has written there before.
const STANDARD_OUTPUTS: [&str; 4] = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];
/// Where what is open already has names.
const OPEN_FILES: [&str; 3] = ["/dev/fd/", "/dev/std", "/proc/"];
/// For a new file, before the umask.
const MODE: u32 = 0o666;
/// What is kept of an older file's mode: who may do what, and no setuid.
const MODE_BITS: u32 = 0o777;

/// Says something to the person at the terminal.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{}", text.trim_end());
}

pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(format!("{}\n", serde_json::to_string_pretty(value)?).as_bytes())
}

/// Writes to standard output. That its reader has seen enough (`| head`) is no error.
pub(crate) fn print(bytes: &[u8]) -> anyhow::Result<()> {
    let written = io::stdout().write_all(bytes).and_then(|()| io::stdout().flush());
    unless_closed(written.context(CANNOT_WRITE))
}

/// That the reader of standard output has seen enough is no error.
pub(crate) fn unless_closed(written: anyhow::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error) if is_closed_pipe(&error) => Ok(()),
        written => written,
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let error: Option<&io::Error> = error.downcast_ref();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Where a result is to go.
pub(crate) struct Output {
    /// Whether somebody has said so.
    pub(crate) is_given: bool,
    /// Standard output without one.
    pub(crate) file: Option<PathBuf>,
}

impl Output {
    /// What `--output` says: a file, which has to be one that can be written, or `-`.
    pub(crate) fn of(given: Option<PathBuf>) -> anyhow::Result<Self> {
        let is_given = given.is_some();
        let file = given.filter(|path| !path.to_str().is_some_and(|name| STANDARD_OUTPUTS.contains(&name)));
        if let Some(path) = &file {
            NewFile::check(path)?;
        }
        Ok(Self { is_given, file })
    }
}

/// A file that is written aside and gets its name when it is whole, so that a full disk costs no older one.
pub(crate) enum NewFile {
    Aside {
        file: NamedTempFile,
        path: PathBuf,
    },
    /// A device, a pipe: nothing to be replaced.
    Direct(File),
}

impl NewFile {
    /// Begins a file that is to have this name.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("cannot write {}", path.display());
        if path.to_str().is_some_and(|name| OPEN_FILES.iter().any(|start| name.starts_with(start))) {
            return Ok(Self::Direct(OpenOptions::new().append(true).open(path).with_context(cannot)?));
        }

        let before = fs::metadata(path).ok();
        if before.as_ref().is_some_and(|before| !before.is_file()) {
            return Ok(Self::Direct(OpenOptions::new().write(true).open(path).with_context(cannot)?));
        }
        if before.is_some() {
            // What may not be written may not be replaced either.
            OpenOptions::new().append(true).open(path).with_context(cannot)?;
        } else if path.is_symlink() {
            bail!("{}: it is a link that leads nowhere", cannot());
        }
        // A link goes on leading to what it leads to.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());

        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::Builder::new()
            .prefix(".bcrlapi-")
            .permissions(Permissions::from_mode(MODE))
            .tempfile_in(folder)
            // Without the name of the file beside, which nobody knows.
            .map_err(|error| io::Error::from(error.kind()))
            .with_context(cannot)?;
        if let Some(before) = before {
            // Only root gives a file away; what cannot be kept is the writer's own.
            let _ = fchown(file.as_file(), Some(before.uid()), Some(before.gid()));
            let mode = Permissions::from_mode(before.mode() & MODE_BITS);
            file.as_file().set_permissions(mode).with_context(cannot)?;
        }
        Ok(Self::Aside { file, path })
    }

    /// Fails where a file of this name could not be written: better before a job of hours than after it.
    pub(crate) fn check(path: &Path) -> anyhow::Result<()> {
        Self::create(path).map(drop)
    }

    /// Gives the whole file its name.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        let Self::Aside { file, path } = self else { return Ok(()) };
        let cannot = || format!("cannot write {}", path.display());
        file.as_file().sync_all().with_context(cannot)?;
        file.persist(&path).map_err(|error| error.error).with_context(cannot)?;
        Ok(())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Aside { file, .. } => file.write(bytes),
            Self::Direct(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Aside { file, .. } => file.flush(),
            Self::Direct(file) => file.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn write(path: &Path, text: &str) {
        let mut file = NewFile::create(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.finish().unwrap();
    }

    #[test]
    fn an_older_file_stands_until_the_new_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.json");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();

        let mut begun = NewFile::create(&path).unwrap();
        begun.write_all(b"half").unwrap();
        drop(begun);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left of what was begun");

        write(&path, "new");
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn a_link_goes_on_leading_there_and_a_device_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("out.json"), folder.path().join("latest"));
        fs::write(&path, "old").unwrap();
        symlink(&path, &link).unwrap();
        write(&link, "new");
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        write(Path::new("/dev/null"), "nothing");
    }
}
