use chrono::{DateTime, Utc};

use crate::{ApiName, JobId, Owner, State};

/// One request to one of the lab's programs, and how far it is. Its dates of request and expiry are the id's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The uuid that names it everywhere.
    pub id: JobId,
    /// The program it is for.
    pub api: ApiName,
    /// Who may see it.
    pub owner: Owner,
    /// How far it is, and how it ended.
    pub state: State,
    /// Why it did not succeed; text for the caller.
    pub error: Option<String>,
    /// When the lab was first seen to process it.
    pub start_date: Option<DateTime<Utc>>,
    /// When it was recorded as done.
    pub finish_date: Option<DateTime<Utc>>,
    /// How much of it is done, 0 to 100, where the program says so.
    pub progress: Option<u8>,
    /// What the program says of it while it runs.
    pub message: Option<String>,
    /// Whether the caller has asked, after the lab had taken it, that it be taken back. The program may be quicker.
    pub cancel_requested: bool,
    /// The request's body.
    pub request: Payload,
    /// The response's body, once the job has succeeded.
    pub response: Option<Payload>,
}

/// What is known of a stored body without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Its length in bytes.
    pub size_bytes: u64,
    /// Its SHA-256 in base64, as S3 and `Content-Digest` (RFC 9530) write it.
    pub sha256: String,
}

impl Job {
    /// A job that was just requested and waits for the lab.
    pub fn requested(id: JobId, api: ApiName, owner: Owner, request: Payload) -> Self {
        Self {
            id,
            api,
            owner,
            state: State::Pending,
            error: None,
            start_date: None,
            finish_date: None,
            progress: None,
            message: None,
            cancel_requested: false,
            request,
            response: None,
        }
    }
}
