//! Which agent serves a lab, where the directory's own lock cannot tell: on two hosts, on two
//! mounts, on two copies of the directory. Each would run every job.
//!
//! The lab's row in the cloud names the agent that serves it. Each heartbeat keeps it so; who is
//! silent for [`Heartbeat::SILENCE`] by the cloud's own date loses it, and so does who stops.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bcrlapi_cloud::{AgentId, Beat, Heartbeat, Holder, JobStore, Place, StoreError};
use bcrlapi_directory::Lock;
use bcrlapi_domain::Outcome;
use bcrlapi_exchange::{Workload, layout};
use chrono::{DateTime, TimeDelta, Utc};
use rustix::system::uname;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{AgentError, Clock};

/// The pause between two looks at whether the agent that serves the lab is silent.
const LOOK_PAUSE: Duration = Duration::from_secs(2);
/// How long it is waited for that it is silent. Longer than the silence itself, since the date of
/// the cloud is known to a second only, and is told by its answers.
const WAIT_LIMIT: Duration = Duration::from_mins(3);
/// The age of the last heartbeat from which on another is written before anything else: from then
/// on it is not certain that it arrives before the lease has run out.
const STALE: TimeDelta = TimeDelta::seconds(100);
/// How long leaving the lab may hold up the end of the process. Without it, an agent in another
/// place waits.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);

/// The right of this agent to serve its lab.
#[derive(Debug)]
pub struct Lease {
    holder: Holder,
    /// The directory's lock, in which this agent leaves its id for the next one.
    lock: Arc<Lock>,
    clock: Clock,
    /// How many jobs have failed since one last succeeded: under the agents before this one too.
    failed_in_a_row: AtomicU64,
    /// The last heartbeat that was recorded; `None` while the lab has not been taken, as the cloud
    /// does not answer.
    last: Mutex<Option<Heartbeat>>,
}

impl Lease {
    /// Takes the lab. Where another agent serves it, waits until that one is silent, and fails as
    /// soon as it is heard of. From the agent that had the directory's lock before, in the same
    /// place, it is taken at once: that one is gone. `None` if it was stopped meanwhile.
    ///
    /// Where the cloud does not answer, the lab is not taken yet, but by [`Lease::renew_if_stale`]:
    /// what happens in the directory has to be seen also while the cloud is away.
    pub async fn acquire(
        store: &JobStore,
        place: Place,
        lock: Arc<Lock>,
        clock: Clock,
        stop: &CancellationToken,
    ) -> Result<Option<Self>, AgentError> {
        let predecessor = lock.note().ok().and_then(|note| note.trim().parse().ok());
        let holder = Holder { agent: AgentId::random(), place, predecessor, started: clock.now(store) };
        let mut lease = Self { holder, lock, clock, failed_in_a_row: AtomicU64::default(), last: Mutex::default() };
        let mut waiting: Option<Waiting> = None;
        loop {
            // A call may hang for longer than a stop may take.
            let tried = tokio::select! {
                () = stop.cancelled() => return Ok(None),
                tried = lease.try_to_take(store) => tried,
            };

            match tried {
                Ok(Beat::Recorded) => return Ok(Some(lease)),
                Ok(Beat::HeldByAnother { holder, last_sync }) => {
                    let waiting = waiting.get_or_insert_with(|| Waiting::begin(holder.clone(), last_sync));
                    waiting.go_on(holder, last_sync)?;
                }
                Err(error) if waiting.is_some() => tracing::warn!(%error, "cannot look whether the other is silent"),
                Err(error) => {
                    tracing::warn!(%error, "cannot look whether another agent serves this lab; taking it later");
                    return Ok(Some(lease));
                }
            }

            tokio::select! {
                () = stop.cancelled() => return Ok(None),
                () = sleep(LOOK_PAUSE) => {}
            }
        }
    }

    /// Tells the cloud that the lab is alive, and that it is still this agent's. Fails if it is
    /// not.
    pub async fn renew(&self, store: &JobStore, workload: Workload) -> Result<(), AgentError> {
        // The cloud was away at the start: the row is still the one of the agent before.
        let is_first = self.last.lock().unwrap_or_else(PoisonError::into_inner).is_none();
        if is_first {
            self.go_on_counting(store.heartbeat().await?.as_ref());
        }

        match self.record(store, workload).await? {
            Beat::Recorded => Ok(()),
            Beat::HeldByAnother { holder, last_sync } => Err(AgentError::held(holder, last_sync)),
        }
    }

    /// Renews the lease if another agent may have taken the lab: the cloud was away for too long,
    /// or from the start, or this computer was suspended. To be called after an answer of the
    /// cloud, which tells its date, and before a job is taken or handed out on the strength of that
    /// answer.
    pub async fn renew_if_stale(&self, store: &JobStore, workload: Workload) -> Result<(), AgentError> {
        let renewed = self.last.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|last| last.last_sync);
        let now = self.clock.now(store);
        if renewed.is_some_and(|renewed| !is_stale(renewed, now)) {
            return Ok(());
        }
        self.renew(store, workload).await
    }

    /// Counts a job that has come to its end, for the heartbeats to tell.
    pub(crate) fn count_end(&self, outcome: Outcome) {
        match outcome {
            Outcome::Succeeded => self.failed_in_a_row.store(0, Ordering::Relaxed),
            Outcome::Failed | Outcome::Lost => {
                self.failed_in_a_row.fetch_add(1, Ordering::Relaxed);
            }
            // It says nothing of the lab's programs.
            Outcome::Canceled => {}
        }
    }

    /// Leaves the lab, so that the next agent need not wait, wherever it is. That this fails is no
    /// reason not to stop.
    pub async fn release(self, store: &JobStore) {
        let Some(last) = self.last.into_inner().unwrap_or_else(PoisonError::into_inner) else { return };
        match timeout(RELEASE_LIMIT, store.release_lease(&last)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "an agent on another host will have to wait"),
            Err(_) => tracing::warn!("the cloud did not answer in time: an agent on another host will have to wait"),
        }
    }

    /// One try at the start.
    async fn try_to_take(&mut self, store: &JobStore) -> Result<Beat, StoreError> {
        // First of all for its date: on the word of a clock that is ahead, an agent that lives
        // would count as silent.
        let before = store.heartbeat().await?;
        self.holder.started = self.clock.now(store);

        self.go_on_counting(before.as_ref());

        // How much there is to do is not known yet: what the row says of it stays.
        let workload = before.map_or_else(Workload::default, |before| Workload {
            pending: before.pending,
            processing: before.processing,
            waiting_since: before.waiting_since,
            processing_since: before.processing_since,
        });
        self.record(store, workload).await
    }

    /// Takes over how many jobs have failed in a row under the agents before this one.
    fn go_on_counting(&self, before: Option<&Heartbeat>) {
        let failed = before.map_or(0, |before| before.failed_in_a_row);
        self.failed_in_a_row.store(failed, Ordering::Relaxed);
    }

    async fn record(&self, store: &JobStore, workload: Workload) -> Result<Beat, StoreError> {
        let heartbeat = self.heartbeat(store, workload);
        let beat = store.record_heartbeat(&heartbeat).await?;
        if beat == Beat::Recorded {
            let before = self.last.lock().unwrap_or_else(PoisonError::into_inner).replace(heartbeat);
            if before.is_none() {
                self.leave_id();
            }
        }
        Ok(beat)
    }

    /// Leaves this agent's id for the next one in the same place.
    fn leave_id(&self) {
        if let Err(error) = self.lock.set_note(&format!("{}\n", self.holder.agent)) {
            tracing::warn!(%error, "cannot write {}: after a kill, the next agent will have to wait", layout::AGENT_LOCK);
        }
    }

    fn heartbeat(&self, store: &JobStore, workload: Workload) -> Heartbeat {
        let Workload { pending, processing, waiting_since, processing_since } = workload;
        Heartbeat {
            last_sync: self.clock.now(store),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            pending,
            processing,
            waiting_since,
            processing_since,
            failed_in_a_row: self.failed_in_a_row.load(Ordering::Relaxed),
            holder: Some(self.holder.clone()),
        }
    }
}

/// This host and this directory.
pub(crate) fn place_of(shared: &Path) -> Place {
    // Not from /proc, most of which a hardened unit does not let the agent see. A container has a
    // name of its own.
    let host = uname().nodename().to_string_lossy().into_owned();
    // Two names of one directory are one place.
    let directory = shared.canonicalize().unwrap_or_else(|_| shared.to_owned());
    Place { host, directory: directory.to_string_lossy().into_owned() }
}

/// Another agent that is perhaps alive.
struct Waiting {
    holder: Holder,
    last_sync: DateTime<Utc>,
    since: Instant,
}

impl Waiting {
    fn begin(holder: Holder, last_sync: DateTime<Utc>) -> Self {
        tracing::warn!(
            host = holder.place.host,
            directory = holder.place.directory,
            started = %holder.started,
            %last_sync,
            "another agent has served this lab; waiting until it has been silent for {} s",
            Heartbeat::SILENCE.num_seconds()
        );
        Self { holder, last_sync, since: Instant::now() }
    }

    /// Fails if another agent lives: it has said something since, or one has come in its place.
    fn go_on(&self, holder: Holder, last_sync: DateTime<Utc>) -> Result<(), AgentError> {
        let is_alive = holder.agent != self.holder.agent || last_sync != self.last_sync;
        if is_alive || self.since.elapsed() > WAIT_LIMIT {
            return Err(AgentError::held(holder, last_sync));
        }
        Ok(())
    }
}

/// Whether it is not certain any more that no other agent has got the lab. A date long before the
/// last one is as doubtful.
fn is_stale(renewed: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    (now - renewed).abs() > STALE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_stale_before_another_agent_may_have_taken_it() {
        let renewed = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let stale = |seconds| is_stale(renewed, renewed + TimeDelta::seconds(seconds));
        assert_eq!([stale(0), stale(60), stale(100), stale(-2)], [false; 4], "a heartbeat a minute keeps it fresh");
        assert_eq!([stale(101), stale(Heartbeat::SILENCE.num_seconds()), stale(-101)], [true; 3]);
    }

    #[test]
    fn a_place_is_the_same_under_each_of_its_names() {
        let directory = tempfile::tempdir().unwrap();
        let place = place_of(directory.path());
        assert!(!place.host.is_empty());
        assert_eq!(place_of(&directory.path().join(".")), place);
    }
}
