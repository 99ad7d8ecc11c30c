use std::collections::{BTreeMap, BTreeSet};

use bcrlapi_domain::{Job, JobId, Outcome, State};
use chrono::{DateTime, Utc};

use crate::{BrokenQueue, Entry, Queue};

/// All that the agent knows, and all that [`plan`](crate::plan) decides from: what the cloud said and what the
/// directory showed, perhaps stale, perhaps partial. An agent that starts sees it all again.
#[derive(Debug, Default)]
pub struct View {
    /// The jobs in the cloud's inbox, oldest first: nobody has taken them yet, or their callers want them back.
    pub inbox: Vec<JobId>,
    /// The jobs this lab has taken, as the cloud last said.
    pub jobs: BTreeMap<JobId, LabJob>,
    /// Jobs of the directory that the cloud does not know, or knows only in a damaged row: somebody's own.
    pub foreign: BTreeSet<JobId>,
    /// The jobs whose request files are there, as they were last listed: what is known to have been in the queue.
    pub requests: BTreeSet<JobId>,
    /// Whether `jobs` has been compared with the cloud since a step failed last: such a step may have had its effect.
    pub is_certain: bool,
    /// Whether nothing is wanted but what the lab has lost, also of jobs that are done.
    pub wants_history: bool,
    /// The queue, as it was last read.
    pub status: QueueSeen,
    /// The queues that were displaced by newer ones and linger, by their inode's number.
    pub displaced: BTreeMap<u64, Displaced>,
    /// Whether there are displaced queues that nobody has read yet.
    pub has_unread_displaced: bool,
    /// When the directory was last freed of what has expired.
    pub last_prune: Option<DateTime<Utc>>,
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
    /// Its response file; `None` where there is none.
    pub response: Option<ResponseSeen>,
    /// Since when the queue has called it done while the cloud does not.
    pub done_since: Option<DateTime<Utc>>,
    /// Since when a job that its caller wants back has been out of the queue.
    pub withdrawn_since: Option<DateTime<Utc>>,
}

/// What looks at a response file gave.
#[derive(Clone, Copy, Debug)]
pub struct ResponseSeen {
    /// When it was last written, by the clock of whoever did.
    pub date: DateTime<Utc>,
    /// Since when it has been left alone, by ours: when it was first seen with that date. The other clock may be ahead or
    /// behind.
    pub quiet_since: DateTime<Utc>,
}

/// How much the lab has to do, as the cloud last said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// Jobs that wait.
    pub pending: u64,
    /// Jobs that run.
    pub processing: u64,
    /// Since when the one that waits longest does; `None` where none waits.
    pub waiting_since: Option<DateTime<Utc>>,
}

/// What a look at status.json gave.
#[derive(Debug, Default)]
pub enum QueueSeen {
    /// There is none.
    #[default]
    Missing,
    /// It is no queue, or one that somebody is just writing.
    Broken {
        /// When it was first read so: no whole one has been read in between.
        since: DateTime<Utc>,
        /// When it was last read: it is read again only once somebody has written to it.
        quiet_since: DateTime<Utc>,
    },
    /// The queue.
    Whole(Queue),
}

/// A queue that a publish has displaced. A script that had it open may write to it for some time.
#[derive(Debug)]
pub struct Displaced {
    /// Since when it has had no news.
    pub quiet_since: DateTime<Utc>,
    /// What was written to it after it had last been read, and is not in the queue yet.
    pub news: Option<Queue>,
}

impl LabJob {
    /// A job of which the directory has shown nothing yet.
    pub fn new(job: Job) -> Self {
        Self { job, has_request: false, response: None, done_since: None, withdrawn_since: None }
    }

    /// Takes in when its response file was last written; `None` where there is none.
    pub fn see_response(&mut self, date: Option<DateTime<Utc>>, now: DateTime<Utc>) {
        let earlier = self.response.filter(|seen| Some(seen.date) == date);
        self.response = earlier.or(date.map(|date| ResponseSeen { date, quiet_since: now }));
    }

    /// Whether the cloud may have news of a job that the lab has: its caller may want it back as long as it waits.
    pub fn may_be_asked_back(&self) -> bool {
        self.job.state == State::Pending && !self.job.cancel_requested
    }

    /// Whether its caller wants it back, and nothing shows that a program has run it.
    pub(crate) fn is_asked_back(&self) -> bool {
        self.job.state == State::Pending && self.job.cancel_requested && self.response.is_none()
    }

    /// Whether it has no place in the queue any more.
    pub(crate) fn is_withdrawn(&self) -> bool {
        self.is_asked_back() || self.job.state == State::Done(Outcome::Canceled)
    }
}

impl View {
    /// Takes in what the cloud says of a job this lab has; what is behind what it has said before is old news.
    pub fn learn(&mut self, job: Job) {
        self.inbox.retain(|new| *new != job.id);
        let has_request = self.requests.contains(&job.id);
        let known = self.jobs.entry(job.id).or_insert_with(|| LabJob { has_request, ..LabJob::new(job.clone()) });
        if !job.state.is_behind(known.job.state) {
            known.job = job;
        }
    }

    /// Whether the lab is to have the job's files and entry, should they not be there.
    pub(crate) fn wants(&self, known: &LabJob, now: DateTime<Utc>) -> bool {
        let is_current = self.wants_history || !known.job.state.is_done();
        is_current && !known.is_withdrawn() && !known.job.id.is_expired(now)
    }

    /// Forgets a job that this lab does not have after all.
    pub fn forget(&mut self, id: JobId) {
        self.inbox.retain(|new| *new != id);
        self.jobs.remove(&id);
    }

    /// Takes in what a read of status.json gave.
    pub fn see_status(&mut self, seen: Result<Option<Queue>, BrokenQueue>, now: DateTime<Utc>) {
        self.status = match seen {
            Ok(None) => QueueSeen::Missing,
            Ok(Some(queue)) => QueueSeen::Whole(queue),
            Err(_) => match self.status {
                QueueSeen::Broken { since, .. } => QueueSeen::Broken { since, quiet_since: now },
                QueueSeen::Missing | QueueSeen::Whole(_) => QueueSeen::Broken { since: now, quiet_since: now },
            },
        };
        self.keep_time(now);
    }

    /// Notes since when each job is done in the queue, or withdrawn from it. To be called at every look: a job may have
    /// been learned of after the queue was read.
    pub fn keep_time(&mut self, now: DateTime<Utc>) {
        self.bear_clock_set_back(now);
        let QueueSeen::Whole(file) = &self.status else { return };
        for (id, known) in &mut self.jobs {
            let done = file.entry(*id).and_then(Entry::state).is_some_and(State::is_done);
            known.done_since = if done { known.done_since.or(Some(now)) } else { None };
            let is_out = known.is_asked_back() && file.entry(*id).is_none();
            known.withdrawn_since = if is_out { known.withdrawn_since.or(Some(now)) } else { None };
        }
    }

    /// Whatever seems to have begun after now has begun now: the clock was set back, and nothing must wait until it has
    /// come so far again.
    fn bear_clock_set_back(&mut self, now: DateTime<Utc>) {
        if let QueueSeen::Broken { since, quiet_since } = &mut self.status {
            (*since, *quiet_since) = (now.min(*since), now.min(*quiet_since));
        }
        for known in self.jobs.values_mut() {
            let response = known.response.as_mut().map(|seen| &mut seen.quiet_since);
            for since in [known.done_since.as_mut(), known.withdrawn_since.as_mut(), response].into_iter().flatten() {
                *since = now.min(*since);
            }
        }
        for displaced in self.displaced.values_mut() {
            displaced.quiet_since = now.min(displaced.quiet_since);
        }
        for last in [&mut self.last_prune, &mut self.last_heartbeat].into_iter().flatten() {
            *last = now.min(*last);
        }
    }

    /// Takes in a look at a displaced queue that is new, or that somebody has written to. Where it shows nothing,
    /// earlier news still stands.
    pub fn see_displaced(&mut self, inode: u64, news: Option<Queue>, now: DateTime<Utc>) {
        let earlier = self.displaced.remove(&inode).and_then(|displaced| displaced.news);
        self.displaced.insert(inode, Displaced { quiet_since: now, news: news.or(earlier) });
    }

    /// Notes that all news of the displaced queues is in the queue.
    pub fn settle_displaced(&mut self) {
        for displaced in self.displaced.values_mut() {
            displaced.news = None;
        }
    }

    /// How much the lab has to do, as the cloud last said.
    pub fn workload(&self) -> Workload {
        let ids_in = |state| self.jobs.iter().filter(move |(_, known)| known.job.state == state).map(|(id, _)| *id);
        Workload {
            pending: ids_in(State::Pending).count() as u64,
            processing: ids_in(State::Processing).count() as u64,
            waiting_since: ids_in(State::Pending).next().map(JobId::request_date),
        }
    }
}
