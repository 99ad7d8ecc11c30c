use std::fs::{self, File, Metadata, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::DirectoryError;
use crate::durable;

/// How long another holder of the queue's lock is waited for.
const WAIT_LIMIT: Duration = Duration::from_secs(5);
const WAIT_STEP: Duration = Duration::from_millis(5);

/// Holds an advisory lock (flock) until it is dropped. For the one on `request/.status.lock`, flock(1) takes the same.
#[derive(Debug)]
pub struct Lock {
    held: File,
}

impl Lock {
    /// Whether the file that is locked is the one that has this path now.
    pub(crate) fn is_on(&self, path: &Path) -> bool {
        let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
        let held = self.held.metadata().map(identity);
        fs::symlink_metadata(path).map(identity).is_ok_and(|there| held.is_ok_and(|held| held == there))
    }

    /// Takes the lock; waits for another holder, within a limit.
    pub(crate) fn acquire(path: &Path) -> Result<Self, DirectoryError> {
        let file = durable::open_to_lock(path)?;
        let deadline = Instant::now() + WAIT_LIMIT;
        loop {
            if try_lock(&file, path)? {
                return Ok(Self { held: file });
            }
            if Instant::now() >= deadline {
                return Err(DirectoryError::Locked(path.to_owned()));
            }
            thread::sleep(WAIT_STEP);
        }
    }

    /// Takes the lock if nobody holds it.
    pub(crate) fn try_acquire(path: &Path) -> Result<Option<Self>, DirectoryError> {
        let file = durable::open_to_lock(path)?;
        Ok(try_lock(&file, path)?.then_some(Self { held: file }))
    }
}

fn try_lock(file: &File, path: &Path) -> Result<bool, DirectoryError> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(source)) => Err(DirectoryError::at(path)(source)),
    }
}
