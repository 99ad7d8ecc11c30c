//! The words that scripts write for how far a job is: read generously, since a job whose word
//! nobody understands would wait for its whole week.

use bcrlapi_domain::Status;

const PENDING: [&str; 3] = ["pending", "queued", "waiting"];
const PROCESSING: [&str; 8] =
    ["processing", "active", "busy", "in_progress", "inprogress", "running", "started", "working"];
const DONE: [&str; 9] =
    ["done", "complete", "completed", "finished", "ok", "succeeded", "success", "successful", "successfully"];
const FAILED: [&str; 14] = [
    "failed",
    "abort",
    "aborted",
    "canceled",
    "cancelled",
    "crashed",
    "err",
    "error",
    "errored",
    "exception",
    "fail",
    "failure",
    "killed",
    "lost",
];

/// What a status word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusWord {
    /// One of the three, or a synonym.
    Known(Status),
    /// Done, and without a result.
    Failed,
    /// No word of ours. Somebody has written it over `pending`, so the job has had its turn.
    Unknown,
}

/// What an outcome word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutcomeWord {
    Succeeded,
    Failed,
    Unknown,
}

impl StatusWord {
    /// Reads a word in any case, with blanks or hyphens in it and around it.
    pub(crate) fn read(word: &str) -> Self {
        // What almost every entry says, without making another text of it.
        if let Ok(status) = word.parse() {
            return Self::Known(status);
        }
        let word = plain(word);
        let is_one_of = |words: &[&str]| words.contains(&word.as_str());

        if is_one_of(&PENDING) {
            Self::Known(Status::Pending)
        } else if is_one_of(&PROCESSING) {
            Self::Known(Status::Processing)
        } else if is_one_of(&DONE) {
            Self::Known(Status::Done)
        } else if is_one_of(&FAILED) {
            Self::Failed
        } else {
            Self::Unknown
        }
    }
}

impl OutcomeWord {
    pub(crate) fn read(word: &str) -> Self {
        let word = plain(word);
        if FAILED.contains(&word.as_str()) {
            Self::Failed
        } else if DONE.contains(&word.as_str()) {
            Self::Succeeded
        } else {
            Self::Unknown
        }
    }
}

fn plain(word: &str) -> String {
    word.trim().to_lowercase().replace([' ', '-'], "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_in_any_case_and_by_synonym() {
        for (word, read) in [
            ("Pending", StatusWord::Known(Status::Pending)),
            ("In Progress", StatusWord::Known(Status::Processing)),
            (" DONE\n", StatusWord::Known(Status::Done)),
            ("completed", StatusWord::Known(Status::Done)),
            ("Error", StatusWord::Failed),
            ("erledigt", StatusWord::Unknown),
            ("", StatusWord::Unknown),
        ] {
            assert_eq!(StatusWord::read(word), read, "{word:?}");
        }
        assert_eq!(OutcomeWord::read("FAILURE"), OutcomeWord::Failed);
        assert_eq!(OutcomeWord::read("Success"), OutcomeWord::Succeeded);
        assert_eq!(OutcomeWord::read("so-so"), OutcomeWord::Unknown);
    }
}
