//! The queue that is to be published.

use bcrlapi_domain::State;
use chrono::{DateTime, Utc};

use crate::plan::is_prune_due;
use crate::{Entry, LabJob, Queue, Settings, View};

/// The queue with every job that this lab has in it, none of them behind what the cloud knows or
/// what was ever seen of it; `None` if it is so already.
pub(crate) fn next_queue(file: Option<&Queue>, view: &View, settings: Settings, now: DateTime<Utc>) -> Option<Queue> {
    let absent: Vec<&LabJob> = view.jobs.values().filter(|known| is_absent(known, file, now)).collect();
    let news: Vec<&Entry> = view.news_for(file).filter(|entry| is_welcome(entry, view)).collect();
    let has_expired = is_prune_due(view, now) && file.is_some_and(|file| file.has_expired(now));

    let says_enough = absent.is_empty() && news.is_empty() && !has_expired;
    let is_up_to_date =
        |file: &Queue| !file.is_hard_to_read() && view.jobs.values().all(|known| !has_moved_on(known, file));
    if says_enough && file.is_some_and(is_up_to_date) {
        return None;
    }

    let mut queue = file.map(Queue::as_written).unwrap_or_default();

    for known in &absent {
        queue.push(Entry::new(&known.job, settings.offset));
    }
    // What a script has written is put in its entry's place with all its fields.
    for entry in &news {
        queue.absorb(entry);
    }

    if view.jobs.values().any(LabJob::is_withdrawn) {
        queue.withdraw(|id| view.jobs.get(&id).is_some_and(LabJob::is_withdrawn));
    }

    // Where an entry was lost, a response is all that is left of a program's run.
    for known in absent.iter().filter(|known| known.response.is_some()) {
        queue.advance(known.job.id, State::Processing, None);
    }
    for known in view.jobs.values() {
        queue.advance(known.job.id, known.job.state, known.job.error.as_deref());
    }

    if has_expired || !news.is_empty() {
        queue.remove_expired(now);
    }
    Some(queue)
}

/// Whether the job belongs into the queue and is not there.
fn is_absent(known: &LabJob, file: Option<&Queue>, now: DateTime<Utc>) -> bool {
    let belongs = known.has_request && !known.is_withdrawn() && !known.job.id.is_expired(now);
    belongs && file.is_none_or(|file| file.entry(known.job.id).is_none())
}

/// Whether the job's entry is behind the cloud, or is to leave the queue.
fn has_moved_on(known: &LabJob, file: &Queue) -> bool {
    let Some(entry) = file.entry(known.job.id) else { return false };
    let is_to_leave = known.is_withdrawn() && entry.state() == Some(State::Pending);
    is_to_leave || entry.is_behind_state(known.job.state)
}

/// Whether what was seen of a job comes into the queue: not where it is nobody's.
fn is_welcome(entry: &Entry, view: &View) -> bool {
    entry.id().is_some_and(|id| !view.foreign.contains(&id))
}
