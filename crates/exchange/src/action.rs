use std::fmt;

use bcrlapi_domain::{Job, JobId};

use crate::{Queue, Workload};

/// One step of the agent. Is safe to repeat, and may fail without harm: the next plan, made from what is then there,
/// holds it again.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Take the job on its row: from here on it is this lab's.
    Take(JobId),
    /// Ask the cloud for a job that nothing is known of: it stands open in the queue and may be over, or its request
    /// file is there and its entry is not.
    Ask(JobId),
    /// Fetch the request's body and write the request file; if there is no good body, record the job as failed.
    Deliver(Job),
    /// Put this queue in the place of the one that was read.
    Publish(Queue),
    /// Remove a displaced queue that nobody has written to for a while.
    Discard {
        /// The number that is its name.
        number: u64,
    },
    /// Fetch the response of a job that is done and write its file: the lab has lost it.
    Restore(Job),
    /// Remove the files of what is older than a week; the entries are gone already.
    Prune,
    /// Put a status.json that stays broken aside, for people to look at.
    Quarantine,
    /// Tell the cloud that the program runs, and what it says of itself.
    Report {
        /// Which job.
        id: JobId,
        /// How much of it is done, 0 to 100.
        progress: Option<u8>,
        /// What the program says.
        message: Option<String>,
    },
    /// Upload the response if it is one whole JSON document, then record the job as done.
    Return {
        /// Which job.
        id: JobId,
        /// What is to be thought of a response that is not whole.
        due: Due,
    },
    /// Record the job as done and failed.
    Fail {
        /// Which job.
        id: JobId,
        /// Why, for the caller.
        error: String,
    },
    /// Record the job as done and canceled: its entry was withdrawn, and no program has wanted it.
    Cancel(JobId),
    /// Record the job as done and lost: nothing was heard of its program for too long.
    Lose(JobId),
    /// Tell the cloud that this lab is alive, and how much it has to do.
    Heartbeat(Workload),
}

/// How urgently a response is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// The job is still called processing, but its response has been left alone for a minute: it may be whole.
    Early,
    /// The job is called done: a whole response may follow within seconds.
    Announced,
    /// The time is over in which one may still come: without a whole one now, the job has failed.
    LastTry,
}

impl Action {
    /// Every name there is.
    pub const NAMES: [&str; 14] = [
        "ask",
        "cancel",
        "deliver",
        "discard",
        "fail",
        "heartbeat",
        "lose",
        "prune",
        "publish",
        "quarantine",
        "report",
        "restore",
        "return",
        "take",
    ];

    /// Which kind of step it is: one word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Take(_) => "take",
            Self::Ask(_) => "ask",
            Self::Deliver(_) => "deliver",
            Self::Publish(_) => "publish",
            Self::Discard { .. } => "discard",
            Self::Restore(_) => "restore",
            Self::Prune => "prune",
            Self::Quarantine => "quarantine",
            Self::Report { .. } => "report",
            Self::Return { .. } => "return",
            Self::Fail { .. } => "fail",
            Self::Cancel(_) => "cancel",
            Self::Lose(_) => "lose",
            Self::Heartbeat(_) => "heartbeat",
        }
    }

    /// Whether it tells the cloud what the queue says of a job.
    pub fn tells_of_the_queue(&self) -> bool {
        matches!(self, Self::Report { .. } | Self::Return { .. } | Self::Fail { .. })
    }

    /// Whether it brings something back that the lab has lost.
    pub(crate) fn brings_back(&self) -> bool {
        matches!(self, Self::Ask(_) | Self::Deliver(_) | Self::Restore(_) | Self::Publish(_) | Self::Quarantine)
    }
}

/// The action's name and what it is about, for logs.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            // What comes of an early look says nothing about the one after `done`.
            Self::Return { id, due: Due::Early } => write!(f, " {id} early"),
            Self::Take(id)
            | Self::Ask(id)
            | Self::Cancel(id)
            | Self::Lose(id)
            | Self::Report { id, .. }
            | Self::Return { id, .. }
            | Self::Fail { id, .. } => write!(f, " {id}"),
            Self::Deliver(job) | Self::Restore(job) => write!(f, " {}", job.id),
            Self::Discard { number } => write!(f, " displaced queue {number}"),
            Self::Publish(_) | Self::Quarantine => f.write_str(" status.json"),
            Self::Prune | Self::Heartbeat(_) => Ok(()),
        }
    }
}
