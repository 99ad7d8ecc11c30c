use std::fs::{File, TryLockError};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::DirectoryError;
use crate::durable;

/// How long another holder is waited for.
const WAIT_LIMIT: Duration = Duration::from_secs(5);
const WAIT_STEP: Duration = Duration::from_millis(5);

/// Holds the advisory lock (flock) on `request/.status.lock` until it is dropped; flock(1) takes the same one.
#[derive(Debug)]
pub struct Lock {
    _held: File,
}

impl Lock {
    pub(crate) fn acquire(path: &Path) -> Result<Self, DirectoryError> {
        let file = durable::open_or_create(path)?;
        let deadline = Instant::now() + WAIT_LIMIT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _held: file }),
                Err(TryLockError::Error(source)) => return Err(DirectoryError::at(path)(source)),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    return Err(DirectoryError::Locked(path.to_owned()));
                }
                Err(TryLockError::WouldBlock) => thread::sleep(WAIT_STEP),
            }
        }
    }
}
