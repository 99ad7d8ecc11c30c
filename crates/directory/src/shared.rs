use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bcrlapi_domain::JobId;
use bcrlapi_domain::limits::RETENTION;
use bcrlapi_exchange::layout;
use chrono::{DateTime, Utc};

use crate::durable::Like;
use crate::facts::Facts;
use crate::folder::Folder;
use crate::memory::Memory;
use crate::{DirectoryError, FileSystem, Lock, durable};

/// The shared directory: one place on disk, with the verbs of the protocol.
///
/// Its path is opened anew for each operation, as another file system may be mounted there
/// meanwhile; within an operation everything is done beneath the folders that were opened at its
/// beginning.
#[derive(Clone, Debug)]
pub struct SharedDir {
    root: PathBuf,
    pub(crate) memory: Arc<Memory>,
}

impl SharedDir {
    /// Opens the directory, which must be there: one that is not is not mounted, or its name has a slip. Makes the
    /// folders in it where they are missing.
    pub fn open(root: &Path) -> Result<Self, DirectoryError> {
        let root = root.canonicalize().map_err(DirectoryError::at(root))?;
        let directory = Self::at(root);
        directory.make_folders()?;
        Ok(directory)
    }

    /// The directory of this path, whatever is there.
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { root, memory: Arc::default() }
    }

    pub(crate) fn root(&self) -> Result<Folder, DirectoryError> {
        Folder::open_root(&self.root)
    }

    /// Makes the folders that are not there; says whether there were any. A link is no folder: it may lead anywhere.
    pub fn make_folders(&self) -> Result<bool, DirectoryError> {
        let root = self.root()?;
        let mut has_made_one = false;
        for name in layout::FOLDERS {
            has_made_one |= make_folder(&root, name)?;
        }

        adopt_what_an_older_version_staged(&root)?;
        Ok(has_made_one)
    }

    /// The full path of a name of the [`layout`].
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Which file system the directory is on.
    pub fn file_system(&self) -> Result<FileSystem, DirectoryError> {
        FileSystem::of(&self.root()?)
    }

    /// Whether the files may come from another computer or through another process, and names and
    /// times from a cache. Where nobody can say, they do.
    pub fn is_remote(&self) -> bool {
        self.file_system().map_or(true, |system| system.is_network_or_fuse)
    }

    /// Takes the lock that guards the queue; waits for another holder, within a limit.
    pub fn lock(&self) -> Result<Lock, DirectoryError> {
        let request = self.root()?.open(layout::REQUEST_DIR)?;
        Lock::acquire(&request, name_of(layout::STATUS_LOCK))
    }

    /// Makes the caller the one agent of this directory, until it drops the lock or dies.
    pub fn lock_for_agent(&self) -> Result<Lock, DirectoryError> {
        let lock = Lock::try_acquire(&self.root()?, layout::AGENT_LOCK)?;
        lock.ok_or_else(|| DirectoryError::SecondAgent(self.root.clone()))
    }

    /// Whether this lock on behalf of the agent still is on this directory: another one may stand in its place.
    pub fn is_locked_by(&self, lock: &Lock) -> bool {
        self.root().is_ok_and(|root| lock.is_on(&root, layout::AGENT_LOCK))
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
        let folder = self.root()?.open(folder)?;
        let files = folder.files(|name| layout::job_named(name).is_some())?;
        Ok(files.iter().filter_map(|name| layout::job_named(name)).collect())
    }

    /// The jobs of these whose request files are there, as this computer remembers: where files
    /// come from elsewhere, [`SharedDir::requests`] knows.
    pub fn requests_of(&self, jobs: impl Iterator<Item = JobId>) -> Result<BTreeSet<JobId>, DirectoryError> {
        let folder = self.root()?.open(layout::REQUEST_DIR)?;
        let mut there = BTreeSet::new();
        for id in jobs {
            let request = layout::request(id);
            let is_there = match folder.facts_of(name_of(&request)) {
                Ok(facts) => facts.is_some_and(|facts| facts.is_file()),
                // A damaged one keeps nobody from looking at the others. A disk that fails says so
                // of names that are not there too.
                Err(error) if error.is_damage() => folder.lists(name_of(&request))?,
                Err(error) => return Err(error),
            };
            if is_there {
                there.insert(id);
            }
        }
        Ok(there)
    }

    /// Writes the job's request file in one step. Its name is durable after [`SharedDir::sync_requests`]: once for many.
    pub fn write_request(&self, id: JobId, content: &[u8]) -> Result<(), DirectoryError> {
        let folder = self.root()?.open(layout::REQUEST_DIR)?;
        let (staged, name) = (layout::request_staged(id), layout::request(id));
        let file = durable::stage(&folder, name_of(&staged), |file| file.write_all(content))?;
        durable::put_in_place(&folder, &file, name_of(&staged), name_of(&name))
    }

    /// Makes all request files that were written durable. To be called before their entries come into the queue.
    pub fn sync_requests(&self) -> Result<(), DirectoryError> {
        self.root()?.open(layout::REQUEST_DIR)?.sync()
    }

    /// Writes the job's response file, durably and in one step.
    pub fn write_response(&self, id: JobId, mut content: impl Read) -> Result<(), DirectoryError> {
        let folder = self.root()?.open(layout::RESPONSE_DIR)?;
        let (staged, name) = (layout::response_staged(id), layout::response(id));
        let file = durable::stage(&folder, name_of(&staged), |file| io::copy(&mut content, file).map(drop))?;
        durable::put_in_place(&folder, &file, name_of(&staged), name_of(&name))?;
        folder.sync()
    }

    /// The job's response file; `None` where the APP has not written it.
    pub fn open_response(&self, id: JobId) -> Result<Option<File>, DirectoryError> {
        let folder = self.root()?.open(layout::RESPONSE_DIR)?;
        let opened = folder.open_single(name_of(&layout::response(id)))?;
        Ok(opened.map(|opened| opened.file))
    }

    /// Removes the files of jobs whose week is over at `now`, and queues that were put aside as long ago; says how
    /// many. Nothing else is touched, however old it is. What cannot be removed does not keep the rest.
    pub fn prune(&self, now: DateTime<Utc>) -> Result<usize, DirectoryError> {
        let root = self.root()?;
        let mut removed = 0;
        let mut failed = None;
        for name in [layout::REQUEST_DIR, layout::RESPONSE_DIR, layout::RUNNING_DIR] {
            let Some(folder) = root.open_if_there(name)? else { continue };
            let job_of = if name == layout::RUNNING_DIR { layout::job_of_running } else { layout::job_of_file };
            for file in outdated(&folder, job_of, now, &mut failed)? {
                match folder.remove(&file) {
                    Ok(()) => removed += 1,
                    Err(error) => failed = Some(error),
                }
            }
        }
        failed.map_or(Ok(removed), Err)
    }
}

/// The last component of a name of the layout.
pub(crate) fn name_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// Nanoseconds since 1970 by this computer's clock: a number that hardly any other file has.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or_default()
}

/// Makes a folder of the layout, for those who may work in the folder that it is in; says whether
/// there was none.
fn make_folder(root: &Folder, name: &str) -> Result<bool, DirectoryError> {
    // Looked for first: making one locks the folder that it is in, also where it is there already.
    let there = root.open_if_there(name)?;
    let is_new = there.is_none() && root.make_folder(name)?;
    let folder = match there {
        Some(folder) => folder,
        None => root.open(name)?,
    };

    // A hidden folder is ours alone. One that is narrower than its parent was made under another
    // umask, and keeps others from replacing status.json.
    if is_new || name_of(name).starts_with('.') {
        let parent = match name.rsplit_once('/') {
            Some((parent, _)) => root.open(parent)?.facts()?,
            None => root.facts()?,
        };
        widen(&folder, &parent, is_new)?;
    }
    Ok(is_new)
}

fn widen(folder: &Folder, parent: &Facts, is_new: bool) -> Result<(), DirectoryError> {
    let like = Like::folder_in(parent);
    let own = folder.facts()?;
    let is_ours = own.owner == rustix::process::geteuid().as_raw();
    let is_narrower = like.mode() & !own.mode != 0;
    if is_new || (is_ours && is_narrower) {
        like.at_least(&own).give_to(folder).map_err(|error| folder.error("", error))?;
    }
    Ok(())
}

/// Version 0.1.0 made queues ready beside status.json: what a crash of it has left there may be a
/// queue that it had displaced, with news in it. One that runs still, and holds the lock, is left
/// alone.
fn adopt_what_an_older_version_staged(root: &Folder) -> Result<(), DirectoryError> {
    let request = root.open(layout::REQUEST_DIR)?;
    let staged = name_of(layout::STATUS_STAGED);
    if request.facts_of(staged)?.is_none() {
        return Ok(());
    }
    let Some(_lock) = Lock::try_acquire(&request, name_of(layout::STATUS_LOCK))? else { return Ok(()) };

    let displaced = root.open(layout::DISPLACED_DIR)?;
    let name = layout::displaced(now_ns());
    match request.rename(staged, &displaced, name_of(&name)) {
        // It has got its place meanwhile.
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(request.error(staged, error)),
    }
}

/// The files in the folder that the protocol makes, and that are a week old. One that cannot be
/// looked at is noted, and does not keep the rest.
fn outdated(
    folder: &Folder,
    job_of: fn(&str) -> Option<JobId>,
    now: DateTime<Utc>,
    failed: &mut Option<DirectoryError>,
) -> Result<Vec<String>, DirectoryError> {
    let is_of_old_job = |name: &str| job_of(name).is_some_and(|id| id.is_expired(now));
    let mut files = folder.files(|name| is_of_old_job(name) || layout::is_corrupt_status(name))?;
    files.retain(|name| {
        is_of_old_job(name)
            || is_week_old(folder, name, now).unwrap_or_else(|error| {
                *failed = Some(error);
                false
            })
    });
    Ok(files)
}

fn is_week_old(folder: &Folder, name: &str, now: DateTime<Utc>) -> Result<bool, DirectoryError> {
    let facts = folder.facts_of(name)?;
    Ok(facts.is_some_and(|facts| now - DateTime::<Utc>::from(facts.modified) >= RETENTION))
}
