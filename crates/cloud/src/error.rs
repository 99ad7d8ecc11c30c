use std::error::Error;
use std::fmt;
use std::sync::Arc;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use bcrlapi_domain::JobId;

use crate::RefusalKind;

/// Why the cloud could not do what was asked. None of these is the caller's fault, and none may be shown to callers.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// A store is away, throttled, or refuses this identity. Try again later; if it stays, the kind
    /// says what to look at.
    #[error("could not {action}: {}", Told { kind: *kind, cause: cause.as_ref() })]
    Unavailable {
        /// What was tried.
        action: &'static str,
        /// Whose fault it is.
        kind: RefusalKind,
        /// The SDK's error, whole. It is no `source`, since the message has its words and those of
        /// all inner errors: what prints a chain of errors would say them twice.
        cause: Arc<dyn Error + Send + Sync>,
    },
    /// Something other than bcrlapi wrote the row or the object. Look at it by hand.
    #[error("job {id} is damaged in the cloud: {what}")]
    Damaged {
        /// Which job.
        id: JobId,
        /// What is wrong with it.
        what: String,
    },
    /// Something other than bcrlapi wrote the row of an idempotency key.
    #[error(
        "row {row} in the table, of an idempotency key, lacks a field or has one of a wrong form: remove the row, and the \
         key is free again"
    )]
    DamagedKey {
        /// The row's key.
        row: String,
    },
}

impl StoreError {
    /// For `map_err`: a call of the SDK that did not succeed.
    pub(crate) fn unavailable<E>(action: &'static str) -> impl FnOnce(SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        move |error| Self::refused(action, RefusalKind::of_sdk(&error), error)
    }

    /// For `map_err`: something about a call that did not succeed, whoever's fault it is.
    pub(crate) fn because<E>(action: &'static str, kind: RefusalKind) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        move |error| Self::refused(action, kind, error)
    }

    pub(crate) fn refused(
        action: &'static str,
        kind: RefusalKind,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable { action, kind, cause: Arc::from(cause.into()) }
    }

    /// Whose fault it is that a store could not do it; `None` where the store did, and what it has
    /// is damaged.
    pub fn kind(&self) -> Option<RefusalKind> {
        match self {
            Self::Unavailable { kind, .. } => Some(*kind),
            Self::Damaged { .. } | Self::DamagedKey { .. } => None,
        }
    }
}

/// The reason in plain words, then in the SDK's, then what to do.
struct Told<'a> {
    kind: RefusalKind,
    cause: &'a (dyn Error + Send + Sync + 'static),
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = chain(self.cause);
        match self.kind.explained() {
            Some((reason, cure)) => write!(f, "{reason} ({words}); {cure}"),
            None => write!(f, "{words}"),
        }
    }
}

/// The error and its causes in one line, each said once. For people: no dump of the answer's fields.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = inner.source();
    }
    // What a credential_process has written to stderr ends its lines.
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}
