use std::io;

use bcrlapi_directory::DirectoryError;

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
        /// The system's reason.
        reason: io::Error,
    },
}
