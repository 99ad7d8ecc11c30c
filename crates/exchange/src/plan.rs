use bcrlapi_domain::{JobId, Outcome, State};
use chrono::{DateTime, FixedOffset, TimeDelta, Utc};

use crate::next_queue::next_queue;
use crate::{Action, Displaced, Due, Entry, LabJob, Queue, QueueSeen, View};

/// How long a file that cannot be read may be one that somebody is just writing.
const BROKEN_GRACE: TimeDelta = TimeDelta::seconds(10);
/// How long, if it is written again and again and is never whole.
const BROKEN_LIMIT: TimeDelta = TimeDelta::seconds(60);
/// How long a response must have been left alone to count as finished while its job is still called processing: the
/// `done` was lost to somebody who wrote over it.
const RESPONSE_STABLE: TimeDelta = TimeDelta::seconds(60);
/// How long a displaced queue is kept after its last news: a script that had it open is through by then.
const DISPLACED_LINGER: TimeDelta = TimeDelta::seconds(10);
/// How long a withdrawn job must have been out of the queue before it counts as canceled: a script that had read the
/// queue before, and wants the job, has written so by then, and the agent has seen it.
const WITHDRAWAL_GRACE: TimeDelta = TimeDelta::seconds(15);
/// How often the directory is freed of what has expired. Source: the specification, "older data is deleted daily".
const PRUNE_INTERVAL: TimeDelta = TimeDelta::days(1);
/// How often the cloud is told what one program says of itself: each time is a write that somebody
/// pays.
const REPORT_INTERVAL: TimeDelta = TimeDelta::seconds(5);
/// How often the cloud is told that this lab is alive.
const HEARTBEAT_INTERVAL: TimeDelta = TimeDelta::seconds(60);

/// What a lab decides for itself.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The lab's offset from UTC, for the dates in its files.
    pub offset: FixedOffset,
    /// How long a job may be processing before it is given up as lost; for ever, if `None`.
    pub lost_after: Option<TimeDelta>,
    /// How long a response may follow the `done` that announces it: [`RESPONSE_GRACE`], or
    /// [`REMOTE_RESPONSE_GRACE`].
    pub response_grace: TimeDelta,
}

/// How long a response may follow the `done` that announces it, where both come from one computer.
pub const RESPONSE_GRACE: TimeDelta = TimeDelta::seconds(10);
/// How long, where another computer may have written it: clients of NFS remember for up to a minute
/// (acdirmax) that a file was not there.
pub const REMOTE_RESPONSE_GRACE: TimeDelta = TimeDelta::seconds(75);

/// What is to be done, given all that was seen. Level-triggered: it looks at how things are, not at what happened,
/// so a restart is just another round.
///
/// The order in which a job becomes visible follows from what each step waits for: a request file is written
/// only for a job that was taken, and an entry only for a job whose request file is there.
pub fn plan(view: &View, settings: Settings, now: DateTime<Utc>) -> Vec<Action> {
    let mut actions = takes(view);
    actions.extend(fetches(view, now));
    match &view.status {
        // Nobody puts a good queue aside because it is large.
        QueueSeen::Broken { is_only_large: true, .. } => {}
        QueueSeen::Broken { since, quiet_since, .. } => {
            let is_left_so = now - *quiet_since >= BROKEN_GRACE || now - *since >= BROKEN_LIMIT;
            actions.extend(is_left_so.then_some(Action::Quarantine));
        }
        QueueSeen::Missing => actions.extend(anew(view, settings, now)),
        QueueSeen::Whole(file) => actions.extend(along(file, view, settings, now)),
    }
    if view.last_heartbeat.is_none_or(|last| now - last >= HEARTBEAT_INTERVAL) {
        actions.push(Action::Heartbeat(view.workload()));
    }
    // After a failure a job may be done without this agent knowing: its result must not be written over.
    actions.retain(|action| view.is_certain || !matches!(action, Action::Return { .. }));
    actions.retain(|action| !view.wants_history || action.brings_back());
    actions
}

/// The jobs that are news: new ones, and those that their callers may want back.
fn takes(view: &View) -> Vec<Action> {
    let news = view.inbox.iter().filter(|id| view.jobs.get(id).is_none_or(LabJob::may_be_asked_back));
    news.map(|&id| Action::Take(id)).collect()
}

/// The files that the lab is to have and has not.
fn fetches(view: &View, now: DateTime<Utc>) -> impl Iterator<Item = Action> {
    let wanted = move || view.jobs.values().filter(move |known| view.wants(known, now));
    let lacks_response = |known: &&LabJob| known.job.response.is_some() && known.response.is_none();
    let requests = wanted().filter(|known| !known.has_request).map(|known| Action::Deliver(known.job.clone()));
    requests.chain(wanted().filter(lacks_response).map(|known| Action::Restore(known.job.clone())))
}

/// What to do without a queue. First all that was in it has to be known: the jobs that are done stay in the queue too.
fn anew(view: &View, settings: Settings, now: DateTime<Utc>) -> Vec<Action> {
    let unknown: Vec<Action> = unknown_jobs(view.requests.iter().copied(), view, now).map(Action::Ask).collect();
    if unknown.is_empty() {
        next_queue(None, view, settings, now).map(Action::Publish).into_iter().collect()
    } else {
        unknown
    }
}

/// What to do with the queue as it is: what it lacks, what it does not say any more, and what it says that is news.
fn along(file: &Queue, view: &View, settings: Settings, now: DateTime<Utc>) -> Vec<Action> {
    let mut actions: Vec<Action> =
        next_queue(Some(file), view, settings, now).map(Action::Publish).into_iter().collect();
    let open = file.jobs().filter(|(_, entry)| entry.state().is_some_and(|state| !state.is_done()));
    let in_doubt = open.map(|(id, _)| id).chain(file.lacking(&view.requests));
    actions.extend(unknown_jobs(in_doubt, view, now).map(Action::Ask));
    if is_prune_due(view, now) && !file.has_expired(now) {
        actions.push(Action::Prune);
    }
    if view.news_for(Some(file)).next().is_none() {
        actions.extend(jobs_to_cancel(view, now).map(Action::Cancel));
        actions.extend(discards(view, now));
    }
    let report = |known: &LabJob| report(known, file.entry(known.job.id)?, settings, now);
    actions.extend(view.jobs.values().filter_map(report));
    actions
}

/// The displaced queues that nobody has written to for long enough. To be asked only once all their
/// news is in the queue.
fn discards(view: &View, now: DateTime<Utc>) -> impl Iterator<Item = Action> {
    let is_over = move |displaced: &Displaced| now - displaced.quiet_since >= DISPLACED_LINGER;
    let over = view.displaced.iter().filter(move |(_, displaced)| is_over(displaced));
    over.map(|(&number, _)| Action::Discard { number })
}

pub(crate) fn is_prune_due(view: &View, now: DateTime<Utc>) -> bool {
    view.last_prune.is_none_or(|last| now - last >= PRUNE_INTERVAL)
}

/// The jobs of these that nothing is known of: after a start, those that are done.
fn unknown_jobs(ids: impl Iterator<Item = JobId>, view: &View, now: DateTime<Utc>) -> impl Iterator<Item = JobId> {
    let is_known = |id: &JobId| view.jobs.contains_key(id) || view.foreign.contains(id) || view.inbox.contains(id);
    ids.filter(move |id| !is_known(id) && !id.is_expired(now))
}

/// The jobs that have been out of the queue for long enough; none as long as a script may have said
/// something that nobody has read yet.
fn jobs_to_cancel(view: &View, now: DateTime<Utc>) -> impl Iterator<Item = JobId> {
    let is_over = move |known: &&LabJob| {
        let has_started = view.has_unread_displaced || view.seen.contains_key(&known.job.id);
        let withdrawn_since = known.withdrawn_since.filter(|_| !has_started && known.is_asked_back());
        withdrawn_since.is_some_and(|since| now - since >= WITHDRAWAL_GRACE)
    };
    view.jobs.values().filter(is_over).map(|known| known.job.id)
}

/// What to tell the cloud of a job whose entry is ahead of it.
fn report(known: &LabJob, entry: &Entry, settings: Settings, now: DateTime<Utc>) -> Option<Action> {
    if known.job.state.is_done() {
        return None;
    }
    let id = known.job.id;
    match entry.state()? {
        State::Pending => None,
        State::Processing => progress(known, entry, now).or_else(|| end_without_done(known, entry, settings, now)),
        State::Done(Outcome::Succeeded) => {
            let is_over = known.done_since.is_some_and(|since| now - since >= settings.response_grace);
            Some(Action::Return { id, due: if is_over { Due::LastTry } else { Due::Announced } })
        }
        State::Done(_) => Some(Action::Fail {
            id,
            error: entry.reason().unwrap_or_else(|| "the program failed and gave no reason".to_owned()),
        }),
    }
}

/// What a job that runs says of itself, if it is news. What it says several times a second is told
/// now and then, and the last of it always.
fn progress(known: &LabJob, entry: &Entry, now: DateTime<Utc>) -> Option<Action> {
    let (progress, message) = (entry.progress(), entry.message());
    let id = known.job.id;
    if known.job.state == State::Pending {
        return Some(Action::Report { id, progress, message });
    }

    let says_more = progress.is_some_and(|progress| known.job.progress != Some(progress))
        || message.as_ref().is_some_and(|message| known.job.message.as_ref() != Some(message));
    let is_due = known.reported_at.is_none_or(|last| now - last >= REPORT_INTERVAL);
    (says_more && is_due).then_some(Action::Report { id, progress, message })
}

/// How a job may come to its end that is still called processing: its `done` was lost, or its program was.
fn end_without_done(known: &LabJob, entry: &Entry, settings: Settings, now: DateTime<Utc>) -> Option<Action> {
    let id = known.job.id;
    let is_over_limit = known.is_overdue(settings.lost_after, now);
    let Some(response) = known.response else {
        return is_over_limit.then_some(Action::Lose(id));
    };

    let is_left_alone = now - response.quiet_since >= RESPONSE_STABLE;
    if is_left_alone && is_over_limit {
        return Some(Action::Return { id, due: Due::LastTry });
    }
    // The worker says itself when a program is over: until then, what the program has written may
    // be a part of it.
    let may_count = is_left_alone && !entry.is_held_by_worker();
    may_count.then_some(Action::Return { id, due: Due::Early })
}
