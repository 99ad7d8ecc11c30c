//! Why a call of AWS did not succeed, so that a person can be told whose fault it is and what to
//! do.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
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
    /// Nobody answered, or not to the end.
    Unreachable,
    /// There are no keys, or wrong ones.
    Credentials,
    /// The keys were good, and have expired.
    Expired,
    /// This computer's clock is wrong.
    Clock,
    /// The keys are right, but may not do this.
    Permission,
    /// There is no table or bucket of this name in this region.
    Missing,
    /// There is one, in another region; or this computer knows of no region.
    Region,
    /// There were more calls than the table, the bucket or the account serves.
    Throttled,
    /// Anything else.
    Other,
}

impl<E: ProvideErrorMetadata + Error + 'static> From<SdkError<E>> for Refusal {
    fn from(error: SdkError<E>) -> Self {
        Self { kind: RefusalKind::of_sdk(&error), words: chain(&error) }
    }
}

impl RefusalKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Unreachable,
        Self::Credentials,
        Self::Expired,
        Self::Clock,
        Self::Permission,
        Self::Missing,
        Self::Region,
        Self::Throttled,
        Self::Other,
    ];

    /// The reason in plain words, and what to do about it; `None` where only the error itself can
    /// say.
    pub fn explained(self) -> Option<(&'static str, &'static str)> {
        Some(match self {
            Self::Unreachable => ("AWS does not answer", "open outbound HTTPS to it, or set HTTPS_PROXY"),
            Self::Credentials => ("the keys are missing or wrong", "replace them where they come from"),
            Self::Expired => ("the keys have expired", "renew them where they come from"),
            Self::Clock => ("this computer's clock is wrong", "set it: timedatectl set-ntp true"),
            Self::Permission => ("the keys may not do this", "give them the deployment's policy for this program"),
            Self::Missing => (
                "there is no such table or bucket in this region",
                "take name and region from the deployment's outputs",
            ),
            Self::Region => ("the region is missing or another", "set AWS_REGION to the deployment's region"),
            Self::Throttled => {
                ("there were too many calls at once", "it is tried again; if it stays, look at who else calls")
            }
            Self::Other => return None,
        })
    }

    /// By what the SDK says of a call.
    pub(crate) fn of_sdk<E: ProvideErrorMetadata + Error + 'static>(error: &SdkError<E>) -> Self {
        match error {
            SdkError::ServiceError(refused) => {
                let status = refused.raw().status().as_u16();
                Self::of(error.code(), error.message().unwrap_or_default(), status)
            }
            // An answer that is none of AWS's: cut off, or a proxy's.
            SdkError::TimeoutError(_) | SdkError::ResponseError(_) => Self::Unreachable,
            // Before anything is sent, keys and endpoint are looked for; the SDK calls that a
            // dispatch, too.
            _ if has_cause::<CredentialsError>(error) => Self::Credentials,
            _ if chain(error).contains("Missing Region") => Self::Region,
            SdkError::DispatchFailure(_) => Self::Unreachable,
            _ => Self::Other,
        }
    }

    /// By the error's code, its message and the status of HTTP. Sources: the common errors of
    /// DynamoDB, S3's list of error codes.
    pub(crate) fn of(code: Option<&str>, message: &str, status: u16) -> Self {
        match code {
            Some("RequestTimeTooSkewed" | "RequestExpired") => Self::Clock,
            Some("ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired") => Self::Expired,
            // DynamoDB has one code for a wrong secret and for a wrong clock.
            Some("InvalidSignatureException") if message.contains("Signature ") && message.contains(" is now ") => {
                Self::Clock
            }
            Some(
                "IncompleteSignature"
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
            Some(
                "LimitExceededException"
                | "ProvisionedThroughputExceeded"
                | "ProvisionedThroughputExceededException"
                | "RequestLimitExceeded"
                | "SlowDown"
                | "ThrottledException"
                | "Throttling"
                | "ThrottlingError"
                | "ThrottlingException"
                | "TooManyRequestsException",
            ) => Self::Throttled,
            None if status == 403 => Self::Permission,
            None if status == 429 => Self::Throttled,
            _ => Self::Other,
        }
    }
}

/// Whether an error of this type is inside.
fn has_cause<T: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(inner) = cause {
        if inner.is::<T>() {
            return true;
        }
        cause = inner.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use aws_config::Region;
    use aws_credential_types::Credentials;
    use aws_credential_types::provider::{ProvideCredentials, future};

    use super::*;
    use crate::StoreError;

    #[test]
    fn a_refusal_is_told_by_its_code() {
        let kind = |code| RefusalKind::of(Some(code), "", 400);
        assert_eq!(kind("UnrecognizedClientException"), RefusalKind::Credentials);
        assert_eq!(kind("ExpiredToken"), RefusalKind::Expired);
        assert_eq!(kind("AccessDeniedException"), RefusalKind::Permission);
        assert_eq!(kind("NoSuchBucket"), RefusalKind::Missing);
        assert_eq!(kind("PermanentRedirect"), RefusalKind::Region);
        assert_eq!(kind("RequestTimeTooSkewed"), RefusalKind::Clock);
        assert_eq!([kind("SlowDown"), kind("ThrottlingException")], [RefusalKind::Throttled; 2]);
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

    #[test]
    fn every_kind_but_the_last_is_explained() {
        for kind in RefusalKind::ALL {
            assert_eq!(kind.explained().is_none(), kind == RefusalKind::Other, "{kind:?}");
        }
    }

    /// Keys that come from nowhere.
    #[derive(Debug)]
    struct NoKeys;

    impl ProvideCredentials for NoKeys {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::ready(Err(CredentialsError::provider_error("the process has failed")))
        }
    }

    #[tokio::test]
    async fn what_fails_before_anything_is_sent_is_told_by_its_cause() {
        let get = async |config: aws_sdk_dynamodb::config::Builder| {
            let client = aws_sdk_dynamodb::Client::from_conf(config.behavior_version_latest().build());
            let error = client.list_tables().send().await.unwrap_err();
            StoreError::unavailable("list the tables")(error)
        };
        let region = Region::new("eu-west-1");
        // Nobody listens on this port.
        let config = || aws_sdk_dynamodb::Config::builder().endpoint_url("http://127.0.0.1:9");

        let error = get(config().region(region.clone()).credentials_provider(NoKeys)).await;
        assert_eq!(error.kind(), Some(RefusalKind::Credentials), "{error}");
        assert!(error.to_string().contains("the keys are missing or wrong (dispatch failure"), "{error}");
        assert!(error.to_string().contains("the process has failed"), "{error}");

        let keys = || Credentials::new("key", "secret", None, None, "a test");
        let error = get(config().region(region).credentials_provider(keys())).await;
        assert_eq!(error.kind(), Some(RefusalKind::Unreachable), "{error}");
        let error = get(aws_sdk_dynamodb::Config::builder().credentials_provider(keys())).await;
        assert_eq!(error.kind(), Some(RefusalKind::Region), "{error}");
    }
}
