use std::io;

use bcrlapi_cloud::StoreError;
use bcrlapi_directory::DirectoryError;
use bcrlapi_domain::JobId;

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
