//! The directory's side of an audit: read only, and nothing but regular files is read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::iter;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use bcrlapi_directory::{DirectoryError, DirectoryTrial, JOURNAL_MAX_BYTES};
use bcrlapi_domain::JobId;
use bcrlapi_exchange::audit::{FileSeen, StatusSeen, read_journal};
use bcrlapi_exchange::{BrokenQueue, Entry, Queue, layout};
use chrono::{DateTime, Utc};
use rustix::fs::{Gid, Mode, OFlags};

const OWNER_READS: u32 = 0o400;
const GROUP_READS: u32 = 0o040;
const OTHERS_READ: u32 = 0o004;

/// What is in a shared directory.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) has_agent: bool,
    pub(super) status: StatusSeen,
    pub(super) requests: BTreeSet<JobId>,
    pub(super) responses: BTreeMap<JobId, DateTime<Utc>>,
    pub(super) journal: Vec<Entry>,
    pub(super) displaced: Vec<FileSeen>,
    pub(super) running: Vec<FileSeen>,
    pub(super) corrupt: Vec<String>,
    pub(super) unreadable: Vec<String>,
    pub(super) misplaced: Vec<String>,
}

/// Looks at all of it. Fails only where the directory itself is not to be seen.
pub(super) fn look(root: &Path) -> Result<Files, DirectoryError> {
    let reader = Reader::this_process();
    let mut look = Look { root, reader, unreadable: Vec::new(), misplaced: Vec::new() };
    let has_agent = DirectoryTrial::of(root)?.has_agent()?;

    let request_files = look.list(layout::REQUEST_DIR)?;
    let response_files = look.list(layout::RESPONSE_DIR)?;
    let responses = look.jobs_of(&response_files);
    let requests = look.jobs_of(&request_files);
    let is_corrupt = |file: &&Listed| layout::is_corrupt_status(file.last_name());

    Ok(Files {
        has_agent,
        status: look.status()?,
        requests: requests.into_keys().collect(),
        responses,
        journal: look.journal()?,
        displaced: look.regular_files(layout::DISPLACED_DIR)?,
        running: look.regular_files(layout::RUNNING_DIR)?,
        corrupt: request_files.iter().filter(is_corrupt).map(|file| file.name.clone()).collect(),
        unreadable: look.unreadable,
        misplaced: look.misplaced,
    })
}

/// A name in one of the folders, and what stands there.
struct Listed {
    name: String,
    metadata: Metadata,
}

impl Listed {
    fn last_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }

    fn written(&self) -> DateTime<Utc> {
        written(&self.metadata)
    }
}

struct Look<'a> {
    root: &'a Path,
    reader: Reader,
    unreadable: Vec<String>,
    misplaced: Vec<String>,
}

impl Look<'_> {
    /// All names in a folder; none where it is not there, or may not be listed.
    fn list(&mut self, folder: &str) -> Result<Vec<Listed>, DirectoryError> {
        let path = self.root.join(folder);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                self.misplaced.push(folder.to_owned());
                return Ok(Vec::new());
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(DirectoryError::Io { path, source }),
        }

        let files = match fs::read_dir(&path) {
            Ok(files) => files,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                self.unreadable.push(folder.to_owned());
                return Ok(Vec::new());
            }
            Err(source) => return Err(DirectoryError::Io { path, source }),
        };

        let mut listed = Vec::new();
        for file in files {
            let file = file.map_err(|source| DirectoryError::Io { path: path.clone(), source })?;
            let Ok(name) = file.file_name().into_string() else { continue };
            // What goes meanwhile is of no interest.
            let Ok(metadata) = file.metadata() else { continue };
            listed.push(Listed { name: format!("{folder}/{name}"), metadata });
        }
        listed.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(listed)
    }

    /// The jobs whose files these are, and when each was last written.
    fn jobs_of(&mut self, files: &[Listed]) -> BTreeMap<JobId, DateTime<Utc>> {
        let mut jobs = BTreeMap::new();

        for file in files {
            let Some(id) = layout::job_named(file.last_name()) else { continue };
            if !file.metadata.is_file() {
                self.misplaced.push(file.name.clone());
                continue;
            }

            self.note_if_unreadable(file);
            jobs.insert(id, file.written());
        }

        jobs
    }

    fn regular_files(&mut self, folder: &str) -> Result<Vec<FileSeen>, DirectoryError> {
        let files = self.list(folder)?;
        let regular = files.into_iter().filter(|file| file.metadata.is_file());
        let seen =
            |file: Listed| FileSeen { written: file.written(), size_bytes: file.metadata.len(), name: file.name };
        Ok(regular.map(seen).collect())
    }

    /// Tries to open only what its mode seems to forbid: a lab has many files, and an access list
    /// may permit it.
    fn note_if_unreadable(&mut self, file: &Listed) {
        if !self.reader.may_read(&file.metadata) && is_denied(&open(&self.root.join(&file.name))) {
            self.unreadable.push(file.name.clone());
        }
    }

    fn status(&mut self) -> Result<StatusSeen, DirectoryError> {
        let Some((bytes, metadata)) = self.read(layout::STATUS, Queue::MAX_BYTES)? else {
            let is_denied = self.unreadable.iter().any(|name| name == layout::STATUS);
            let denied = || StatusSeen::Broken("the agent's user may not read it".to_owned());
            return Ok(if is_denied { denied() } else { StatusSeen::Missing });
        };

        let size_bytes = metadata.len();
        if size_bytes > Queue::MAX_BYTES {
            return Ok(StatusSeen::Broken(BrokenQueue::TooLarge { size_bytes }.to_string()));
        }

        let is_ascii = bytes.is_ascii();
        Ok(match Queue::parse(bytes) {
            Ok(queue) => StatusSeen::Whole { queue, is_ascii, written: written(&metadata) },
            Err(broken) => StatusSeen::Broken(broken.to_string()),
        })
    }

    fn journal(&mut self) -> Result<Vec<Entry>, DirectoryError> {
        let journal = self.read(layout::JOURNAL, JOURNAL_MAX_BYTES)?;
        Ok(journal.map(|(bytes, _)| read_journal(&bytes)).unwrap_or_default())
    }

    /// A file's bytes, at most so many; `None` where there is none that can be read, which is
    /// noted.
    fn read(&mut self, name: &str, max_bytes: u64) -> Result<Option<(Vec<u8>, Metadata)>, DirectoryError> {
        let path = self.root.join(name);
        let at = |source| DirectoryError::Io { path: path.clone(), source };

        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => {
                self.misplaced.push(name.to_owned());
                return Ok(None);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(at(source)),
        }

        let opened = open(&path);
        if is_denied(&opened) {
            self.unreadable.push(name.to_owned());
            return Ok(None);
        }

        let file = opened.map_err(at)?;
        let metadata = file.metadata().map_err(at)?;
        let mut bytes = Vec::new();
        file.take(max_bytes).read_to_end(&mut bytes).map_err(at)?;
        Ok(Some((bytes, metadata)))
    }
}

/// Opens a file for reading. A link that has come in its place is not followed, a FIFO not waited
/// for.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

fn is_denied(opened: &io::Result<File>) -> bool {
    opened.as_ref().is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

/// Who reads, as far as it matters to a file's mode.
struct Reader {
    user: u32,
    groups: Vec<u32>,
}

impl Reader {
    const ROOT: u32 = 0;

    fn this_process() -> Self {
        let groups = rustix::process::getgroups().unwrap_or_default();
        let groups = iter::once(rustix::process::getegid()).chain(groups);
        Self { user: rustix::process::geteuid().as_raw(), groups: groups.map(Gid::as_raw).collect() }
    }

    /// Whether a file of this mode and these owners may be read.
    fn may(&self, mode: u32, owner: u32, group: u32) -> bool {
        // Of the three classes, the first that fits is the one that counts.
        let needed = if self.user == owner {
            OWNER_READS
        } else if self.groups.contains(&group) {
            GROUP_READS
        } else {
            OTHERS_READ
        };
        self.user == Self::ROOT || mode & needed != 0
    }

    fn may_read(&self, metadata: &Metadata) -> bool {
        self.may(metadata.mode(), metadata.uid(), metadata.gid())
    }
}

/// When a file was last written; a file system without such dates says nothing, and it is as old as
/// can be.
fn written(metadata: &Metadata) -> DateTime<Utc> {
    metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_counts_for_the_first_class_that_fits() {
        let reader = |user| Reader { user, groups: vec![50, 60] };
        assert!(reader(1).may(0o400, 1, 7));
        assert!(!reader(1).may(0o044, 1, 50), "an owner has no more than the owner's");
        assert!(reader(2).may(0o040, 1, 60));
        assert!(!reader(2).may(0o404, 1, 60), "nor has a group");
        assert!(reader(2).may(0o004, 1, 7));
        assert!(!reader(2).may(0o660, 1, 7));
        assert!(reader(0).may(0o000, 1, 7), "root may read everything");
    }

    #[test]
    fn nothing_but_regular_files_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let secret = root.join("secret");
        fs::write(&secret, "{\"jobs\": []}").unwrap();
        fs::create_dir_all(root.join("request")).unwrap();
        fs::create_dir(root.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(&secret, root.join(layout::STATUS)).unwrap();
        std::os::unix::fs::symlink(root.join("elsewhere"), root.join(layout::RESPONSE_DIR)).unwrap();

        let files = look(root).unwrap();
        assert!(matches!(files.status, StatusSeen::Missing));
        assert_eq!(files.misplaced, [layout::RESPONSE_DIR, layout::STATUS]);
        assert!(open(&root.join(layout::STATUS)).is_err(), "also if it comes after it was looked at");
    }

    #[test]
    fn what_is_there_is_listed_by_its_kind() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let id: JobId = "018aef2c-7a00-7000-8000-000000000001".parse().unwrap();
        let running = format!("{}/{id}.json", layout::RUNNING_DIR);
        for folder in [layout::DISPLACED_DIR, layout::RUNNING_DIR] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let names = [
            layout::request(id),
            layout::response(id),
            layout::status_corrupt("20261122T093000Z"),
            layout::displaced(17),
            running.clone(),
            "request/a note".to_owned(),
        ];
        for name in &names {
            fs::write(root.join(name), "1").unwrap();
        }
        fs::write(root.join(layout::STATUS), "{\"jobs\": [1").unwrap();
        fs::write(root.join(layout::JOURNAL), format!("{{\"uuid\": \"{id}\", \"status\": \"done\"}}\n{{\"uuid\": "))
            .unwrap();

        let files = look(root).unwrap();
        assert!(!files.has_agent);
        assert!(matches!(&files.status, StatusSeen::Broken(reason) if reason.contains("not valid JSON")));
        assert_eq!((files.requests, files.responses.into_keys().collect()), ([id].into(), vec![id]));
        assert_eq!(files.journal.iter().map(Entry::id).collect::<Vec<_>>(), [Some(id)]);
        let seen =
            |files: &[FileSeen]| files.iter().map(|file| (file.name.clone(), file.size_bytes)).collect::<Vec<_>>();
        assert_eq!(seen(&files.displaced), [(layout::displaced(17), 1)]);
        assert_eq!(seen(&files.running), [(running, 1)]);
        assert_eq!(files.corrupt, [layout::status_corrupt("20261122T093000Z")]);
        assert_eq!((files.unreadable, files.misplaced), (vec![], vec![]));
    }
}
