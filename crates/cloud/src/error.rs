use std::error::Error;

use bcrlapi_domain::JobId;

/// Why the cloud could not do what was asked. None of these is the caller's fault, and none may be shown to callers.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// A store is away, throttled, or refuses this identity. Try again later; if it stays, look at credentials,
    /// permissions and names.
    #[error("could not {action}: {cause}")]
    Unavailable {
        /// What was tried.
        action: &'static str,
        /// The SDK's words, with all inner errors.
        cause: String,
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
    /// For `map_err`: an SDK error with all that is inside it.
    pub(crate) fn unavailable<E: Error + 'static>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Unavailable { action, cause: chain(&error) }
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
    text
}
