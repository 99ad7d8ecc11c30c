use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// How the lab is, as far as the cloud knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabState {
    /// Whether it is there.
    pub state: LabPresence,
    /// When it last said anything; `None` if it never did.
    pub last_sync: Option<DateTime<Utc>>,
    /// Jobs that waited in the lab then.
    pub pending: u64,
    /// Jobs that ran in the lab then.
    pub processing: u64,
    /// Since when the job that waits longest does, in the cloud or in the lab, to a minute; `None` where none waits.
    pub waiting_since: Option<DateTime<Utc>>,
}

/// Whether the lab is there. Submitting does not depend on it: the job waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabPresence {
    /// It has said something in the last three minutes.
    Online,
    /// It has not, or never.
    Offline,
}

impl LabPresence {
    /// Three of the agent's heartbeats.
    const SILENCE_MAX: TimeDelta = TimeDelta::minutes(3);

    /// Whether a lab is there that last said something at `last_sync`.
    pub fn at(last_sync: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Self {
        match last_sync {
            Some(last_sync) if now - last_sync <= Self::SILENCE_MAX => Self::Online,
            _ => Self::Offline,
        }
    }

    /// The word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
        }
    }
}
