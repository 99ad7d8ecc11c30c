//! The cloud's side of an audit.

use std::collections::{BTreeMap, BTreeSet};

use bcrlapi_cloud::{JobStore, StoreError};
use bcrlapi_domain::{Job, JobId, State};
use bcrlapi_exchange::Entry;
use chrono::{DateTime, Utc};

/// The most rows that are asked for by their jobs, by whoever may not read the whole table: 500
/// calls.
const ASKED_MAX: usize = 50_000;

/// What the cloud says of a lab's jobs.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// By job; `None` where there is no such row.
    pub(super) found: BTreeMap<JobId, Option<Job>>,
    /// Those of which something other than bcrlapi has written the row.
    pub(super) damaged: BTreeSet<JobId>,
    /// Whether there are more than were asked for.
    pub(super) has_unasked: bool,
}

/// Reads the rows of all jobs that the lab has or should have: of the whole table where that is
/// permitted, as to a resync; else those that it has taken and not finished, and those of its
/// queue.
pub(super) async fn look(store: &JobStore, now: DateTime<Utc>, entries: &[Entry]) -> Result<Rows, StoreError> {
    let mut rows = Rows::default();

    let taken = match store.known_jobs(now).await {
        Ok(all) => {
            for row in all {
                rows.take_in(row)?;
            }
            Vec::new()
        }
        // Not permitted, or the cloud is away: the next question tells.
        Err(_) => store.taken_jobs(now).await?,
    };

    let mut wanted = in_doubt(taken, entries, now);
    wanted.retain(|id| !rows.found.contains_key(id) && !rows.damaged.contains(id));
    rows.has_unasked = wanted.len() > ASKED_MAX;
    wanted.truncate(ASKED_MAX);

    for (id, row) in store.jobs(&wanted).await {
        match row {
            Ok(None) => drop(rows.found.insert(id, None)),
            Ok(Some(job)) => rows.take_in(Ok(job))?,
            Err(error) => rows.take_in(Err(error))?,
        }
    }

    Ok(rows)
}

/// The jobs to be asked for, the most telling first: what is open in the cloud, then in the queue,
/// then what is done there, newest first.
fn in_doubt(taken: Vec<JobId>, entries: &[Entry], now: DateTime<Utc>) -> Vec<JobId> {
    let is_done = |entry: &&Entry| entry.state().is_some_and(State::is_done);
    let (done, open): (Vec<&Entry>, Vec<&Entry>) = entries.iter().partition(is_done);
    let open = open.into_iter().filter_map(Entry::id);
    let done = done.into_iter().rev().filter_map(Entry::id);

    let mut seen = BTreeSet::new();
    let mut ids: Vec<JobId> = taken.into_iter().chain(open).chain(done).collect();
    ids.retain(|id| !id.is_expired(now) && seen.insert(*id));
    ids
}

impl Rows {
    fn take_in(&mut self, row: Result<Job, StoreError>) -> Result<(), StoreError> {
        match row {
            Ok(job) => {
                self.found.insert(job.id, Some(job));
            }
            Err(StoreError::Damaged { id, .. }) => {
                self.damaged.insert(id);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
