use std::io;
use std::net::SocketAddr;

use bcrlapi_cloud::StoreError;
use bcrlapi_directory::DirectoryError;
use bcrlapi_domain::JobId;

/// Why something failed. The agent tries every step again.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The cloud's part of it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The shared directory's part of it.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The metrics cannot be served where they should be.
    #[error("cannot serve metrics on {address}: {source}; choose another --metrics")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The system did not let a response be read to its end.
    #[error("cannot read the response of job {id}: {source}")]
    Response {
        /// Which job.
        id: JobId,
        /// The system's reason.
        source: io::Error,
    },
    /// What a resync should bring back is not there any more.
    #[error("the {what} of job {id} is gone in the cloud too")]
    Gone {
        /// Which job.
        id: JobId,
        /// Which body of it.
        what: &'static str,
    },
    /// Some steps of a resync failed; the log says which.
    #[error("not everything could be brought back; the log says what is wrong. Mend it and run this again")]
    Incomplete,
}
