//! The calls that an agent makes, tried without changing anything, so that somebody can be told what is wrong before it
//! matters.

use std::error::Error;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::error::chain;

/// A call that was tried: its name in IAM policies, and what came of it.
pub type Tried = (&'static str, Result<(), Refusal>);

/// Why a call did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct Refusal {
    /// What kind of reason it is.
    pub kind: RefusalKind,
    /// The reason in AWS's words.
    pub words: String,
}

/// Whose fault it is that a call did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// Nobody answered.
    Unreachable,
    /// The keys are wrong, or expired.
    Credentials,
    /// This computer's clock is wrong.
    Clock,
    /// The keys are right, but may not do this.
    Permission,
    /// There is no table or bucket of this name in this region.
    Missing,
    /// There is one, in another region.
    Region,
    /// Anything else.
    Other,
}

impl<E: ProvideErrorMetadata + Error + 'static> From<SdkError<E>> for Refusal {
    fn from(error: SdkError<E>) -> Self {
        let kind = match &error {
            SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) => RefusalKind::Unreachable,
            SdkError::ServiceError(refused) => {
                let status = refused.raw().status().as_u16();
                RefusalKind::of(error.code(), error.message().unwrap_or_default(), status)
            }
            _ => RefusalKind::Other,
        };
        Self { kind, words: chain(&error) }
    }
}

impl RefusalKind {
    /// By the error's code, its message and the status of HTTP. Sources: the common errors of DynamoDB, S3's list of error
    /// codes.
    pub(crate) fn of(code: Option<&str>, message: &str, status: u16) -> Self {
        match code {
            Some("RequestTimeTooSkewed" | "RequestExpired") => Self::Clock,
            // DynamoDB has one code for a wrong secret and for a wrong clock.
            Some("InvalidSignatureException") if message.contains("Signature ") && message.contains(" is now ") => {
                Self::Clock
            }
            Some(
                "ExpiredToken"
                | "ExpiredTokenException"
                | "IncompleteSignature"
                | "InvalidAccessKeyId"
                | "InvalidClientTokenId"
                | "InvalidSignatureException"
                | "InvalidToken"
                | "SignatureDoesNotMatch"
                | "MissingAuthenticationTokenException"
                | "NotSignedUp"
                | "UnrecognizedClientException",
            ) => Self::Credentials,
            Some("AccessDenied" | "AccessDeniedException" | "AllAccessDisabled") => Self::Permission,
            Some("NoSuchBucket" | "ResourceNotFound" | "ResourceNotFoundException") => Self::Missing,
            Some("AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" | "PermanentRedirect") => {
                Self::Region
            }
            None if status == 403 => Self::Permission,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_by_its_code() {
        let kind = |code| RefusalKind::of(Some(code), "", 400);
        assert_eq!(kind("UnrecognizedClientException"), RefusalKind::Credentials);
        assert_eq!(kind("ExpiredToken"), RefusalKind::Credentials);
        assert_eq!(kind("AccessDeniedException"), RefusalKind::Permission);
        assert_eq!(kind("NoSuchBucket"), RefusalKind::Missing);
        assert_eq!(kind("PermanentRedirect"), RefusalKind::Region);
        assert_eq!(kind("RequestTimeTooSkewed"), RefusalKind::Clock);
        assert_eq!(kind("InternalError"), RefusalKind::Other);
        assert_eq!(RefusalKind::of(None, "", 403), RefusalKind::Permission, "a 403 without a body");
    }

    #[test]
    fn dynamodb_tells_a_wrong_clock_from_a_wrong_secret_by_its_words() {
        let kind = |message| RefusalKind::of(Some("InvalidSignatureException"), message, 400);
        let late =
            "Signature expired: 20261122T041952Z is now earlier than 20261122T042000Z (20261122T043500Z - 15 min.)";
        let early = "Signature not yet current: 20261122T045952Z is now later than 20261122T045000Z";
        assert_eq!([kind(late), kind(early)], [RefusalKind::Clock; 2]);
        let wrong = "The request signature we calculated does not match the signature you provided.";
        assert_eq!(kind(wrong), RefusalKind::Credentials);
    }
}
