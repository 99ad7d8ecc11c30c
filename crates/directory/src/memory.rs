//! What this process remembers of the queues that it has seen, so that the displaced ones need not
//! be looked at twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::sweep::LINGER;
use crate::{Digest, Fingerprint};

/// More than a busy lab publishes while displaced queues linger. What was forgotten is read once
/// more.
const DIGESTS_MAX: usize = 4096;
/// The longest time between two sweeps of a process that publishes all the time, and the most that
/// it displaces between.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
const SWEEP_BYTES: u64 = 8 * 1024 * 1024;

/// Shared by all clones of a [`SharedDir`](crate::SharedDir).
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    /// What status.json held when this process read or published it, and in which order that was.
    known: BTreeSet<Digest>,
    order: VecDeque<Digest>,
    /// When this process has displaced which queue.
    displaced: BTreeMap<u64, Instant>,
    /// The displaced queues with news, as they were when they were read: they are left for the
    /// agent.
    with_news: BTreeMap<u64, Fingerprint>,
    swept_at: Option<Instant>,
    displaced_bytes: u64,
}

impl Memory {
    /// Notes what status.json holds.
    pub(crate) fn know(&self, digest: Digest) {
        let mut remembered = self.get();
        if !remembered.known.insert(digest) {
            return;
        }

        remembered.order.push_back(digest);
        if remembered.order.len() > DIGESTS_MAX
            && let Some(oldest) = remembered.order.pop_front()
        {
            remembered.known.remove(&oldest);
        }
    }

    /// Whether status.json has held this when this process read or published it.
    pub(crate) fn knows(&self, digest: Digest) -> bool {
        self.get().known.contains(&digest)
    }

    /// Notes that this process has just displaced a queue of this size.
    pub(crate) fn has_displaced(&self, number: u64, size_bytes: u64) {
        let mut remembered = self.get();
        remembered.displaced.retain(|_, since| since.elapsed() < LINGER);
        remembered.displaced.insert(number, Instant::now());
        remembered.displaced_bytes = remembered.displaced_bytes.saturating_add(size_bytes);
    }

    /// Whether this process has displaced the queue too short a time ago: the file systems whose
    /// times have not changed by the exchange (FAT) do not tell.
    pub(crate) fn has_just_displaced(&self, number: u64) -> bool {
        self.get().displaced.get(&number).is_some_and(|since| since.elapsed() < LINGER)
    }

    /// Whether the displaced queues should be swept now; notes that they are.
    pub(crate) fn begins_sweep(&self) -> bool {
        let mut remembered = self.get();
        let is_time = remembered.swept_at.is_none_or(|last| last.elapsed() >= SWEEP_INTERVAL);
        let is_due = is_time || remembered.displaced_bytes >= SWEEP_BYTES;
        if is_due {
            remembered.swept_at = Some(Instant::now());
            remembered.displaced_bytes = 0;
        }
        is_due
    }

    /// Whether the displaced queue was read as it is now, and had news.
    pub(crate) fn has_news(&self, number: u64, fingerprint: &Fingerprint) -> bool {
        self.get().with_news.get(&number) == Some(fingerprint)
    }

    /// Notes which displaced queues have news.
    pub(crate) fn set_news(&self, with_news: BTreeMap<u64, Fingerprint>) {
        self.get().with_news = with_news;
    }

    fn get(&self) -> MutexGuard<'_, Remembered> {
        // Each change is whole by itself: nothing is half done where a thread has panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
