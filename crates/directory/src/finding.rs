use std::fmt;

use crate::DirectoryError;

/// What one of the things is like that the agent or the worker needs.
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
    /// It will not: the agent, or the worker, cannot do its work.
    Fail,
}

impl Finding {
    /// It will do.
    pub fn ok(subject: &'static str, text: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Ok, text: text.into() }
    }

    /// It will do, but somebody should know.
    pub fn warn(subject: &'static str, text: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Warn, text: text.into() }
    }

    /// It will not do.
    pub fn fail(subject: &'static str, text: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Fail, text: text.into() }
    }

    /// What [`DirectoryTrial::can_exchange`](crate::DirectoryTrial::can_exchange) has shown.
    pub fn of_exchange(subject: &'static str, can_exchange: Result<bool, DirectoryError>) -> Self {
        match can_exchange {
            Ok(true) => Self::ok(subject, "files can change places in one step"),
            Ok(false) => {
                let what = "this file system cannot exchange files (NFS, some FUSE)";
                Self::warn(subject, format!("{what}; scripts that rewrite status.json must take its lock"))
            }
            Err(error) => Self::fail(subject, error.to_string()),
        }
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
