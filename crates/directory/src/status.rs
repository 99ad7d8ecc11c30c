//! Reading and replacing status.json, which the other side rewrites too.

use std::fs;
use std::io::Read;
use std::thread;
use std::time::Duration;

use bcrlapi_exchange::{BrokenStatus, StatusFile, layout};

use crate::{DirectoryError, Fingerprint, Lock, SharedDir, durable};

/// The largest status.json that is read: some 400,000 jobs.
const STATUS_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// How often [`SharedDir::update_status`] tries again while somebody else is writing, and the pause between.
const UPDATE_TRIES: u32 = 400;
const UPDATE_PAUSE: Duration = Duration::from_millis(25);

/// What status.json held, and which file that was; no fingerprint where there was none.
#[derive(Debug)]
pub struct SeenStatus {
    /// The queue; none where there is no file.
    pub queue: Result<Option<StatusFile>, BrokenStatus>,
    /// To be given back when the file is replaced.
    pub fingerprint: Option<Fingerprint>,
}

/// How a try to replace status.json ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It is in place, with this fingerprint.
    InPlace(Fingerprint),
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
        let path = self.path(layout::STATUS);
        let Some(file) = durable::open_regular(&path)? else {
            return Ok(SeenStatus { queue: Ok(None), fingerprint: None });
        };
        let metadata = file.metadata().map_err(DirectoryError::at(&path))?;
        if metadata.len() > STATUS_MAX_BYTES {
            return Err(DirectoryError::TooLarge { path, size_bytes: metadata.len(), limit_bytes: STATUS_MAX_BYTES });
        }
        let mut bytes = Vec::new();
        file.take(STATUS_MAX_BYTES).read_to_end(&mut bytes).map_err(DirectoryError::at(&path))?;
        Ok(SeenStatus { queue: StatusFile::parse(&bytes).map(Some), fingerprint: Some(Fingerprint::of(&metadata)) })
    }

    /// Replaces status.json, durably and in one step, if it still is the file that was read.
    ///
    /// The last look and the rename are two calls, so a writer that takes no lock can still come in between. The
    /// place for the atomic exchange that closes this gap is here.
    pub fn publish_status(
        &self,
        _lock: &Lock,
        read: Option<Fingerprint>,
        queue: &StatusFile,
    ) -> Result<Published, DirectoryError> {
        let (staged, path) = (self.path(layout::STATUS_STAGED), self.path(layout::STATUS));
        let permissions = fs::symlink_metadata(&path).ok().map(|metadata| metadata.permissions());
        let ours = durable::stage(&staged, &queue.render(), permissions)?;
        if self.status_fingerprint()? != read {
            return Ok(Published::Overtaken);
        }
        durable::put_in_place(&staged, &path)?;
        Ok(Published::InPlace(ours))
    }

    /// Puts a status.json that cannot be read aside under the name that `time` makes.
    pub fn quarantine_status(&self, _lock: &Lock, time: &str) -> Result<(), DirectoryError> {
        let path = self.path(layout::STATUS);
        fs::rename(&path, self.path(&layout::status_corrupt(time))).map_err(DirectoryError::at(&path))
    }

    /// Rewrites status.json under the lock: reads it, lets `change` work on it, and puts it back. Where `change`
    /// answers `None`, or there is no queue yet, nothing is written.
    pub fn update_status<T>(
        &self,
        mut change: impl FnMut(&mut StatusFile) -> Option<T>,
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
                        Published::InPlace(_) => return Ok(Some(answer)),
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
