use std::io;

use bcrlapi_cloud::StoreError;
use bcrlapi_directory::DirectoryError;
use bcrlapi_domain::JobId;

/// Why a resync did not bring back everything.
#[derive(Debug, thiserror::Error)]
pub enum ResyncError {
    /// The cloud's part of it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The shared directory's part of it.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The directory could not be looked at.
    #[error("{0}")]
    Look(String),
    /// Some steps failed; the log says which.
    #[error("not everything could be brought back; the log says what is wrong. Mend it and run this again")]
    Incomplete,
}

impl From<AgentError> for ResyncError {
    fn from(error: AgentError) -> Self {
        match error {
            AgentError::Store(error) => Self::Store(error),
            AgentError::Directory(error) => Self::Directory(error),
            AgentError::Response { .. } => Self::Look(error.to_string()),
        }
    }
}

/// Why a step failed. Every step is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    /// The cloud's part of it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The shared directory's part of it.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The system did not let a response be read to its end.
    #[error("cannot read the response of job {id}: {source}")]
    Response {
        /// Which job.
        id: JobId,
        /// The system's reason.
        source: io::Error,
    },
}
