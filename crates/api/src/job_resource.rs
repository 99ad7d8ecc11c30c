use bcrlapi_domain::{ApiName, Job, JobId, Outcome, Status};
use chrono::{DateTime, SubsecRound, Utc};
use serde::{Deserialize, Serialize};

use crate::routes;

/// A job as the API shows it. Dates are RFC 3339 in UTC, to the millisecond.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobResource {
    /// The job's id.
    pub uuid: JobId,
    /// The program it is for.
    pub api: ApiName,
    /// How far it is.
    pub status: Status,
    /// How it ended, once it is done: the word of an [`Outcome`], or one that a later version has added.
    pub outcome: Option<String>,
    /// Why it did not succeed.
    pub error: Option<String>,
    /// How much of it is done, 0 to 100, where the program says so.
    pub progress: Option<u8>,
    /// What the program says of it while it runs.
    pub message: Option<String>,
    /// When it was submitted.
    pub request_date: DateTime<Utc>,
    /// When the lab was first seen to process it.
    pub start_date: Option<DateTime<Utc>>,
    /// When it was recorded as done.
    pub finish_date: Option<DateTime<Utc>>,
    /// When it will be gone.
    pub expiry_date: DateTime<Utc>,
    /// Whether the caller asked to cancel it when the lab already had it. Its program may start before that.
    pub cancel_requested: bool,
    /// Where to go from here.
    pub links: JobLinks,
}

/// Absolute URLs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobLinks {
    /// The job.
    #[serde(rename = "self")]
    pub this: String,
    /// Its result.
    pub result: String,
    /// A link to its result, for results of any size.
    pub result_link: String,
    /// Where to take it back.
    pub cancel: String,
}

impl JobResource {
    /// Whether the job is done and has a result.
    pub fn has_succeeded(&self) -> bool {
        self.status == Status::Done && self.outcome.as_deref() == Some(Outcome::Succeeded.as_str())
    }

    /// The job as it is shown by the API at `base_url`.
    pub fn new(job: &Job, base_url: &str) -> Self {
        const MILLISECONDS: u16 = 3;
        Self {
            uuid: job.id,
            api: job.api.clone(),
            status: job.state.status(),
            outcome: job.state.outcome().map(|outcome| outcome.as_str().to_owned()),
            error: job.error.clone(),
            progress: job.progress,
            message: job.message.clone(),
            request_date: job.id.request_date(),
            start_date: job.start_date.map(|date| date.trunc_subsecs(MILLISECONDS)),
            finish_date: job.finish_date.map(|date| date.trunc_subsecs(MILLISECONDS)),
            expiry_date: job.id.expiry_date(),
            cancel_requested: job.cancel_requested,
            links: JobLinks {
                this: format!("{base_url}{}", routes::job(job.id)),
                result: format!("{base_url}{}", routes::result(job.id)),
                result_link: format!("{base_url}{}", routes::result_link(job.id)),
                cancel: format!("{base_url}{}", routes::cancel(job.id)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_of_a_later_version_is_read() {
        let owner = bcrlapi_domain::Owner::from_identity("1", "AIDA").unwrap();
        let request = bcrlapi_domain::Payload { size_bytes: 0, sha256: String::new() };
        let id = "018aef2c-7a00-7000-8000-000000000001".parse().unwrap();
        let job = Job::requested(id, "soc".parse().unwrap(), owner, request);
        let mut json = serde_json::to_value(JobResource::new(&job, "https://api.example/prod")).unwrap();
        json["status"] = "done".into();
        json["outcome"] = "superseded".into();
        let read: JobResource = serde_json::from_value(json).unwrap();
        assert_eq!((read.outcome.as_deref(), read.has_succeeded()), (Some("superseded"), false));
    }
}
