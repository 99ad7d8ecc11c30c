use std::collections::BTreeSet;
use std::fs::{self, DirEntry, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bcrlapi_domain::JobId;
use bcrlapi_domain::limits::RETENTION;
use bcrlapi_exchange::layout;
use chrono::{DateTime, Utc};

use crate::{DirectoryError, Lock, durable};

/// The shared directory: one place on disk, with the verbs of the protocol.
#[derive(Clone, Debug)]
pub struct SharedDir {
    root: PathBuf,
}

impl SharedDir {
    /// Opens the directory, which must be there: one that is not is not mounted, or its name has a slip. Makes the
    /// folders in it where they are missing.
    pub fn open(root: &Path) -> Result<Self, DirectoryError> {
        let root = root.canonicalize().map_err(DirectoryError::at(root))?;
        let directory = Self { root };
        directory.make_folders()?;
        Ok(directory)
    }

    /// The directory of this path, whatever is there.
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// Makes the folders that are not there; says whether there were any. A link is no folder: it may lead anywhere.
    pub fn make_folders(&self) -> Result<bool, DirectoryError> {
        let mut has_made_one = false;
        for folder in layout::FOLDERS {
            let folder = self.path(folder);
            match fs::create_dir(&folder) {
                Ok(()) => has_made_one = true,
                Err(error) if error.kind() == ErrorKind::AlreadyExists && is_folder(&folder) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    return Err(DirectoryError::NotAFolder(folder));
                }
                Err(error) => return Err(DirectoryError::at(&folder)(error)),
            }
        }
        Ok(has_made_one)
    }

    /// The full path of a name of the [`layout`].
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Takes the lock that guards the queue; waits for another holder, within a limit.
    pub fn lock(&self) -> Result<Lock, DirectoryError> {
        Lock::acquire(&self.path(layout::STATUS_LOCK))
    }

    /// Makes the caller the one agent of this directory, until it drops the lock or dies.
    pub fn lock_for_agent(&self) -> Result<Lock, DirectoryError> {
        let lock = Lock::try_acquire(&self.path(layout::AGENT_LOCK))?;
        lock.ok_or_else(|| DirectoryError::SecondAgent(self.root.clone()))
    }

    /// Whether this lock on behalf of the agent still is on this directory: another one may stand in its place.
    pub fn is_locked_by(&self, lock: &Lock) -> bool {
        lock.is_on(&self.path(layout::AGENT_LOCK))
    }

    /// The jobs whose request files are there.
    pub fn requests(&self) -> Result<BTreeSet<JobId>, DirectoryError> {
        self.jobs_in(layout::REQUEST_DIR)
    }

    /// The jobs whose response files are there.
    pub fn responses(&self) -> Result<BTreeSet<JobId>, DirectoryError> {
        self.jobs_in(layout::RESPONSE_DIR)
    }

    fn jobs_in(&self, folder: &str) -> Result<BTreeSet<JobId>, DirectoryError> {
        let folder = self.path(folder);
        let job_of = |file: io::Result<DirEntry>| -> io::Result<Option<JobId>> {
            let file = file?;
            let is_file = file.file_type()?.is_file();
            Ok(file.file_name().to_str().filter(|_| is_file).and_then(layout::job_named))
        };
        let files = fs::read_dir(&folder).map_err(DirectoryError::at(&folder))?;
        files
            .filter_map(|file| job_of(file).transpose())
            .collect::<io::Result<_>>()
            .map_err(DirectoryError::at(&folder))
    }

    /// Whether the job's request file is there.
    pub fn has_request(&self, id: JobId) -> bool {
        fs::symlink_metadata(self.path(&layout::request(id))).is_ok_and(|metadata| metadata.is_file())
    }

    /// Writes the job's request file in one step. Its name is durable after [`SharedDir::sync_requests`]: once for many.
    pub fn write_request(&self, id: JobId, content: &[u8]) -> Result<(), DirectoryError> {
        let staged = self.path(&layout::request_staged(id));
        durable::stage(&staged, |file| file.write_all(content), None)?;
        durable::rename(&staged, &self.path(&layout::request(id)))
    }

    /// Makes all request files that were written durable. To be called before their entries come into the queue.
    pub fn sync_requests(&self) -> Result<(), DirectoryError> {
        durable::sync_folder(&self.path(layout::REQUEST_DIR))
    }

    /// Writes the job's response file, durably and in one step.
    pub fn write_response(&self, id: JobId, mut content: impl Read) -> Result<(), DirectoryError> {
        let staged = self.path(&layout::response_staged(id));
        durable::stage(&staged, |file| io::copy(&mut content, file).map(drop), None)?;
        durable::put_in_place(&staged, &self.path(&layout::response(id)))
    }

    /// When the job's response file was last written; `None` where there is none.
    pub fn response_date(&self, id: JobId) -> Option<SystemTime> {
        let metadata = fs::symlink_metadata(self.path(&layout::response(id))).ok()?;
        metadata.modified().ok().filter(|_| metadata.is_file())
    }

    /// Removes the files of jobs whose week is over at `now`, and queues that were put aside as long ago; says how
    /// many. Nothing else is touched, however old it is. What cannot be removed does not keep the rest.
    pub fn prune(&self, now: DateTime<Utc>) -> Result<usize, DirectoryError> {
        let mut removed = 0;
        let mut failed = None;
        for folder in [layout::REQUEST_DIR, layout::RESPONSE_DIR] {
            let folder = self.path(folder);
            for file in fs::read_dir(&folder).map_err(DirectoryError::at(&folder))? {
                let file = file.map_err(DirectoryError::at(&folder))?;
                if is_outdated(&file, now) {
                    match durable::remove(&file.path()) {
                        Ok(()) => removed += 1,
                        Err(error) => failed = Some(error),
                    }
                }
            }
        }
        failed.map_or(Ok(removed), Err)
    }

    /// The job's response file; `None` where the APP has not written it.
    pub fn open_response(&self, id: JobId) -> Result<Option<File>, DirectoryError> {
        durable::open_regular(&self.path(&layout::response(id)))
    }
}

fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// Whether the file is one that the protocol makes, and a week old.
fn is_outdated(file: &DirEntry, now: DateTime<Utc>) -> bool {
    let (name, Ok(metadata)) = (file.file_name(), file.metadata()) else { return false };
    let Some(name) = name.to_str().filter(|_| metadata.is_file()) else { return false };
    let is_old = || metadata.modified().is_ok_and(|date| now - DateTime::from(date) >= RETENTION);
    layout::job_of_file(name).is_some_and(|id| id.is_expired(now)) || (layout::is_corrupt_status(name) && is_old())
}
