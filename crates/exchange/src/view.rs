use std::collections::BTreeMap;

use bcrlapi_domain::{Job, JobId, State};
use chrono::{DateTime, Utc};

use crate::{BrokenStatus, Entry, StatusFile};

/// All that the agent knows, and all that [`plan`](crate::plan) decides from: what the cloud said and what the
/// directory showed, perhaps stale, perhaps partial. Nothing in it is lost for good when the agent dies.
#[derive(Debug, Default)]
pub struct View {
    /// The jobs the cloud has for this lab that nobody has taken yet, oldest first.
    pub inbox: Vec<Job>,
    /// The jobs this lab has taken, as the cloud last said.
    pub jobs: BTreeMap<JobId, LabJob>,
    /// The queue, as it was last read.
    pub status: StatusSeen,
    /// The queues that were displaced by newer ones and linger, by their inode's number.
    pub displaced: BTreeMap<u64, Displaced>,
    /// When the cloud was last told that this lab is alive.
    pub last_heartbeat: Option<DateTime<Utc>>,
}

/// One taken job and what the directory shows of it.
#[derive(Debug)]
pub struct LabJob {
    /// The job as the cloud last said.
    pub job: Job,
    /// Whether its request file is there.
    pub has_request: bool,
    /// Since when the queue has called it done while the cloud does not.
    pub done_since: Option<DateTime<Utc>>,
    /// Why its response could not be taken when that was last tried.
    pub response_trouble: Option<String>,
}

/// What a look at status.json gave.
#[derive(Debug, Default)]
pub enum StatusSeen {
    /// There is none.
    #[default]
    Missing,
    /// It is no queue, or one that somebody is just writing.
    Broken {
        /// When that was first seen.
        since: DateTime<Utc>,
    },
    /// The queue.
    Whole(StatusFile),
}

/// A queue that a publish has displaced. A script that had it open may write to it for some time.
#[derive(Debug)]
pub struct Displaced {
    /// Since when it has had no news.
    pub quiet_since: DateTime<Utc>,
    /// What was written to it after it had last been read, and is not in the queue yet.
    pub news: Option<StatusFile>,
}

impl LabJob {
    /// A job of which the directory has shown nothing yet.
    pub fn new(job: Job) -> Self {
        Self { job, has_request: false, done_since: None, response_trouble: None }
    }
}

impl View {
    /// Takes in what the cloud now says of a job this lab has.
    pub fn learn(&mut self, job: Job) {
        self.inbox.retain(|new| new.id != job.id);
        match self.jobs.get_mut(&job.id) {
            Some(known) => known.job = job,
            None => drop(self.jobs.insert(job.id, LabJob::new(job))),
        }
    }

    /// Forgets a job that this lab does not have after all.
    pub fn forget(&mut self, id: JobId) {
        self.inbox.retain(|new| new.id != id);
        self.jobs.remove(&id);
    }

    /// Takes in a look at status.json, and from when on it says what it says.
    pub fn see_status(&mut self, seen: Result<Option<StatusFile>, BrokenStatus>, now: DateTime<Utc>) {
        self.status = match (seen, &self.status) {
            (Ok(None), _) => StatusSeen::Missing,
            (Ok(Some(file)), _) => StatusSeen::Whole(file),
            (Err(_), StatusSeen::Broken { since }) => StatusSeen::Broken { since: *since },
            (Err(_), _) => StatusSeen::Broken { since: now },
        };
        let StatusSeen::Whole(file) = &self.status else { return };
        for (id, known) in &mut self.jobs {
            let done = file.entry(*id).and_then(Entry::state).is_some_and(State::is_done);
            known.done_since = if done { known.done_since.or(Some(now)) } else { None };
        }
    }

    /// Takes in a look at a displaced queue: with news, or for the first time, or to say that they are in the queue.
    pub fn see_displaced(&mut self, inode: u64, news: Option<StatusFile>, now: DateTime<Utc>) {
        self.displaced.insert(inode, Displaced { quiet_since: now, news });
    }

    /// How many of the lab's jobs are pending and how many processing, as the cloud last said.
    pub fn open_counts(&self) -> (u64, u64) {
        self.jobs.values().fold((0, 0), |(pending, processing), known| match known.job.state {
            State::Pending => (pending + 1, processing),
            State::Processing => (pending, processing + 1),
            State::Done(_) => (pending, processing),
        })
    }
}
