//! What the agent promises: the invariants of the protocol, each with its name. The model, the random histories and the
//! running agent are all held against these.

use std::collections::BTreeSet;

use bcrlapi_domain::{JobId, Outcome, State, Status};
use chrono::{DateTime, Utc};

use crate::{Entry, LabJob, Queue, QueueSeen, View};

/// A rule: its name, and whether it holds.
pub type Rule<T> = (&'static str, fn(&T) -> bool);

/// One job at one moment, seen from everywhere at once, as only a checker can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What its row says; `None` if it has none.
    pub row: Option<State>,
    /// Whether its response is in the cloud.
    pub has_response: bool,
    /// Whether its request file is in the directory.
    pub has_request: bool,
    /// What its entry says; `None` if the queue has none, or says nothing that is understood.
    pub entry: Option<State>,
    /// How many entries it has.
    pub entries: usize,
    /// How far the APP server has brought it: what it has written to the end, and nobody else has written over.
    pub told: Status,
    /// How often its program was started.
    pub runs: u32,
}

/// What holds at every moment.
pub const ALWAYS: [Rule<Facts>; 3] = [
    ("a pending entry has its request file", |job| job.entry != Some(State::Pending) || job.has_request),
    ("a job that has succeeded has its response", |job| {
        job.row != Some(State::Done(Outcome::Succeeded)) || job.has_response
    }),
    ("a job is in the queue once", |job| job.entries <= 1),
];

/// What else holds where one script is at work at a time, or all take the lock.
pub const WITH_TURNS: [Rule<Facts>; 2] = [
    ("no program runs twice", |job| job.runs <= 1),
    ("a canceled job never runs", |job| job.row != Some(State::Done(Outcome::Canceled)) || job.runs == 0),
];

/// What holds of one job from one moment to the next.
pub const FROM_STEP_TO_STEP: [Rule<(Facts, Facts)>; 2] = [
    ("a row never goes back", |(before, after)| {
        before.row.is_none_or(|before| after.row.is_some_and(|after| !after.is_behind(before)))
    }),
    ("a done row stays as it is", |(before, after)| {
        !before.row.is_some_and(State::is_done) || before.row == after.row && before.has_response == after.has_response
    }),
];

/// What holds when nobody has anything left to do, whatever the scripts did.
pub const AT_REST: Rule<Facts> =
    ("an open job is in the queue", |job| job.row.is_none_or(State::is_done) || job.entry.is_some());

/// What else holds then, where one script is at work at a time, or all take the lock.
pub const AT_REST_WITH_TURNS: [Rule<Facts>; 3] = [
    ("a job stays in the queue when it is done", |job| {
        job.entry.is_some() || job.row.is_none_or(|row| row == State::Done(Outcome::Canceled))
    }),
    ("the cloud knows what the APP has said", |job| job.row.is_none_or(|row| row.status() >= job.told)),
    ("the queue still says what the APP has said", |job| job.entry.is_none_or(|entry| entry.status() >= job.told)),
];

/// A queue that is about to be published.
#[derive(Clone, Copy, Debug)]
pub struct Publish<'a> {
    /// What it was made from.
    pub view: &'a View,
    /// The queue.
    pub queue: &'a Queue,
    /// When it was made.
    pub now: DateTime<Utc>,
}

/// A rule for publishes: its name, and whether it holds.
pub type PublishRule = (&'static str, fn(&Publish<'_>) -> bool);

/// What holds of every publish.
pub const OF_A_PUBLISH: [PublishRule; 9] = [
    ("a publish loses no entry before its week is over, but one that waits and is wanted back", loses_no_entry),
    ("a publish drops no program's start", drops_no_start),
    ("a publish keeps the order, and appends", keeps_the_order),
    ("a publish moves no status back", moves_no_status_back),
    ("a publish is not behind what was ever seen of a job", is_not_behind_what_was_seen),
    ("a publish brings in only jobs that are taken and delivered", brings_in_only_delivered_jobs),
    ("a publish makes no second entry of a job", makes_no_second_entry),
    ("a publish is not behind the cloud", is_not_behind_the_cloud),
    ("a publish gives no new turn to a job that has a response", gives_no_turn_to_what_has_run),
];

/// The first of these rules that does not hold.
pub fn broken<T>(rules: &[Rule<T>], subject: &T) -> Option<&'static str> {
    rules.iter().find(|(_, holds)| !holds(subject)).map(|(name, _)| *name)
}

impl<'a> Publish<'a> {
    /// The first rule that it breaks.
    pub fn broken_rule(&self) -> Option<&'static str> {
        OF_A_PUBLISH.iter().find(|(_, holds)| !holds(self)).map(|(name, _)| *name)
    }

    /// The queue that is replaced, if there is one.
    fn replaced(&self) -> Option<&'a Queue> {
        match &self.view.status {
            QueueSeen::Whole(queue) => Some(queue),
            QueueSeen::Missing | QueueSeen::Broken { .. } => None,
        }
    }

    /// Its entries whose week is not over.
    fn lasting(&self) -> impl Iterator<Item = &'a Entry> {
        let entries = self.replaced().map(Queue::entries).unwrap_or_default().iter();
        entries.filter(|entry| entry.id().is_none_or(|id| !id.is_expired(self.now)))
    }

    fn is_withdrawn(&self, id: JobId) -> bool {
        self.view.jobs.get(&id).is_some_and(LabJob::is_withdrawn)
    }

    /// What was ever seen of the job, further than pending.
    fn seen(&self, id: JobId) -> Option<State> {
        self.view.seen.get(&id).and_then(Entry::state)
    }
}

fn loses_no_entry(publish: &Publish<'_>) -> bool {
    let is_nobodys = |entry: &&Entry| entry.id().is_none();
    let is_kept = |entry: &Entry| {
        let waits = entry.state() == Some(State::Pending);
        entry.id().is_none_or(|id| publish.queue.entry(id).is_some() || waits && publish.is_withdrawn(id))
    };
    publish.lasting().all(is_kept)
        && publish.queue.entries().iter().filter(is_nobodys).eq(publish.lasting().filter(is_nobodys))
}

fn drops_no_start(publish: &Publish<'_>) -> bool {
    let is_open = |id: JobId| match publish.view.jobs.get(&id) {
        Some(known) => !known.job.state.is_done(),
        None => publish.view.requests.contains(&id),
    };
    let was_there = |id: JobId| publish.replaced().is_some_and(|queue| queue.entry(id).is_some());
    let started = publish.view.seen.keys().copied().filter(|id| !was_there(*id));
    let mut lasting = started.filter(|id| is_open(*id) && !id.is_expired(publish.now));
    lasting.all(|id| publish.queue.entry(id).is_some())
}

fn keeps_the_order(publish: &Publish<'_>) -> bool {
    let lasts = |id: &Option<JobId>| id.is_none_or(|id| !id.is_expired(publish.now) && !publish.is_withdrawn(id));
    let mut published = publish.queue.entries().iter().map(Entry::id).filter(lasts);
    publish.lasting().map(Entry::id).filter(lasts).all(|id| published.next() == Some(id))
}

fn moves_no_status_back(publish: &Publish<'_>) -> bool {
    let Some(replaced) = publish.replaced() else { return true };
    publish.queue.jobs().all(|(id, entry)| {
        let before = replaced.entry(id);
        before.is_none_or(|before| !entry.is_behind(before))
    })
}

/// Also where what was read says less, since somebody has put an old queue there or lost it.
fn is_not_behind_what_was_seen(publish: &Publish<'_>) -> bool {
    let is_news = |seen: &&Entry| publish.replaced().is_none_or(|replaced| replaced.is_behind(seen));
    publish.view.seen.values().filter(is_news).all(|seen| {
        let entry = seen.id().and_then(|id| publish.queue.entry(id));
        entry.is_none_or(|entry| !entry.is_behind(seen))
    })
}

fn brings_in_only_delivered_jobs(publish: &Publish<'_>) -> bool {
    publish.queue.entries().iter().filter_map(Entry::id).all(|id| {
        let was_there = publish.replaced().is_some_and(|queue| queue.entry(id).is_some());
        was_there || publish.seen(id).is_some() || publish.view.jobs.get(&id).is_some_and(|known| known.has_request)
    })
}

fn makes_no_second_entry(publish: &Publish<'_>) -> bool {
    let surplus = |queue: &Queue| {
        let ids: Vec<_> = queue.entries().iter().filter_map(Entry::id).collect();
        ids.len() - BTreeSet::from_iter(&ids).len()
    };
    surplus(publish.queue) <= publish.replaced().map_or(0, surplus)
}

fn is_not_behind_the_cloud(publish: &Publish<'_>) -> bool {
    publish.view.jobs.values().all(|known| {
        let entry = publish.queue.entry(known.job.id).and_then(Entry::state);
        entry.is_none_or(|entry| !entry.is_behind(known.job.state))
    })
}

fn gives_no_turn_to_what_has_run(publish: &Publish<'_>) -> bool {
    let had_entry = |id: JobId| publish.replaced().is_some_and(|queue| queue.entry(id).is_some());
    let has_run = |known: &&LabJob| known.response.is_some() && !had_entry(known.job.id);
    let entry_of = |known: &LabJob| publish.queue.entry(known.job.id).and_then(Entry::state);
    publish.view.jobs.values().filter(has_run).all(|known| entry_of(known) != Some(State::Pending))
}
