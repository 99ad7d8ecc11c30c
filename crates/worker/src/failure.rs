use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use bcrlapi_domain::limits::ERROR_MAX_CHARS;

/// The end of what a program has written to its two streams.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastWords {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Why a job has failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// In one line, for the log: what the program has printed stands there already.
    pub(crate) reason: String,
    /// For the caller.
    pub(crate) error: String,
}

impl Failure {
    /// The program has said so itself, by its exit code or its end by a signal. What it wrote to
    /// stderr is its own word for why.
    pub(crate) fn of_exit(status: ExitStatus, words: &LastWords) -> Self {
        let reason = match (status.code(), status.signal()) {
            (Some(code), _) => format!("the program exited with code {code}"),
            (None, Some(signal)) => format!("the program was ended by signal {signal}"),
            (None, None) => "the program failed".to_owned(),
        };
        if words.stderr.is_empty() {
            let detailed =
                if status.code().is_some() { format!("{reason} and wrote nothing to stderr") } else { reason };
            return Self::with_words(detailed, words);
        }
        Self { error: last_chars(&words.stderr, ERROR_MAX_CHARS), reason }
    }

    pub(crate) fn of_timeout(timeout: Duration, words: &LastWords) -> Self {
        let timeout = humantime::format_duration(timeout);
        Self::with_words(format!("the program ran longer than --timeout {timeout} and was ended"), words)
    }

    /// The job has its end already: this is for the log.
    pub(crate) fn of_given_up() -> Self {
        Self::plain("the job was ended by somebody else while its program ran".to_owned())
    }

    pub(crate) fn of_stop() -> Self {
        Self::plain("the worker was stopped before the program had finished".to_owned())
    }

    /// A reason that says it all.
    pub(crate) fn plain(reason: String) -> Self {
        Self { error: reason.clone(), reason }
    }

    /// A reason, and the program's last words as far as there is room.
    pub(crate) fn with_words(reason: String, words: &LastWords) -> Self {
        let mut error = reason.clone();
        let labelled = [("stderr", &words.stderr), ("stdout", &words.stdout)];
        let count = labelled.iter().filter(|(_, text)| !text.is_empty()).count();
        for (rank, (name, text)) in labelled.into_iter().filter(|(_, text)| !text.is_empty()).enumerate() {
            let label = format!("; the end of its {name}: ");
            let room = ERROR_MAX_CHARS.saturating_sub(error.chars().count());
            // The first leaves half to the second.
            let share = if rank + 1 < count { room / 2 } else { room };
            let text = last_chars(text, share.saturating_sub(label.len()));
            if !text.is_empty() {
                error.push_str(&label);
                error.push_str(&text);
            }
        }
        Self { reason, error }
    }
}

fn last_chars(text: &str, limit: usize) -> String {
    let surplus = text.chars().count().saturating_sub(limit);
    text.chars().skip(surplus).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(stdout: &str, stderr: &str) -> LastWords {
        LastWords { stdout: stdout.to_owned(), stderr: stderr.to_owned() }
    }

    #[test]
    fn the_programs_own_word_is_the_error() {
        let failure = Failure::of_exit(ExitStatus::from_raw(3 << 8), &words("rows: 3", "no input"));
        assert_eq!((failure.reason.as_str(), failure.error.as_str()), ("the program exited with code 3", "no input"));
    }

    #[test]
    fn where_it_has_none_all_is_said_that_is_known() {
        let failure = Failure::of_exit(ExitStatus::from_raw(3 << 8), &words("rows: 3", ""));
        let expected = "the program exited with code 3 and wrote nothing to stderr; the end of its stdout: rows: 3";
        assert_eq!(failure.error, expected);
        let killed = Failure::of_exit(ExitStatus::from_raw(9), &words("", ""));
        assert_eq!(killed.error, "the program was ended by signal 9");
    }

    #[test]
    fn the_reason_is_whole_however_much_the_program_has_said() {
        let much = "電".repeat(3 * ERROR_MAX_CHARS);
        let failure = Failure::of_timeout(Duration::from_hours(2), &words(&much, &much));
        assert!(
            failure.error.starts_with("the program ran longer than --timeout 2h and was ended; the end of its stderr")
        );
        assert!(failure.error.contains("the end of its stdout"));
        assert!(failure.error.chars().count() <= ERROR_MAX_CHARS);
    }
}
