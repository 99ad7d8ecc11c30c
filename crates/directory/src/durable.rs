//! Opening without surprises and writing without half-measures.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use crate::{DirectoryError, Fingerprint};

/// Opens a regular file for reading; none if there is nothing. A link is not followed, a FIFO not waited for.
pub(crate) fn open_regular(path: &Path) -> Result<Option<File>, DirectoryError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if is_link(&error) => return Err(DirectoryError::NotAFile(path.to_owned())),
        Err(error) => return Err(DirectoryError::at(path)(error)),
    };
    let metadata = file.metadata().map_err(DirectoryError::at(path))?;
    if metadata.is_file() { Ok(Some(file)) } else { Err(DirectoryError::NotAFile(path.to_owned())) }
}

/// Opens a file for writing and makes it where it is missing. A link is not followed.
pub(crate) fn open_or_create(path: &Path) -> Result<File, DirectoryError> {
    let flags = OFlags::NOFOLLOW;
    let options =
        OpenOptions::new().write(true).create(true).truncate(false).custom_flags(flags.bits().cast_signed()).clone();
    options.open(path).map_err(DirectoryError::at(path))
}

/// Writes `content` to `staged` and makes sure that it is on the disk. What stood there, from a crash, goes.
/// The file's permissions are those of `like`, where given: an in-place writer must be able to go on.
pub(crate) fn stage(staged: &Path, content: &[u8], like: Option<Permissions>) -> Result<Fingerprint, DirectoryError> {
    let write = || -> io::Result<Fingerprint> {
        match fs::remove_file(staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).open(staged)?;
        file.write_all(content)?;
        if let Some(permissions) = like {
            file.set_permissions(permissions)?;
        }
        file.sync_all()?;
        Ok(Fingerprint::of(&file.metadata()?))
    };
    write().map_err(DirectoryError::at(staged))
}

/// Gives the staged file its name, for good: the folder is synced too.
pub(crate) fn put_in_place(staged: &Path, path: &Path) -> Result<(), DirectoryError> {
    fs::rename(staged, path).map_err(DirectoryError::at(path))?;
    let folder = path.parent().expect("a file of the layout is in a folder");
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(DirectoryError::at(folder))
}

fn is_link(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}
