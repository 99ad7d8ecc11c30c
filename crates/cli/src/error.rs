use std::io;
use std::time::Duration;

use bcrlapi_api::ProblemBody;
use http::StatusCode;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The API answered, and said no.
    #[error("{} (HTTP {}, {}, request {})", problem.detail, problem.status, problem.code(), problem.instance)]
    Refused {
        /// What it said.
        problem: Box<ProblemBody>,
        /// After how long the same call may go well.
        retry_after: Option<Duration>,
    },
    /// Something answered, but not as the API does.
    #[error("{host} does not answer as the API does: {what} (HTTP {}{})", status.as_u16(), request(request_id.as_deref()))]
    Unexpected {
        /// Who answered.
        host: String,
        /// Its status.
        status: StatusCode,
        /// What it sent, in a few words.
        what: String,
        /// AWS's name for the request, to be quoted when asking for help.
        request_id: Option<String>,
        /// After how long the same call may go well.
        retry_after: Option<Duration>,
    },
    /// The answer was to ask elsewhere, which a signed request never does.
    #[error("{host} answers with a redirect (HTTP {}) to {location}; nothing was sent there", status.as_u16())]
    Redirected {
        /// Who answered.
        host: String,
        /// The kind of redirect.
        status: StatusCode,
        /// Where it points, without its query.
        location: String,
    },
    /// Nothing answered.
    #[error("cannot reach {host}: {reason}")]
    Unreachable {
        /// Who was asked.
        host: String,
        /// Why there was no answer.
        reason: String,
        /// Whether the request may have been received all the same.
        may_have_arrived: bool,
    },
    /// What arrived is not what was sent, or nobody can tell.
    #[error("cannot trust the result: {0}")]
    Corrupted(String),
    /// What was fetched could not be written.
    #[error("the result cannot be written")]
    NotWritten(#[source] io::Error),
    /// The URL cannot be an API's.
    #[error("not the URL of an API: {0}; it looks like https://a1b2c3.execute-api.ap-northeast-1.amazonaws.com/prod")]
    BadUrl(&'static str),
    /// The request could not be signed.
    #[error("cannot sign the request: {reason}")]
    Unsigned {
        /// Why.
        reason: String,
        /// What to do about it.
        next: Option<String>,
    },
}

impl ClientError {
    /// Nothing to be done about it is known.
    pub(crate) fn unsigned(reason: impl Into<String>) -> Self {
        Self::Unsigned { reason: reason.into(), next: None }
    }

    /// Whether the same call may go well a moment later.
    pub(crate) fn may_pass(&self) -> bool {
        let is_passing = |status: u16| status == StatusCode::TOO_MANY_REQUESTS.as_u16() || status >= 500;
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { problem, .. } => is_passing(problem.status),
            Self::Unexpected { status, .. } => is_passing(status.as_u16()),
            Self::Redirected { .. }
            | Self::Corrupted(_)
            | Self::NotWritten(_)
            | Self::BadUrl(_)
            | Self::Unsigned { .. } => false,
        }
    }

    /// Whether it is the network's or somebody's between here and the API: to an API that has answered before, the way
    /// may be found again.
    pub(crate) fn is_on_the_way(&self) -> bool {
        match self {
            Self::Unexpected { .. } | Self::Redirected { .. } | Self::Unsigned { .. } => true,
            error => error.may_pass(),
        }
    }

    /// How long the API has asked to wait before the same call.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } | Self::Unexpected { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether what was asked for may have been done, although nothing says so.
    pub fn may_have_arrived(&self) -> bool {
        match self {
            Self::Unreachable { may_have_arrived, .. } => *may_have_arrived,
            // Somebody has answered in the API's place, perhaps after it has worked.
            Self::Unexpected { status, .. } => status.is_success() || status.is_server_error(),
            Self::Refused { problem, .. } => problem.status >= 500,
            _ => false,
        }
    }
}

fn request(id: Option<&str>) -> String {
    id.map(|id| format!(", request {id}")).unwrap_or_default()
}

/// An error with all that is inside it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What is at the bottom of an error: all above it says only on whose way it happened.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.last().map(ToString::to_string).unwrap_or_default()
}
