//! Whether everything is there that the agent needs: tries it, changes nothing, and says what is to be mended.

use std::fmt;
use std::path::Path;

use bcrlapi_cloud::JobStore;

mod cloud;
mod directory;

/// What one of the things that the agent needs is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was tried.
    pub subject: &'static str,
    /// Whether it will do.
    pub verdict: Verdict,
    /// What was found, and what to do about it.
    pub text: String,
}

/// Whether something will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It will.
    Ok,
    /// It will, but somebody should know.
    Warn,
    /// It will not: the agent cannot do its work.
    Fail,
}

impl Finding {
    fn ok(subject: &'static str, text: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Ok, text: text.into() }
    }

    fn warn(subject: &'static str, text: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Warn, text: text.into() }
    }

    fn fail(subject: &'static str, text: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Fail, text: text.into() }
    }
}

/// One line.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        // What others say may have more than one line.
        let text = self.text.split_whitespace().collect::<Vec<_>>().join(" ");
        write!(f, "{verdict:<4}  {:<11}  {text}", self.subject)
    }
}

/// Tries it all, in the order in which it is to be mended.
pub async fn check(shared: &Path, store: &JobStore) -> Vec<Finding> {
    let shared = shared.to_owned();
    let in_lab = tokio::task::spawn_blocking(move || directory::check(&shared));
    // So many calls are too much for a stack.
    let (in_lab, in_cloud) = tokio::join!(in_lab, Box::pin(cloud::check(store)));
    in_lab.expect("a look at files does not panic").into_iter().chain(in_cloud).collect()
}
