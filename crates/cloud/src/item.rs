//! A job as a row of the table, both ways.

use std::collections::HashMap;
use std::str::FromStr;

use aws_sdk_dynamodb::types::AttributeValue;
use bcrlapi_domain::limits::RETENTION;
use bcrlapi_domain::{Job, JobId, Owner, Payload, State};
use chrono::{DateTime, SecondsFormat, Utc};

use crate::StoreError;
use crate::schema::{CANCEL_REQUESTED, EXPIRES_AT, INBOX, INBOX_NEW, OWNER, PK};

pub(crate) type Item = HashMap<String, AttributeValue>;

const JOB_PREFIX: &str = "job#";

// The attributes of a job's row, beside the keys. Of these, `status` and `error` are among DynamoDB's reserved words: in
// expressions they need names of another kind.
pub(crate) const API: &str = "api";
pub(crate) const STATUS: &str = "status";
pub(crate) const OUTCOME: &str = "outcome";
pub(crate) const ERROR: &str = "error";
pub(crate) const START_DATE: &str = "start_date";
pub(crate) const FINISH_DATE: &str = "finish_date";
pub(crate) const PROGRESS: &str = "progress";
pub(crate) const MESSAGE: &str = "message";
pub(crate) const REQUEST_SHA256: &str = "request_sha256";
pub(crate) const RESPONSE_SIZE: &str = "response_size";
pub(crate) const RESPONSE_SHA256: &str = "response_sha256";
const REQUEST_DATE: &str = "request_date";
const REQUEST_SIZE: &str = "request_size";

/// The key of a job's row.
pub(crate) fn pk(id: JobId) -> AttributeValue {
    AttributeValue::S(format!("{JOB_PREFIX}{id}"))
}

/// The key before those of all jobs that have not expired.
pub(crate) fn oldest_pk(now: DateTime<Utc>) -> AttributeValue {
    pk(JobId::earliest(now - RETENTION))
}

/// A date as rows hold it: RFC 3339, UTC, to the millisecond.
pub(crate) fn date(date: DateTime<Utc>) -> AttributeValue {
    AttributeValue::S(date.to_rfc3339_opts(SecondsFormat::Millis, true))
}

pub(crate) fn number(number: impl Into<u64>) -> AttributeValue {
    AttributeValue::N(number.into().to_string())
}

pub(crate) fn text(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// When a job's rows may go.
pub(crate) fn expires_at(id: JobId) -> AttributeValue {
    number(id.expiry_date().timestamp().cast_unsigned())
}

/// The row of a job that was just requested.
pub(crate) fn from_requested(job: &Job) -> Item {
    // request_date is written for people who look at the table; the code takes it from the id.
    Item::from_iter([
        (PK.to_owned(), pk(job.id)),
        (INBOX.to_owned(), text(INBOX_NEW)),
        (OWNER.to_owned(), text(job.owner.as_str())),
        (API.to_owned(), text(job.api.as_str())),
        (STATUS.to_owned(), text(job.state.status().as_str())),
        (REQUEST_DATE.to_owned(), date(job.id.request_date())),
        (REQUEST_SIZE.to_owned(), number(job.request.size_bytes)),
        (REQUEST_SHA256.to_owned(), text(&job.request.sha256)),
        (EXPIRES_AT.to_owned(), expires_at(job.id)),
    ])
}

/// The job whose row this is; `None` where the row's key is not a job's.
pub(crate) fn to_id(item: &Item) -> Option<JobId> {
    Row(item).text(PK)?.strip_prefix(JOB_PREFIX)?.parse().ok()
}

/// The job that a row holds; `None` where the row's key is not a job's.
pub(crate) fn to_job(item: &Item) -> Result<Option<Job>, StoreError> {
    let Some(id) = to_id(item) else { return Ok(None) };
    let damaged = || StoreError::Damaged { id, what: "its row lacks a field or has one of a wrong form".to_owned() };
    Row(item).to_job(id).map(Some).ok_or_else(damaged)
}

/// Whether the row's job waits to be taken for the first time.
pub(crate) fn is_new(item: &Item) -> bool {
    let row = Row(item);
    row.text(INBOX) == Some(INBOX_NEW) && !row.flag(CANCEL_REQUESTED)
}

/// Whether the lab has taken the row's job and not finished it.
pub(crate) fn is_taken(item: &Item) -> bool {
    Row(item).text(INBOX).is_some() && !is_new(item)
}

struct Row<'a>(&'a Item);

impl Row<'_> {
    fn to_job(&self, id: JobId) -> Option<Job> {
        let status = self.text(STATUS)?.parse().ok()?;
        let outcome = self.parsed(OUTCOME).ok()?;
        Some(Job {
            id,
            api: self.text(API)?.parse().ok()?,
            owner: Owner::from_stored(self.text(OWNER)?.to_owned()),
            state: State::from_parts(status, outcome)?,
            error: self.text(ERROR).map(str::to_owned),
            start_date: self.parsed(START_DATE).ok()?,
            finish_date: self.parsed(FINISH_DATE).ok()?,
            progress: self.number(PROGRESS).and_then(|percent| u8::try_from(percent).ok()),
            message: self.text(MESSAGE).map(str::to_owned),
            cancel_requested: self.flag(CANCEL_REQUESTED),
            request: self.payload(REQUEST_SIZE, REQUEST_SHA256)?,
            response: self.payload(RESPONSE_SIZE, RESPONSE_SHA256),
        })
    }

    fn payload(&self, size: &str, sha256: &str) -> Option<Payload> {
        Some(Payload { size_bytes: self.number(size)?, sha256: self.text(sha256)?.to_owned() })
    }

    fn parsed<T: FromStr>(&self, field: &str) -> Result<Option<T>, T::Err> {
        self.text(field).map(str::parse).transpose()
    }

    fn number(&self, field: &str) -> Option<u64> {
        self.0.get(field)?.as_n().ok()?.parse().ok()
    }

    /// A flag that is written only where it is set.
    fn flag(&self, field: &str) -> bool {
        self.0.get(field).is_some_and(|value| value.as_bool() == Ok(&true))
    }

    fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field)?.as_s().ok().map(String::as_str)
    }
}
