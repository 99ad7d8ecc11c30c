use std::io;
use std::path::{Path, PathBuf};

use bcrlapi_exchange::Queue;

/// Why something could not be done in the shared directory.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The system refused.
    #[error("{path}: {source}")]
    Io {
        /// What it was about.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Something else stands where a file should be.
    #[error("{0} is not a regular file; remove it")]
    NotAFile(PathBuf),
    /// Something else stands where a folder should be.
    #[error("{0} is not a folder; move it away, and a folder is made")]
    NotAFolder(PathBuf),
    /// The queue is larger than what anybody reads again.
    #[error(
        "status.json would have {size_bytes} bytes, over the limit of {}; remove entries that are done",
        Queue::MAX_BYTES
    )]
    QueueTooLarge {
        /// How many it would have.
        size_bytes: u64,
    },
    /// Another process keeps the lock.
    #[error("{0} has been locked by another process for too long; hold the lock only while status.json is rewritten")]
    Locked(PathBuf),
    /// Two agents on one directory would do everything twice.
    #[error("another agent serves {0} already; stop it first")]
    SecondAgent(PathBuf),
    /// status.json could not be read as a queue, or kept changing.
    #[error("status.json could not be updated: {0}")]
    StatusUnusable(String),
}

impl DirectoryError {
    /// For `map_err`: an I/O error about a path.
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}
