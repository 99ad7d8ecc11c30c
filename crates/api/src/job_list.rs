use serde::{Deserialize, Serialize};

use crate::JobResource;

/// A page of a caller's jobs, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobList {
    /// The jobs. There may be fewer than were asked for, also none, and still more behind `next_cursor`.
    pub jobs: Vec<JobResource>,
    /// Where the next page begins; `None` on the last one.
    pub next_cursor: Option<String>,
}

impl JobList {
    /// How many jobs a page has where the caller does not say.
    pub const LIMIT_DEFAULT: u8 = 20;
    /// The most jobs that a page can have.
    pub const LIMIT_MAX: u8 = 100;
}
