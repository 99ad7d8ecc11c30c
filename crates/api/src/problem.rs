use std::fmt;

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use crate::routes;

/// What went wrong, told twice: `detail` is for the caller, `cause` only for the log.
#[derive(Debug)]
pub struct Problem {
    /// Which kind of problem; decides status, type and title.
    pub kind: ProblemKind,
    /// What happened and what to do, safe to show to the caller.
    pub detail: String,
    /// The inner error's own words. Never sent.
    pub cause: Option<String>,
    /// Where the caller finds what this answer cannot carry.
    pub link: Option<String>,
    /// The methods that the path does have.
    pub allow: Vec<Method>,
}

/// The kinds of problem. One error code each, for people and for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// The request's body is not JSON.
    InvalidJson,
    /// A header is malformed or comes twice.
    InvalidHeader,
    /// A query parameter is unknown, malformed or comes twice.
    InvalidParameter,
    /// The request came without a caller's identity.
    Forbidden,
    /// The API has no such path.
    NoSuchPath,
    /// No api of this name is offered.
    NoSuchApi,
    /// There is no such job, or it is another caller's.
    NoSuchJob,
    /// The job is not done yet.
    ResultNotReady,
    /// The job's program runs; it cannot be canceled any more.
    NotCancelable,
    /// The job is done; it cannot be canceled any more.
    AlreadyDone,
    /// The path has no such method.
    MethodNotAllowed,
    /// The job's week is over.
    Expired,
    /// The request's body is larger than a request may be.
    RequestTooLarge,
    /// The result is larger than one answer may be.
    ResultTooLarge,
    /// The request's body is not declared as JSON.
    UnsupportedMediaType,
    /// The idempotency key was used for another body.
    IdempotencyKeyReused,
    /// The request's body is not the one that its digest was made of.
    DigestMismatch,
    /// The job is done and failed.
    JobFailed,
    /// The job was canceled.
    JobCanceled,
    /// The lab never came back from the job.
    JobLost,
    /// More jobs wait than the deployment allows.
    QueueFull,
    /// Something is wrong that trying again does not fix.
    Internal,
    /// A store behind the API is away.
    Unavailable,
}

/// The body of a problem, `application/problem+json` (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemBody {
    /// An absolute URL that names the kind.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status again.
    pub status: u16,
    /// What happened and what to do.
    pub detail: String,
    /// The request's id, to be quoted when asking for help.
    pub instance: String,
    /// The same as `detail`: AWS SDKs and the AWS CLI print this field.
    pub message: String,
    /// Where to find what this answer cannot carry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

impl ProblemBody {
    /// The error code at the end of the type, such as `no-such-job`.
    pub fn code(&self) -> &str {
        self.kind.rsplit('/').next().unwrap_or_default()
    }
}

impl ProblemKind {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::InvalidJson,
        Self::InvalidHeader,
        Self::InvalidParameter,
        Self::Forbidden,
        Self::NoSuchPath,
        Self::NoSuchApi,
        Self::NoSuchJob,
        Self::ResultNotReady,
        Self::NotCancelable,
        Self::AlreadyDone,
        Self::MethodNotAllowed,
        Self::Expired,
        Self::RequestTooLarge,
        Self::ResultTooLarge,
        Self::UnsupportedMediaType,
        Self::IdempotencyKeyReused,
        Self::DigestMismatch,
        Self::JobFailed,
        Self::JobCanceled,
        Self::JobLost,
        Self::QueueFull,
        Self::Internal,
        Self::Unavailable,
    ];

    /// Status, code and title.
    fn row(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::InvalidJson => (S::BAD_REQUEST, "invalid-json", "The body is not JSON"),
            Self::InvalidHeader => (S::BAD_REQUEST, "invalid-header", "A header is not as it should be"),
            Self::InvalidParameter => (S::BAD_REQUEST, "invalid-parameter", "A parameter is not as it should be"),
            Self::Forbidden => (S::FORBIDDEN, "forbidden", "Not allowed"),
            Self::NoSuchPath => (S::NOT_FOUND, "no-such-path", "No such path"),
            Self::NoSuchApi => (S::NOT_FOUND, "no-such-api", "No such api"),
            Self::NoSuchJob => (S::NOT_FOUND, "no-such-job", "No such job"),
            Self::ResultNotReady => (S::NOT_FOUND, "result-not-ready", "The result is not ready"),
            Self::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed"),
            Self::NotCancelable => (S::CONFLICT, "not-cancelable", "The job cannot be canceled"),
            Self::AlreadyDone => (S::CONFLICT, "already-done", "The job is done already"),
            Self::Expired => (S::GONE, "expired", "The job has expired"),
            Self::RequestTooLarge => (S::PAYLOAD_TOO_LARGE, "request-too-large", "The request is too large"),
            Self::ResultTooLarge => (S::PAYLOAD_TOO_LARGE, "result-too-large", "The result is too large"),
            Self::UnsupportedMediaType => {
                (S::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body is not declared as JSON")
            }
            Self::IdempotencyKeyReused => {
                (S::UNPROCESSABLE_ENTITY, "idempotency-key-reused", "The idempotency key was used for another body")
            }
            Self::DigestMismatch => (S::UNPROCESSABLE_ENTITY, "digest-mismatch", "The body is not what was sent"),
            Self::JobFailed => (S::UNPROCESSABLE_ENTITY, "job-failed", "The job failed"),
            Self::JobCanceled => (S::UNPROCESSABLE_ENTITY, "job-canceled", "The job was canceled"),
            Self::JobLost => (S::UNPROCESSABLE_ENTITY, "job-lost", "The job was lost"),
            Self::QueueFull => (S::TOO_MANY_REQUESTS, "queue-full", "The queue is full"),
            Self::Internal => (S::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
            Self::Unavailable => (S::SERVICE_UNAVAILABLE, "unavailable", "Temporarily unavailable"),
        }
    }

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        self.row().0
    }

    /// The error code, such as `no-such-job`.
    pub fn code(self) -> &'static str {
        self.row().1
    }

    /// How long a caller should wait before the same request has another answer, in seconds.
    pub fn retry_after_s(self) -> Option<u32> {
        match self {
            Self::ResultNotReady | Self::Unavailable => Some(routes::RETRY_AFTER_S),
            Self::QueueFull => Some(routes::RETRY_AFTER_QUEUE_FULL_S),
            _ => None,
        }
    }
}

impl Problem {
    /// A problem with the caller's request: nothing about it is secret.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), cause: None, link: None, allow: Vec::new() }
    }

    /// A store is away. What it said is for the log.
    pub fn unavailable(cause: impl fmt::Display) -> Self {
        let detail = "a part of the service does not answer; try again in a moment";
        Self { cause: Some(cause.to_string()), ..Self::new(ProblemKind::Unavailable, detail) }
    }

    /// Something is wrong in the cloud that only an operator can fix. What it is, is for the log.
    pub fn internal(cause: impl fmt::Display) -> Self {
        let detail = "the job's data is damaged; ask the operator and name this request's id (instance)";
        Self { cause: Some(cause.to_string()), ..Self::new(ProblemKind::Internal, detail) }
    }

    /// What is sent. The type's host is one of RFC 6761's reserved names: it identifies, and leads to nobody's page.
    pub fn body(&self, request_id: &str) -> ProblemBody {
        let (status, code, title) = self.kind.row();
        ProblemBody {
            kind: format!("https://bcrlapi.example/problems/{code}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.detail.clone(),
            instance: request_id.to_owned(),
            message: self.detail.clone(),
            link: self.link.clone(),
        }
    }
}
