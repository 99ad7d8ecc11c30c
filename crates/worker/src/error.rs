use std::io;

use bcrlapi_directory::DirectoryError;

use crate::command::NotStartable;

/// Why the worker could not go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The shared directory's part.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The command cannot be run at all, so no further job is taken for it.
    #[error("cannot start {command:?}: {reason}")]
    CannotStart {
        /// The program's name.
        command: String,
        /// What stands in the way.
        reason: NotStartable,
    },
    /// The worker cannot tell its own jobs from another worker's.
    #[error("cannot read in /proc which process this is: {0}; mount /proc")]
    NoIdentity(io::Error),
}
