use bcrlapi_api::ProblemBody;
use http::StatusCode;

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The API answered, and said no.
    #[error("{} (HTTP {}, {})", .0.detail, .0.status, .0.code())]
    Refused(Box<ProblemBody>),
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
    /// The request could not be signed.
    #[error("the request could not be signed: {0}")]
    Unsigned(String),
}
