//! Whether a lab is as it should be: what was seen of its rows and files, held against the rules of
//! [`promise`](crate::promise) and against what a lab should look like, each in words that can be
//! acted on.
//!
//! Whatever is under way looks wrong for a moment. So two looks are compared, and only what stood
//! in both counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bcrlapi_domain::{Job, JobId, State};
use chrono::{DateTime, TimeDelta, Utc};

use crate::{Entry, Queue};

mod rules;

pub use rules::RULES;

/// How many of the jobs or files that break a rule are named.
const NAMED_MAX: usize = 5;
/// As wide as the longest name of a rule.
const NAME_WIDTH: usize = 42;

/// All that one look at cloud and directory has shown. Nothing was changed for it.
#[derive(Debug)]
pub struct Sight {
    /// When that was.
    pub now: DateTime<Utc>,
    /// How long a job may be processing; for its whole week, if `None`.
    pub lost_after: Option<TimeDelta>,
    /// How long what is said in the lab may take until the cloud knows it: a response has to be
    /// uploaded first.
    pub grace: TimeDelta,
    /// Whether an agent serves the directory.
    pub has_agent: bool,
    /// The rows that were asked for; `None` where there is no such row.
    pub rows: BTreeMap<JobId, Option<Job>>,
    /// Whether there are rows that were not asked for, as they are too many: of jobs that are done
    /// in the queue.
    pub has_unasked: bool,
    /// The jobs whose rows are damaged.
    pub damaged: BTreeSet<JobId>,
    /// What is at the place of the queue.
    pub status: StatusSeen,
    /// The jobs whose request files are there.
    pub requests: BTreeSet<JobId>,
    /// When each response was last written.
    pub responses: BTreeMap<JobId, DateTime<Utc>>,
    /// What the agent has noted that it had seen, oldest first.
    pub journal: Vec<Entry>,
    /// The queues that newer ones have displaced.
    pub displaced: Vec<FileSeen>,
    /// What programs are writing, or have left behind.
    pub running: Vec<FileSeen>,
    /// The queues that could not be read and were put aside.
    pub corrupt: Vec<String>,
    /// Files that may not be read by whoever looks: the agent's own user, where it is run as the
    /// agent is.
    pub unreadable: Vec<String>,
    /// What stands where a file or a folder of the protocol's should be, and is none.
    pub misplaced: Vec<String>,
}

/// What was at the place of status.json.
#[derive(Debug)]
pub enum StatusSeen {
    /// Nothing.
    Missing,
    /// Something that cannot be read, and why.
    Broken(String),
    /// The queue.
    Whole {
        /// What it holds.
        queue: Queue,
        /// Whether all its bytes are ASCII, so that a script reads it under any locale.
        is_ascii: bool,
        /// When it was last written.
        written: DateTime<Utc>,
    },
}

/// A file, as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSeen {
    /// Its name, from the shared directory on.
    pub name: String,
    /// When it was last written.
    pub written: DateTime<Utc>,
    /// Its length.
    pub size_bytes: u64,
}

/// One thing that a lab should be.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// What should be, as a sentence.
    pub name: &'static str,
    /// How bad it is if it is not so.
    pub severity: Severity,
    /// What to do then.
    pub advice: &'static str,
    /// What breaks it.
    pub broken_by: fn(&Sight) -> BTreeSet<Subject>,
}

/// How bad it is that a rule does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Somebody should know.
    Warn,
    /// The promise is broken, or a job cannot come to its end.
    Fail,
}

/// What breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// This job.
    Job(JobId),
    /// This job, by this word of its entry.
    Word(JobId, String),
    /// This file, or what is said of it.
    File(String),
    /// The lab as a whole.
    Lab,
}

/// What came of one rule.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// What breaks it; nothing, where it holds.
    pub broken_by: BTreeSet<Subject>,
}

/// What stood in both looks.
pub fn standing(first: &[Finding], second: &[Finding]) -> Vec<Finding> {
    let in_both = |(first, second): (&Finding, &Finding)| Finding {
        rule: second.rule,
        broken_by: second.broken_by.intersection(&first.broken_by).cloned().collect(),
    };

    first.iter().zip(second).map(in_both).collect()
}

/// The entries that a journal holds, one a line. Half a line, as a crash leaves it, says nothing.
pub fn read_journal(bytes: &[u8]) -> Vec<Entry> {
    Entry::read_lines(bytes).collect()
}

impl Sight {
    /// What this look alone says of every rule, in the order of [`RULES`].
    pub fn findings(&self) -> Vec<Finding> {
        RULES.iter().map(|rule| Finding { rule: *rule, broken_by: (rule.broken_by)(self) }).collect()
    }

    /// The queue; `None` where there is none that can be read.
    fn queue(&self) -> Option<&Queue> {
        match &self.status {
            StatusSeen::Whole { queue, .. } => Some(queue),
            StatusSeen::Missing | StatusSeen::Broken(_) => None,
        }
    }

    /// The entries of jobs whose week is not over.
    fn entries(&self) -> impl Iterator<Item = (JobId, &Entry)> {
        let entries = self.queue().map(Queue::entries).unwrap_or_default().iter();
        entries.filter_map(|entry| Some((entry.id()?, entry))).filter(|(id, _)| !id.is_expired(self.now))
    }

    /// The rows of jobs whose week is not over.
    fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.rows.values().flatten().filter(|job| !job.id.is_expired(self.now))
    }

    /// The jobs with both a row and an entry that says how far it is.
    fn pairs(&self) -> impl Iterator<Item = (&Job, State)> {
        self.jobs().filter_map(|job| Some((job, self.queue()?.entry(job.id)?.state()?)))
    }

    fn is_older_than(&self, date: DateTime<Utc>, age: TimeDelta) -> bool {
        self.now - date >= age
    }
}

impl Finding {
    /// Whether the rule holds.
    pub fn is_ok(&self) -> bool {
        self.broken_by.is_empty()
    }

    /// Whether it breaks the promise, or keeps a job from its end.
    pub fn is_failure(&self) -> bool {
        !self.is_ok() && self.rule.severity == Severity::Fail
    }
}

/// One line: the verdict, the rule, what breaks it and what to do.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_ok() {
            return write!(f, "ok    {}", self.rule.name);
        }

        let verdict = match self.rule.severity {
            Severity::Warn => "warn",
            Severity::Fail => "FAIL",
        };
        write!(f, "{verdict}  {:<NAME_WIDTH$}  ", self.rule.name)?;

        let named: Vec<String> = self.broken_by.iter().take(NAMED_MAX).map(Subject::to_string).collect();
        f.write_str(&named.join(", "))?;

        let others = self.broken_by.len() - named.len();
        if others > 0 {
            write!(f, " and {others} more")?;
        }

        write!(f, ": {}", self.rule.advice)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(id) => id.fmt(f),
            Self::Word(id, word) => write!(f, "{id} says {word:?}"),
            Self::File(name) => f.write_str(name),
            Self::Lab => f.write_str("it is not so"),
        }
    }
}
