use std::collections::{BTreeMap, BTreeSet};

use bcrlapi_domain::{Job, JobId, Outcome, State};
use chrono::{DateTime, TimeDelta, Utc};

use crate::{BrokenQueue, Entry, Queue};

/// The most jobs that are done and still known: what the directory shows of them needs no question
/// to the cloud. A lab that is busy has ended many times as many in a week.
const DONE_JOBS_MAX: usize = 10_000;

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
    /// What is whole in a status.json that is broken, until a whole one is read or it is gone: the
    /// furthest entries of jobs that have started.
    pub salvaged: Queue,
    /// Of each open job the furthest entry that was ever seen of it, in whatever file, once a
    /// program has wanted it: what was seen to go forward never goes back, whatever becomes of
    /// status.json.
    pub seen: BTreeMap<JobId, Entry>,
    /// What the journal says of these jobs: it remembers what was seen and not told to the cloud
    /// yet, for an agent that starts while the cloud is away.
    pub journaled: BTreeMap<JobId, State>,
    /// The queues that were displaced by newer ones and linger, by their numbers.
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
    /// When the cloud was last told what its program says of itself.
    pub reported_at: Option<DateTime<Utc>>,
    /// How far the clock has leapt ahead while it was processing: time that its program has not had.
    pub leapt: TimeDelta,
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
    /// Since when the one that runs longest does; `None` where none runs.
    pub processing_since: Option<DateTime<Utc>>,
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
        /// Whether it may be a good queue that is more than what is read.
        is_only_large: bool,
    },
    /// The queue.
    Whole(Queue),
}

/// A queue that a publish has displaced. A script that had it open may write to it for some time.
#[derive(Debug)]
pub struct Displaced {
    /// Since when nobody has written to it.
    pub quiet_since: DateTime<Utc>,
}

impl LabJob {
    /// A job of which the directory has shown nothing yet.
    pub fn new(job: Job) -> Self {
        Self {
            job,
            has_request: false,
            response: None,
            done_since: None,
            withdrawn_since: None,
            reported_at: None,
            leapt: TimeDelta::zero(),
        }
    }

    /// Takes in when its response file was last written; `None` where there is none.
    pub fn see_response(&mut self, date: Option<DateTime<Utc>>, now: DateTime<Utc>) {
        let earlier = self.response.filter(|seen| Some(seen.date) == date);
        self.response = earlier.or(date.map(|date| ResponseSeen { date, quiet_since: now }));
    }

    /// When whatever is waited for has begun.
    fn begun(&mut self) -> impl Iterator<Item = &mut DateTime<Utc>> {
        let response = self.response.as_mut().map(|seen| &mut seen.quiet_since);
        let since = [&mut self.done_since, &mut self.withdrawn_since, &mut self.reported_at];
        since.into_iter().flatten().chain(response)
    }

    /// How long its program has been processing, as far as the clock did not leap meanwhile; `None`
    /// where it has not started.
    fn running_time(&self, now: DateTime<Utc>) -> Option<TimeDelta> {
        let since = now - self.job.start_date?;
        Some(since - self.leapt)
    }

    /// Whether it should have come to its end by now: it has been processing for as long as the lab
    /// allows, or has been called done for as long.
    pub fn is_overdue(&self, lost_after: Option<TimeDelta>, now: DateTime<Utc>) -> bool {
        let time = match self.done_since {
            Some(since) => Some(now - since),
            None => self.running_time(now),
        };
        time.zip(lost_after).is_some_and(|(time, limit)| time >= limit)
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
        let id = job.id;
        self.inbox.retain(|new| *new != id);
        let has_request = self.requests.contains(&id);
        let known = self.jobs.entry(id).or_insert_with(|| LabJob { has_request, ..LabJob::new(job.clone()) });
        if !job.state.is_behind(known.job.state) {
            known.job = job;
        }
        if known.job.state.is_done() {
            self.seen.remove(&id);
        }
    }

    /// Notes that the cloud was told what a program says of itself.
    pub fn has_reported(&mut self, id: JobId, now: DateTime<Utc>) {
        if let Some(known) = self.jobs.get_mut(&id) {
            known.reported_at = Some(now);
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
        self.seen.remove(&id);
    }

    /// Notes that a job of the directory is nobody's.
    pub fn has_no_row(&mut self, id: JobId) {
        self.foreign.insert(id);
        self.seen.remove(&id);
    }

    /// Forgets jobs whose week is over and, of those that are done, all but the latest: what the
    /// directory shows of an older one is asked for again.
    pub fn forget_old(&mut self, now: DateTime<Utc>) {
        self.jobs.retain(|id, _| !id.is_expired(now));
        self.foreign.retain(|id| !id.is_expired(now));
        self.seen.retain(|id, _| !id.is_expired(now));

        if self.wants_history {
            return;
        }
        let done: Vec<JobId> =
            self.jobs.values().filter(|known| known.job.state.is_done()).map(|known| known.job.id).collect();
        let surplus = done.len().saturating_sub(DONE_JOBS_MAX);
        for id in &done[..surplus] {
            self.jobs.remove(id);
        }
    }

    /// Takes in what a read of status.json gave.
    pub fn see_status(&mut self, seen: Result<Option<Queue>, BrokenQueue>, now: DateTime<Utc>) {
        let broken_since = match self.status {
            QueueSeen::Broken { since, .. } => since,
            QueueSeen::Missing | QueueSeen::Whole(_) => now,
        };
        self.status = match seen {
            Ok(None) => QueueSeen::Missing,
            Ok(Some(queue)) => QueueSeen::Whole(queue),
            Err(error) => {
                let is_only_large = error.is_only_large();
                self.salvage(&error.into_salvaged());
                QueueSeen::Broken { since: broken_since, quiet_since: now, is_only_large }
            }
        };

        self.remember_salvaged();
        self.remember_status();
        self.keep_time(now);
    }

    /// Takes in what is whole in a broken queue. It may be broken further before it is whole again.
    fn salvage(&mut self, salvaged: &Queue) {
        for (_, entry) in salvaged.jobs() {
            self.salvaged.absorb(entry);
        }
    }

    /// Once a broken queue is whole again or gone, remembers all that was whole in it. Before, it may
    /// be one that somebody is just writing, and jobs that are done are too many to remember each
    /// time.
    fn remember_salvaged(&mut self) {
        let queue = match &self.status {
            QueueSeen::Broken { .. } => return,
            QueueSeen::Missing => &Queue::default(),
            QueueSeen::Whole(queue) => queue,
        };

        let news: Vec<Entry> = queue.news_in(&self.salvaged).cloned().collect();
        for entry in news {
            self.remember(&entry);
        }
        self.salvaged = Queue::default();
    }

    /// Remembers what the queue says of jobs that have started.
    fn remember_status(&mut self) {
        let queue = match &self.status {
            QueueSeen::Missing => return,
            QueueSeen::Broken { .. } => &self.salvaged,
            QueueSeen::Whole(queue) => queue,
        };
        let open = self.jobs.values().filter(|known| !known.job.state.is_done());
        let of_open = open.filter_map(|known| queue.entry(known.job.id));
        // Of these the cloud may have said nothing yet. Those that are done are too many, and most
        // are old.
        let runs = queue.jobs().filter(|(_, entry)| entry.state() == Some(State::Processing));
        let of_unknown = runs.filter(|(id, _)| !self.is_known(*id)).map(|(_, entry)| entry);

        let started: Vec<Entry> = of_open.chain(of_unknown).filter(|entry| self.is_news(entry)).cloned().collect();
        for entry in started {
            self.remember(&entry);
        }
        self.settle();
    }

    fn is_known(&self, id: JobId) -> bool {
        self.jobs.contains_key(&id) || self.foreign.contains(&id)
    }

    /// Whether an entry says more of its job than what was seen before.
    fn is_news(&self, entry: &Entry) -> bool {
        let seen = entry.id().and_then(|id| self.seen.get(&id));
        entry.has_started() && seen.is_none_or(|seen| !entry.is_behind(seen) && entry != seen)
    }

    /// Remembers an entry of a job that has started.
    fn remember(&mut self, entry: &Entry) {
        let Some(id) = entry.id() else { return };
        let is_over = self.jobs.get(&id).is_some_and(|known| known.job.state.is_done());
        if !is_over && self.is_news(entry) {
            self.seen.insert(id, entry.detached());
        }
    }

    /// Forgets what was seen of jobs that are over and that nothing else is known of, once the
    /// queue says it too.
    fn settle(&mut self) {
        let QueueSeen::Whole(queue) = &self.status else { return };
        let jobs = &self.jobs;
        self.seen.retain(|id, entry| {
            let is_over = entry.state().is_some_and(State::is_done) && !jobs.contains_key(id);
            !is_over || queue.is_behind(entry)
        });
    }

    /// What was seen and is further than what the queue says, also of jobs that it does not have.
    pub(crate) fn news_for<'a>(&'a self, queue: Option<&'a Queue>) -> impl Iterator<Item = &'a Entry> {
        let is_ahead = move |entry: &&Entry| queue.is_none_or(|queue| queue.is_behind(entry));
        self.seen.values().filter(is_ahead)
    }

    /// What is to be written to the journal: what was seen, is not told to the cloud yet, and is
    /// not there already.
    pub fn to_journal(&self) -> Vec<&Entry> {
        let is_to_do = |(id, entry): &(&JobId, &Entry)| {
            let journaled = self.journaled.get(id);
            self.is_untold(**id, entry) && journaled.is_none_or(|journaled| is_behind(*journaled, entry))
        };
        self.seen.iter().filter(is_to_do).map(|(_, entry)| entry).collect()
    }

    /// All that the journal has to say, if it says anything else as well.
    pub fn new_journal(&self) -> Option<Vec<&Entry>> {
        let is_needed = |id: &JobId| self.seen.get(id).is_some_and(|entry| self.is_untold(*id, entry));
        let has_surplus = !self.journaled.keys().all(is_needed);
        let needed = || self.seen.iter().filter(|(id, entry)| self.is_untold(**id, entry)).map(|(_, entry)| entry);
        has_surplus.then(|| needed().collect())
    }

    /// Whether the cloud is behind what was seen of the job.
    fn is_untold(&self, id: JobId, entry: &Entry) -> bool {
        self.jobs.get(&id).is_none_or(|known| is_behind(known.job.state, entry))
    }

    /// Notes what the journal says now.
    pub fn has_journaled(&mut self, entries: &[Entry]) {
        for entry in entries {
            self.journaled.extend(entry.id().zip(entry.state()));
        }
    }

    /// Takes in the journal of an agent that was here before.
    pub fn read_journal(&mut self, journal: &[u8]) {
        for entry in Entry::read_lines(journal).filter(Entry::has_started) {
            self.remember(&entry);
            self.journaled.extend(entry.id().zip(entry.state()));
        }
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

    /// Takes in that the clock has leapt ahead, or back if negative: it was set, or this computer was
    /// suspended. Programs and scripts have not had that time, so whatever is waited for has lasted
    /// no longer for it.
    pub fn clock_has_leapt(&mut self, by: TimeDelta) {
        for since in self.begun() {
            *since += by;
        }
        for known in self.jobs.values_mut().filter(|known| known.job.state == State::Processing) {
            known.leapt += by;
        }
    }

    /// Whatever seems to have begun after now has begun now: the clock was set back, and nothing must wait until it has
    /// come so far again.
    fn bear_clock_set_back(&mut self, now: DateTime<Utc>) {
        for since in self.begun() {
            *since = now.min(*since);
        }
        for last in [&mut self.last_prune, &mut self.last_heartbeat].into_iter().flatten() {
            *last = now.min(*last);
        }
    }

    /// When whatever is waited for has begun.
    fn begun(&mut self) -> impl Iterator<Item = &mut DateTime<Utc>> {
        let broken = match &mut self.status {
            QueueSeen::Broken { since, quiet_since, .. } => vec![since, quiet_since],
            QueueSeen::Missing | QueueSeen::Whole(_) => Vec::new(),
        };
        let of_jobs = self.jobs.values_mut().flat_map(LabJob::begun);
        let displaced = self.displaced.values_mut().map(|displaced| &mut displaced.quiet_since);
        broken.into_iter().chain(of_jobs).chain(displaced)
    }

    /// Takes in a look at a displaced queue that is new, or that somebody has written to; `None`
    /// where it says nothing that is not known.
    pub fn see_displaced(&mut self, number: u64, queue: Option<&Queue>, now: DateTime<Utc>) {
        self.displaced.insert(number, Displaced { quiet_since: now });
        let Some(displaced) = queue else { return };

        let is_welcome = |entry: &&Entry| self.is_welcome(entry);
        let news: Vec<Entry> = match &self.status {
            QueueSeen::Whole(queue) => queue.news_in(displaced).filter(is_welcome).cloned().collect(),
            // Without a queue, what is over is made again from the rows.
            QueueSeen::Missing | QueueSeen::Broken { .. } => {
                let started = displaced.jobs().filter(|(_, entry)| entry.has_started());
                started.filter(|(id, entry)| !self.is_over(*id, entry)).map(|(_, entry)| entry.clone()).collect()
            }
        };
        for entry in news {
            self.remember(&entry);
        }
    }

    /// Whether a job that has started elsewhere may come into the queue. Of a job that nothing is
    /// known of, only what is over, or what was in the queue once: any other entry might be
    /// somebody's own.
    fn is_welcome(&self, entry: &Entry) -> bool {
        let Some(id) = entry.id() else { return false };
        match self.jobs.get(&id) {
            Some(known) => !known.job.state.is_done(),
            None => {
                let was_here = self.inbox.contains(&id) || self.requests.contains(&id);
                was_here || entry.state().is_some_and(State::is_done)
            }
        }
    }

    /// Whether nothing more can come of the job, by what is known of it and by this entry.
    fn is_over(&self, id: JobId, entry: &Entry) -> bool {
        let is_done = entry.state().is_some_and(State::is_done);
        self.jobs.get(&id).map_or(is_done, |known| known.job.state.is_done())
    }

    /// How much the lab has to do, as the cloud last said.
    pub fn workload(&self) -> Workload {
        let mut workload = Workload::default();

        for job in self.jobs.values().map(|known| &known.job) {
            match job.state {
                State::Pending => {
                    workload.pending += 1;
                    // Ids sort by their dates: the first is the oldest.
                    workload.waiting_since = workload.waiting_since.or(Some(job.id.request_date()));
                }
                State::Processing => {
                    workload.processing += 1;
                    // Jobs do not start in the order of their ids.
                    workload.processing_since = workload.processing_since.into_iter().chain(job.start_date).min();
                }
                State::Done(_) => {}
            }
        }

        workload
    }
}

/// Whether the state is behind what the entry says.
fn is_behind(state: State, entry: &Entry) -> bool {
    entry.state().is_some_and(|seen| state.is_behind(seen))
}
