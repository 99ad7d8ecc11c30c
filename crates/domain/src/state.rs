use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How far a job is. Three words for ever, those of the specification; they only move forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Waiting for the lab.
    Pending,
    /// The lab's program runs.
    Processing,
    /// Over; how it ended is the [`Outcome`].
    Done,
}

/// How a done job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// There is a result.
    Succeeded,
    /// The program failed; the job's `error` says why.
    Failed,
    /// The caller took it back before it ran.
    Canceled,
    /// The lab never came back from it.
    Lost,
}

/// The word is none of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {kind}: {word:?}")]
pub struct UnknownWord {
    pub(crate) kind: &'static str,
    pub(crate) word: String,
}

/// Status and outcome as one value: a job has an outcome exactly when it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// See [`Status::Pending`].
    Pending,
    /// See [`Status::Processing`].
    Processing,
    /// See [`Status::Done`].
    Done(Outcome),
}

impl Status {
    /// All of them, in order.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Processing, Self::Done];

    /// The one transition function: whether a job in this status may be written as `next`.
    ///
    /// Forward always; the same again while it is not done (a program reports progress); never back, and a
    /// done job is never written again.
    pub fn may_become(self, next: Self) -> bool {
        self < next || (self == next && self != Self::Done)
    }

    /// The word in files, rows and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Done => "done",
        }
    }
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Succeeded, Self::Failed, Self::Canceled, Self::Lost];

    /// The word in files, rows and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Lost => "lost",
        }
    }
}

impl State {
    /// The state that a status word and an outcome word make; a done job needs an outcome, no other has one.
    pub fn from_parts(status: Status, outcome: Option<Outcome>) -> Option<Self> {
        match (status, outcome) {
            (Status::Pending, None) => Some(Self::Pending),
            (Status::Processing, None) => Some(Self::Processing),
            (Status::Done, Some(outcome)) => Some(Self::Done(outcome)),
            _ => None,
        }
    }

    /// How far the job is.
    pub fn status(self) -> Status {
        match self {
            Self::Pending => Status::Pending,
            Self::Processing => Status::Processing,
            Self::Done(_) => Status::Done,
        }
    }

    /// How it ended, once it is done.
    pub fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Done(outcome) => Some(outcome),
            Self::Pending | Self::Processing => None,
        }
    }

    /// Whether nothing can change any more.
    pub fn is_done(self) -> bool {
        self.status() == Status::Done
    }

    /// Whether this state is behind the other: the other is what holds.
    pub fn is_behind(self, other: Self) -> bool {
        self.status() < other.status()
    }
}

impl FromStr for Status {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        let known = Self::ALL.into_iter().find(|status| status.as_str() == word);
        known.ok_or_else(|| UnknownWord { kind: "status", word: word.to_owned() })
    }
}

impl FromStr for Outcome {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        let known = Self::ALL.into_iter().find(|outcome| outcome.as_str() == word);
        known.ok_or_else(|| UnknownWord { kind: "outcome", word: word.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_only_moves_forward_and_done_is_final() {
        use Status::{Done, Pending, Processing};
        let allowed =
            [(Pending, Pending), (Pending, Processing), (Pending, Done), (Processing, Processing), (Processing, Done)];
        for from in Status::ALL {
            for to in Status::ALL {
                assert_eq!(from.may_become(to), allowed.contains(&(from, to)), "{from:?} -> {to:?}");
            }
        }
    }

    #[test]
    fn an_outcome_belongs_to_done_and_only_to_done() {
        assert_eq!(State::from_parts(Status::Done, None), None);
        assert_eq!(State::from_parts(Status::Pending, Some(Outcome::Failed)), None);
        for outcome in Outcome::ALL {
            let state = State::from_parts(Status::Done, Some(outcome)).unwrap();
            assert_eq!(state.outcome().unwrap().as_str().parse(), Ok(outcome));
        }
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
        }
        assert!("Done".parse::<Status>().is_err());
    }
}
