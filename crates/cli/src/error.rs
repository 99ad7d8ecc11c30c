use std::time::Duration;

use bcrlapi_api::ProblemBody;
use http::StatusCode;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The API answered, and said no.
    #[error("{} (HTTP {}, {})", problem.detail, problem.status, problem.code())]
    Refused {
        /// What it said.
        problem: Box<ProblemBody>,
        /// After how long the same call may go well.
        retry_after: Option<Duration>,
    },
    /// Something answered, but not as the API does.
    #[error("unexpected answer (HTTP {}): {text}; check the URL", status.as_u16())]
    Unexpected {
        /// Its status.
        status: StatusCode,
        /// The beginning of its body.
        text: String,
    },
    /// Nothing answered.
    #[error("the API could not be reached: {0}")]
    Unreachable(String),
    /// The URL cannot be an API's.
    #[error("not the URL of an API: {0:?}; it looks like https://a1b2c3.execute-api.ap-northeast-1.amazonaws.com/prod")]
    BadUrl(String),
    /// The request could not be signed.
    #[error("the request could not be signed: {0}")]
    Unsigned(String),
}

/// An error with all that is inside it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
