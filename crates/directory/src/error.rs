use std::io;
use std::path::{Path, PathBuf};

use bcrlapi_exchange::Queue;
use rustix::io::Errno;

use crate::journal;

/// Why something could not be done in the shared directory.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The system refused.
    #[error("{path}: {source}{}", advice_on(source))]
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
    /// The file has another name too, and may be a secret of the user who reads it here.
    #[error("{0} is a hard link to another file; write a file of its own")]
    HardLinked(PathBuf),
    /// The folder lists the name, but this computer remembers that there was no such file.
    #[error("{0} is listed, but cannot be opened yet (NFS and FUSE remember for up to a minute that it was missing)")]
    NotVisibleYet(PathBuf),
    /// Neither the folder of running programs nor the one of responses lists the job's response.
    #[error("there is no response file {0}")]
    ResponseMissing(PathBuf),
    /// The queue is larger than what anybody reads again.
    #[error(
        "status.json would have {size_bytes} bytes, over the limit of {}; remove entries that are done",
        Queue::MAX_BYTES
    )]
    QueueTooLarge {
        /// How many it would have.
        size_bytes: u64,
    },
    /// What is appended to the journal would be written into another file too.
    #[error("{0} has another name too, and is not written to; copy it, and give the copy its name: cp -p, then mv")]
    JournalHardLinked(PathBuf),
    /// The journal is larger than what is read or written.
    #[error("{path} has {size_bytes} bytes, over the limit of {}; move it away", journal::MAX_BYTES)]
    JournalTooLarge {
        /// Where it is.
        path: PathBuf,
        /// How many it has, or would have.
        size_bytes: u64,
    },
    /// Another process keeps the lock.
    #[error("{0} has been locked by another process for too long; hold the lock only while status.json is rewritten")]
    Locked(PathBuf),
    /// Two can hold the lock at the same time.
    #[error("{0} was locked twice at the same time: this file system has no flock; keep the directory on another one")]
    LockNotKept(PathBuf),
    /// Two agents on one directory would do everything twice.
    #[error("another agent serves {0} already; stop it first")]
    SecondAgent(PathBuf),
    /// status.json could not be read as a queue, or kept changing.
    #[error("status.json could not be updated: {0}")]
    StatusUnusable(String),
}

impl DirectoryError {
    /// Whether a file was to get a name on another file system.
    pub(crate) fn is_between_file_systems(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::CrossesDevices)
    }

    /// Whether one file is damaged, or its server has lost it: what the system says of it, or what it
    /// holds, cannot be had, and others beside it may be well (EUCLEAN, EIO, ESTALE).
    pub(crate) fn is_damage(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        let damages = [Errno::UCLEAN, Errno::IO, Errno::STALE];
        Errno::from_io_error(source).is_some_and(|error| damages.contains(&error))
    }

    /// Whether the system did not permit it to this user.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }

    /// For `map_err`: an I/O error about a path.
    pub(crate) fn at<E: Into<io::Error>>(path: &Path) -> impl FnOnce(E) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source: source.into() }
    }
}

/// What to do about what the system refuses most often.
fn advice_on(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "; let this process's user read and write it: chgrp, chmod 660 (mkstemp makes files with mode 600)"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free space there",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_told_from_what_is_not_allowed_or_not_there() {
        let is_damage = |error: Errno| DirectoryError::at(Path::new("x"))(error).is_damage();
        assert_eq!([Errno::UCLEAN, Errno::IO, Errno::STALE].map(is_damage), [true; 3]);
        assert_eq!([Errno::ACCESS, Errno::NOENT, Errno::NOSPC].map(is_damage), [false; 3]);
    }
}
