//! Reading and replacing status.json, which the other side rewrites too.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use bcrlapi_exchange::{BrokenQueue, Queue, layout};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::durable::{self, Like};
use crate::facts::Facts;
use crate::folder::{Folder, Opened, can_only_rename, facts_of, sync_file};
use crate::shared::{name_of, now_ns};
use crate::{Digest, DirectoryError, Fingerprint, Lock, SharedDir, StatusWatch};

/// How often [`SharedDir::update_status`] tries again while somebody else is writing, and the pause between.
const UPDATE_TRIES: u32 = 400;
const UPDATE_PAUSE: Duration = Duration::from_millis(25);
/// How much of a queue is written at once.
const WRITE_BYTES: usize = 256 * 1024;
/// The most queues that are kept of those that were put aside, and the most bytes of all of them: a
/// script may break the queue every minute. The first, which shows how it began, and the latest stay
/// whatever they have.
const CORRUPT_FILES_MAX: usize = 20;
const CORRUPT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How many numbers are tried for a staged queue, and for one that is put aside, until one is free.
const NAME_TRIES: u64 = 100;

/// What a status.json held.
#[derive(Debug)]
pub struct SeenStatus {
    /// The queue; `None` where there is no file, and for a displaced queue that says nothing new.
    pub queue: Result<Option<Queue>, BrokenQueue>,
    /// What tells its content from others; `None` where there is no file.
    pub digest: Option<Digest>,
}

/// How a try to replace status.json ended.
#[derive(Debug)]
pub enum Published {
    /// It is in place.
    InPlace {
        /// What is there now.
        digest: Digest,
        /// Whether what was there before lingers among the displaced. Where the file system cannot
        /// exchange files, a script without a lock that wrote in the moment of the rename has lost
        /// what it wrote.
        exchanged: bool,
        /// What has failed afterwards, for the log: the queue is in place all the same.
        trouble: Option<DirectoryError>,
    },
    /// Somebody else was quicker, and nothing was written: look again.
    Overtaken,
}

/// Which file a queue was in, and what tells its content from others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct There {
    pub facts: Facts,
    pub digest: Digest,
}

/// The bytes of a queue.
pub(crate) struct QueueBytes {
    pub there: There,
    /// The size alone, where it is more than anybody reads.
    content: Result<Vec<u8>, u64>,
}

impl QueueBytes {
    pub(crate) fn parse(self) -> Result<Queue, BrokenQueue> {
        match self.content {
            Ok(bytes) => Queue::parse(bytes),
            Err(size_bytes) => Err(BrokenQueue::TooLarge { size_bytes }),
        }
    }

    /// What a look at status.json gives.
    pub(crate) fn into_seen(self) -> SeenStatus {
        let digest = Some(self.there.digest);
        SeenStatus { queue: self.parse().map(Some), digest }
    }
}

/// Reads a queue; `None` if there is none.
pub(crate) fn read_queue(folder: &Folder, name: &str) -> Result<Option<QueueBytes>, DirectoryError> {
    match folder.open_listed(name)? {
        Some(opened) => read_opened(folder, name, opened).map(Some),
        None => Ok(None),
    }
}

fn read_opened(folder: &Folder, name: &str, opened: Opened) -> Result<QueueBytes, DirectoryError> {
    let Opened { file, facts } = opened;
    let size_bytes = facts.fingerprint.size_bytes();
    if size_bytes > Queue::MAX_BYTES {
        let there = There { facts, digest: digest_by_size(size_bytes) };
        return Ok(QueueBytes { there, content: Err(size_bytes) });
    }

    let mut bytes = Vec::with_capacity(usize::try_from(size_bytes).unwrap_or_default());
    file.take(Queue::MAX_BYTES).read_to_end(&mut bytes).map_err(DirectoryError::at(&folder.path(name)))?;
    let there = There { facts, digest: Digest::of(&bytes) };
    Ok(QueueBytes { there, content: Ok(bytes) })
}

/// Which queue is there, without keeping it in memory; `None` if there is none.
pub(crate) fn look_at_queue(folder: &Folder, name: &str) -> Result<Option<There>, DirectoryError> {
    match folder.open_listed(name)? {
        Some(opened) => look_at_opened(folder, name, opened).map(Some),
        None => Ok(None),
    }
}

fn look_at_opened(folder: &Folder, name: &str, opened: Opened) -> Result<There, DirectoryError> {
    let Opened { file, facts } = opened;
    let size_bytes = facts.fingerprint.size_bytes();
    if size_bytes > Queue::MAX_BYTES {
        return Ok(There { facts, digest: digest_by_size(size_bytes) });
    }
    let content = file.take(Queue::MAX_BYTES);
    let digest = Digest::of_all(content).map_err(DirectoryError::at(&folder.path(name)))?;
    Ok(There { facts, digest })
}

/// What is too large is told from others by its size: nobody reads it, and nothing is written over
/// it.
fn digest_by_size(size_bytes: u64) -> Digest {
    Digest::of(format!("{size_bytes} bytes are too many").as_bytes())
}

/// The folders in which status.json is replaced, held open for one operation.
pub(crate) struct QueuePlace {
    pub request: Folder,
    pub displaced: Folder,
}

/// A queue that is ready to take its place.
struct Staged<'a> {
    number: u64,
    name: String,
    file: File,
    facts: Facts,
    digest: Digest,
    queue: &'a Queue,
}

impl Staged<'_> {
    /// Whether this is what the system says of the staged file, whatever its name is now. It is
    /// open: no other file can have got its number.
    fn is_file_of(&self, facts: &Facts) -> bool {
        let ours = facts_of(&self.file).unwrap_or(self.facts);
        ours.fingerprint.is_same_file(&facts.fingerprint)
    }
}

/// How a staged queue's way to its place ended.
enum Placed {
    Exchanged,
    WithoutExchange,
    Overtaken,
}

impl SharedDir {
    /// Which status.json is there now, without reading it.
    pub fn status_fingerprint(&self) -> Result<Option<Fingerprint>, DirectoryError> {
        let request = self.root()?.open(layout::REQUEST_DIR)?;
        let opened = request.open_listed(name_of(layout::STATUS))?;
        Ok(opened.map(|opened| opened.facts.fingerprint))
    }

    /// Reads status.json.
    pub fn read_status(&self) -> Result<SeenStatus, DirectoryError> {
        let request = self.root()?.open(layout::REQUEST_DIR)?;
        let Some(read) = read_queue(&request, name_of(layout::STATUS))? else {
            return Ok(SeenStatus { queue: Ok(None), digest: None });
        };
        self.memory.know(read.there.digest);
        Ok(read.into_seen())
    }

    /// Looks whether status.json holds something else than at the last look, and reads it then;
    /// `None` if it does not.
    pub fn look_at_status(&self, watch: &mut StatusWatch) -> Result<Option<SeenStatus>, DirectoryError> {
        let request = self.root()?.open(layout::REQUEST_DIR)?;
        let name = name_of(layout::STATUS);
        let now = Instant::now();
        let Some(opened) = request.open_listed(name)? else {
            let is_news = watch.see_missing(now);
            return Ok(is_news.then_some(SeenStatus { queue: Ok(None), digest: None }));
        };
        if !watch.is_read_due(&opened.facts.fingerprint, now) {
            return Ok(None);
        }

        let read = read_opened(&request, name, opened)?;
        self.memory.know(read.there.digest);
        let is_news = watch.see(read.there.facts.fingerprint, read.there.digest, now);
        Ok(is_news.then(|| read.into_seen()))
    }

    /// Makes sure that what status.json holds is on the disk: scripts do not, and the cloud is told
    /// nothing that a power cut could undo here. Nothing where there is no file.
    pub fn sync_status(&self) -> Result<(), DirectoryError> {
        let request = self.root()?.open(layout::REQUEST_DIR)?;
        sync_file(&request, name_of(layout::STATUS))
    }

    /// Replaces status.json, durably and in one step, if it still holds what was read. Between this
    /// last look and the replacement somebody may write who takes no lock, and may go on for as
    /// long as the old file is open: so the two files change places, and the old one lingers among
    /// the displaced.
    ///
    /// An error says that nothing has changed, or that nobody can know.
    pub fn publish_status(
        &self,
        lock: &Lock,
        read: Option<Digest>,
        queue: &Queue,
    ) -> Result<Published, DirectoryError> {
        let place = self.queue_place()?;
        let there = look_at_queue(&place.request, name_of(layout::STATUS))?;
        if there.map(|there| there.digest) != read {
            return Ok(Published::Overtaken);
        }
        self.replace(lock, &place, there, queue)
    }

    pub(crate) fn queue_place(&self) -> Result<QueuePlace, DirectoryError> {
        let root = self.root()?;
        Ok(QueuePlace { request: root.open(layout::REQUEST_DIR)?, displaced: root.open(layout::DISPLACED_DIR)? })
    }

    fn replace(
        &self,
        lock: &Lock,
        place: &QueuePlace,
        there: Option<There>,
        queue: &Queue,
    ) -> Result<Published, DirectoryError> {
        let size_bytes = queue.rendered_bytes();
        if size_bytes > Queue::MAX_BYTES {
            return Err(DirectoryError::QueueTooLarge { size_bytes });
        }

        let staged = place.stage(queue, there)?;
        let placed = match place.put(&staged, there) {
            Ok(placed) => placed,
            Err(error) => {
                place.remove_staged(&staged);
                return Err(error);
            }
        };
        if matches!(placed, Placed::Overtaken) {
            place.remove_staged(&staged);
            return Ok(Published::Overtaken);
        }

        // From here on the queue is public: whatever fails, it was published.
        self.memory.know(staged.digest);
        let exchanged = matches!(placed, Placed::Exchanged);
        if exchanged && let Some(there) = there {
            self.memory.has_displaced(staged.number, there.facts.fingerprint.size_bytes());
        }

        let synced = place.sync();
        let swept = self.sweep(lock, place, &staged.facts.fingerprint, queue);
        let trouble = synced.and(swept).err();
        Ok(Published::InPlace { digest: staged.digest, exchanged, trouble })
    }

    /// Puts a status.json that cannot be read aside under another name, if it still holds what was
    /// read and still cannot be read; says whether it did. One that is only too large stays: it may
    /// be a good one.
    pub fn quarantine_status(&self, _lock: &Lock, read: Option<Digest>, name: &str) -> Result<bool, DirectoryError> {
        let request = self.root()?.open(layout::REQUEST_DIR)?;
        let status = name_of(layout::STATUS);
        let Some(there) = read_queue(&request, status)? else { return Ok(false) };
        if Some(there.there.digest) != read {
            return Ok(false);
        }
        let is_to_stay = there.parse().map_or_else(|broken| broken.is_only_large(), |_| true);
        if is_to_stay {
            return Ok(false);
        }

        put_aside(&request, status, name_of(name))?;
        request.sync()?;
        // The queue is out of the way: what fails from here on is no reason to say that it is not.
        if let Err(error) = limit_corrupt(&request) {
            tracing::warn!(%error, "cannot remove queues that were put aside before");
        }
        Ok(true)
    }

    /// Rewrites status.json under the lock: reads it, lets `change` work on it, and puts it back. Where `change`
    /// answers `None`, or there is no queue yet, nothing is written.
    pub fn update_status<T>(
        &self,
        mut change: impl FnMut(&mut Queue) -> Option<T>,
    ) -> Result<Option<T>, DirectoryError> {
        let mut last_trouble = String::new();
        for _ in 0..UPDATE_TRIES {
            let lock = self.lock()?;
            let place = self.queue_place()?;
            let Some(read) = read_queue(&place.request, name_of(layout::STATUS))? else { return Ok(None) };
            let there = read.there;
            self.memory.know(there.digest);

            match read.parse() {
                Ok(mut queue) => {
                    let Some(answer) = change(&mut queue) else { return Ok(None) };
                    match self.replace(&lock, &place, Some(there), &queue)? {
                        Published::InPlace { trouble, .. } => {
                            log(trouble);
                            return Ok(Some(answer));
                        }
                        Published::Overtaken => "somebody else keeps rewriting it".clone_into(&mut last_trouble),
                    }
                }
                Err(broken) => last_trouble = broken.to_string(),
            }

            drop(lock);
            thread::sleep(UPDATE_PAUSE);
        }
        Err(DirectoryError::StatusUnusable(last_trouble))
    }
}

fn write_queue(queue: &Queue, file: &mut File) -> io::Result<()> {
    let mut buffered = BufWriter::with_capacity(WRITE_BYTES, file);
    queue.write_to(&mut buffered)?;
    buffered.flush()
}

fn log(trouble: Option<DirectoryError>) {
    if let Some(error) = trouble {
        tracing::warn!(%error, "status.json was replaced, and then something failed");
    }
}

impl QueuePlace {
    /// Makes a new queue ready where the one that it displaces is to linger. Its name tells with
    /// what its digest begins: so whoever finds a file there knows whether that is a queue that was
    /// displaced, or one that never got its place.
    fn stage<'a>(&self, queue: &'a Queue, there: Option<There>) -> Result<Staged<'a>, DirectoryError> {
        let digest = Digest::of_queue(queue);
        let mut like = Like::file_in(&self.request.facts()?);
        if let Some(there) = there {
            like = like.and(&there.facts);
        }

        let first = now_ns();
        for number in first..first.saturating_add(NAME_TRIES) {
            let name = name_of(&layout::displaced_by(number, &digest.short())).to_owned();
            let file = match self.displaced.create_new(&name, like.mode()) {
                Ok(file) => file,
                Err(Errno::EXIST) => continue,
                Err(error) => return Err(self.displaced.error(&name, error)),
            };
            let file = durable::fill(&self.displaced, &name, file, like, |file| write_queue(queue, file))?;
            let facts = facts_of(&file).map_err(|error| self.displaced.error(&name, error))?;
            return Ok(Staged { number, name, file, facts, digest, queue });
        }
        Err(self.displaced.error("", Errno::EXIST))
    }

    /// Gives the staged queue its place, if the queue is the one that was read.
    fn put(&self, staged: &Staged<'_>, there: Option<There>) -> Result<Placed, DirectoryError> {
        if !self.still_holds(there)? {
            return Ok(Placed::Overtaken);
        }

        let status = name_of(layout::STATUS);
        let placed = match there {
            Some(_) => self.displaced.exchange(&staged.name, &self.request, status),
            // Nothing is displaced, and nothing can be lost.
            None => self.displaced.rename_to_free_name(&staged.name, &self.request, status),
        };
        let placed = match placed {
            Ok(()) => Ok(Placed::Exchanged),
            Err(error) if can_only_rename(error) => self.rename(staged),
            Err(error) => Err(error),
        };

        match placed {
            Ok(placed) => Ok(placed),
            // The answer of a server may be lost, and the call then be repeated to one that has
            // done it already.
            Err(_) if self.is_in_place(staged) => Ok(self.how_it_came_there(staged)),
            Err(Errno::NOENT | Errno::EXIST) => Ok(Placed::Overtaken),
            Err(error) => Err(self.request.error(status, error)),
        }
    }

    fn still_holds(&self, there: Option<There>) -> Result<bool, DirectoryError> {
        let name = name_of(layout::STATUS);
        let now = self.request.open_file(name, OFlags::RDONLY)?;
        match (now, there) {
            (None, None) => Ok(true),
            (Some(now), Some(there)) if now.facts.fingerprint == there.facts.fingerprint => Ok(true),
            (Some(now), Some(there)) => Ok(look_at_opened(&self.request, name, now)?.digest == there.digest),
            _ => Ok(false),
        }
    }

    /// The way of file systems that cannot exchange (NFS, some FUSE).
    fn rename(&self, staged: &Staged<'_>) -> Result<Placed, Errno> {
        let status = name_of(layout::STATUS);
        match self.displaced.rename(&staged.name, &self.request, status) {
            Ok(()) => Ok(Placed::WithoutExchange),
            // Folders of one directory on different disks (mergerfs).
            Err(Errno::XDEV) => self.rename_beside(staged),
            Err(error) => Err(error),
        }
    }

    fn rename_beside(&self, staged: &Staged<'_>) -> Result<Placed, Errno> {
        let (beside, status) = (name_of(layout::STATUS_STAGED), name_of(layout::STATUS));
        let io = |error: DirectoryError| match error {
            DirectoryError::Io { source, .. } => Errno::from_io_error(&source).unwrap_or(Errno::IO),
            _ => Errno::IO,
        };
        durable::stage(&self.request, beside, |file| write_queue(staged.queue, file)).map_err(io)?;
        let renamed = self.request.rename(beside, &self.request, status);
        // What is left beside would be taken for a queue that an older version has displaced.
        let _ = self.request.remove(beside);
        renamed?;
        let _ = self.displaced.remove(&staged.name);
        Ok(Placed::WithoutExchange)
    }

    /// Whether status.json is the staged queue. Where nobody can say, it is not.
    fn is_in_place(&self, staged: &Staged<'_>) -> bool {
        let there = look_at_queue(&self.request, name_of(layout::STATUS));
        let Ok(Some(there)) = there else { return false };
        staged.is_file_of(&there.facts) || there.digest == staged.digest
    }

    fn how_it_came_there(&self, staged: &Staged<'_>) -> Placed {
        match self.displaced.facts_of(&staged.name) {
            Ok(Some(facts)) if !staged.is_file_of(&facts) => Placed::Exchanged,
            _ => Placed::WithoutExchange,
        }
    }

    /// Removes a staged queue that has not got its place. Where it cannot be told from one that was
    /// displaced, it stays: its name says what it is.
    fn remove_staged(&self, staged: &Staged<'_>) {
        if let Ok(Some(facts)) = self.displaced.facts_of(&staged.name)
            && staged.is_file_of(&facts)
        {
            let _ = self.displaced.remove(&staged.name);
        }
    }

    fn sync(&self) -> Result<(), DirectoryError> {
        self.request.sync().and(self.displaced.sync())
    }
}

/// Gives a file a name that no file has: this one, or this one with a number.
fn put_aside(folder: &Folder, name: &str, aside: &str) -> Result<(), DirectoryError> {
    for number in 1..=NAME_TRIES {
        let free = if number == 1 { aside.to_owned() } else { format!("{aside}.{number}") };
        if folder.facts_of(&free)?.is_some() {
            continue;
        }
        return folder.rename(name, folder, &free).map_err(|error| folder.error(name, error));
    }
    Err(folder.error(aside, Errno::EXIST))
}

/// Removes queues that were put aside, where they are too many: those after the first.
fn limit_corrupt(folder: &Folder) -> Result<(), DirectoryError> {
    let mut all = Vec::new();
    for name in folder.files(layout::is_corrupt_status)? {
        if let Some(facts) = folder.facts_of(&name)? {
            all.push((facts.fingerprint.changed(), name, facts.fingerprint.size_bytes()));
        }
    }
    all.sort();

    let (mut files, mut bytes) = (all.len(), all.iter().map(|(.., size_bytes)| size_bytes).sum::<u64>());
    let latest = all.len().saturating_sub(1);
    for (_, name, size_bytes) in all.iter().take(latest).skip(1) {
        if files <= CORRUPT_FILES_MAX && bytes <= CORRUPT_BYTES_MAX {
            break;
        }
        folder.remove(name)?;
        files -= 1;
        bytes -= size_bytes;
    }
    Ok(())
}
