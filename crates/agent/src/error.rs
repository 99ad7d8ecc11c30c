use std::io;
use std::net::SocketAddr;

use bcrlapi_cloud::{Holder, Place, StoreError};
use bcrlapi_directory::DirectoryError;
use bcrlapi_domain::JobId;
use chrono::{DateTime, Utc};

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
    /// Another agent serves the lab, in another place: two would run every job twice.
    #[error(
        "the lab is served by the agent on host {host}, in {directory}, since {started} (last heard of {last_sync}): two \
         agents would run every job twice; stop one of the two"
    )]
    HeldByAnother {
        /// Its host's name.
        host: String,
        /// The directory that it serves there.
        directory: String,
        /// Since when it serves the lab.
        started: DateTime<Utc>,
        /// When it last said that it does.
        last_sync: DateTime<Utc>,
    },
    /// Some steps of a resync failed; the log says which.
    #[error("not everything could be brought back; the log says what is wrong. Fix it and run this again")]
    Incomplete,
}

impl AgentError {
    pub(crate) fn held(by: Holder, last_sync: DateTime<Utc>) -> Self {
        let Holder { place: Place { host, directory }, started, .. } = by;
        Self::HeldByAnother { host, directory, started, last_sync }
    }
}
