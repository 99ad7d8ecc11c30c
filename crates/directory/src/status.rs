//! Reading and replacing status.json, which the other side rewrites too.

use std::fs;
use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use bcrlapi_exchange::{BrokenQueue, Queue, layout};

use crate::durable::Renamed;
use crate::{DirectoryError, Fingerprint, Lock, SharedDir, durable};

/// How often [`SharedDir::update_status`] tries again while somebody else is writing, and the pause between.
const UPDATE_TRIES: u32 = 400;
const UPDATE_PAUSE: Duration = Duration::from_millis(25);

/// What a status.json held, and which file that was.
#[derive(Debug)]
pub struct SeenStatus {
    /// The queue; `None` where there is no file.
    pub queue: Result<Option<Queue>, BrokenQueue>,
    /// Which file that was, to be given back when it is replaced; `None` where there is no file.
    pub fingerprint: Option<Fingerprint>,
}

/// How a try to replace status.json ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It is in place; what was there before lingers among the displaced.
    InPlace(Fingerprint),
    /// It is in place, but this file system cannot exchange files: a script without a lock that wrote in the moment
    /// of the rename has lost what it wrote.
    InPlaceWithoutExchange(Fingerprint),
    /// Somebody else was quicker, and nothing was written: look again.
    Overtaken,
}

impl SharedDir {
    /// Which status.json is there now, without reading it.
    pub fn status_fingerprint(&self) -> Result<Option<Fingerprint>, DirectoryError> {
        let path = self.path(layout::STATUS);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => Ok(Some(Fingerprint::of(&metadata))),
            Ok(_) => Err(DirectoryError::NotAFile(path)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(DirectoryError::at(&path)(error)),
        }
    }

    /// Reads status.json.
    pub fn read_status(&self) -> Result<SeenStatus, DirectoryError> {
        self.read_queue(layout::STATUS)
    }

    pub(crate) fn read_queue(&self, name: &str) -> Result<SeenStatus, DirectoryError> {
        let path = self.path(name);
        let Some(file) = durable::open_regular(&path)? else {
            return Ok(SeenStatus { queue: Ok(None), fingerprint: None });
        };
        let metadata = file.metadata().map_err(DirectoryError::at(&path))?;
        let fingerprint = Some(Fingerprint::of(&metadata));
        let size_bytes = metadata.len();
        if size_bytes > Queue::MAX_BYTES {
            return Ok(SeenStatus { queue: Err(BrokenQueue::TooLarge { size_bytes }), fingerprint });
        }
        let mut bytes = Vec::new();
        file.take(Queue::MAX_BYTES).read_to_end(&mut bytes).map_err(DirectoryError::at(&path))?;
        Ok(SeenStatus { queue: Queue::parse(&bytes).map(Some), fingerprint })
    }

    /// Replaces status.json, durably and in one step, if it still is the file that was read. Between this last look
    /// and the replacement somebody may write who takes no lock, and may go on for as long as the old file is open:
    /// so the two files change places, and the old one lingers among the displaced.
    pub fn publish_status(
        &self,
        lock: &Lock,
        read: Option<Fingerprint>,
        queue: &Queue,
    ) -> Result<Published, DirectoryError> {
        if self.status_fingerprint()? != read {
            return Ok(Published::Overtaken);
        }
        self.adopt_displaced(lock)?;
        let (staged, path) = (self.path(layout::STATUS_STAGED), self.path(layout::STATUS));
        // A queue that is made anew is for those who may write into its folder.
        let like = fs::symlink_metadata(&path).or_else(|_| fs::metadata(self.path(layout::REQUEST_DIR))).ok();
        let content = queue.render();
        let size_bytes = content.len() as u64;
        if size_bytes > Queue::MAX_BYTES {
            return Err(DirectoryError::QueueTooLarge { size_bytes });
        }
        let ours = durable::stage(&staged, |file| file.write_all(&content), like.as_ref())?;
        let published = match self.place_status(read) {
            Ok(Renamed::Done) => {
                self.adopt_displaced(lock)?;
                Published::InPlace(ours)
            }
            Ok(Renamed::WithoutExchange) => Published::InPlaceWithoutExchange(ours),
            Ok(Renamed::Overtaken) => {
                durable::remove(&staged)?;
                return Ok(Published::Overtaken);
            }
            Err(error) => {
                durable::remove(&staged)?;
                return Err(error);
            }
        };
        durable::sync_folder_of(&path)?;
        Ok(published)
    }

    /// Gives the staged queue its place. Where this fails, or somebody was quicker, the staged file is still ours.
    fn place_status(&self, read: Option<Fingerprint>) -> Result<Renamed, DirectoryError> {
        let (staged, path) = (self.path(layout::STATUS_STAGED), self.path(layout::STATUS));
        if self.status_fingerprint()? != read {
            return Ok(Renamed::Overtaken);
        }
        match read {
            Some(_) => durable::exchange(&staged, &path),
            None => durable::rename_to_free_name(&staged, &path),
        }
    }

    /// Puts a status.json that cannot be read aside under another name, if it still is the one that was read; says
    /// whether it did.
    pub fn quarantine_status(
        &self,
        _lock: &Lock,
        read: Option<Fingerprint>,
        name: &str,
    ) -> Result<bool, DirectoryError> {
        let path = self.path(layout::STATUS);
        if self.status_fingerprint()? != read {
            return Ok(false);
        }
        fs::rename(&path, self.path(name)).map_err(DirectoryError::at(&path))?;
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
            let seen = self.read_status()?;
            match seen.queue {
                Ok(None) => return Ok(None),
                Ok(Some(mut queue)) => {
                    let Some(answer) = change(&mut queue) else { return Ok(None) };
                    match self.publish_status(&lock, seen.fingerprint, &queue)? {
                        Published::InPlace(_) | Published::InPlaceWithoutExchange(_) => return Ok(Some(answer)),
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
