//! How many jobs may be open. Counting them takes two calls, and read units for every open job, so a count is remembered
//! for as long as the free places cannot have been taken since.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bcrlapi_cloud::{JobStore, StoreError};
use chrono::{DateTime, TimeDelta, Utc};

/// How long a count is remembered at least. So a queue that is full is not counted for each submit that it refuses: where
/// 10,000 jobs are open, that would cost some 80 read units each time.
const REMEMBERED_MIN_S: u32 = 1;
/// How long a count is remembered at most.
const REMEMBERED_MAX_S: u32 = 60;

/// How many calls the stage lets in, of one kind, from all callers together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallRate {
    /// A second, on average.
    pub per_second: u32,
    /// Above that, in a burst.
    pub at_once: u32,
}

impl CallRate {
    /// What template.yaml has where nobody chooses: `CallsPerSecond` and `CallsAtOnce`.
    pub const DEFAULT: Self = Self { per_second: 50, at_once: 100 };
}

/// The limit, and the last count. Clones share the count.
///
/// Processes do not know of each other's submits: between two counts, each may let in jobs for all places that were free.
#[derive(Clone, Debug)]
pub struct QueueLimit {
    limit: usize,
    rate: CallRate,
    last: Arc<Mutex<Option<Count>>>,
}

/// How many jobs were open at a moment, and those that were recorded here since.
#[derive(Clone, Copy, Debug)]
struct Count {
    open: usize,
    at: DateTime<Utc>,
}

impl QueueLimit {
    /// At most so many open jobs, where submits come at most at this rate.
    pub fn new(limit: usize, rate: CallRate) -> Self {
        Self { limit, rate, last: Arc::default() }
    }

    /// How many jobs may be open.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether one job more may be open: by the last count where that still holds, otherwise by a new one.
    pub async fn has_room(&self, store: &JobStore, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let remembered = self.last().filter(|count| self.still_holds(*count, now));
        if let Some(count) = remembered {
            return Ok(count.open < self.limit);
        }

        let open = store.count_open_jobs(self.limit, now).await?;
        *self.last() = Some(Count { open, at: now });

        Ok(open < self.limit)
    }

    /// Counts a job that has just been recorded.
    pub fn count_one(&self) {
        if let Some(count) = &mut *self.last() {
            count.open += 1;
        }
    }

    fn last(&self) -> MutexGuard<'_, Option<Count>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the places that are free cannot have been taken since, by all the submits there are.
    fn still_holds(&self, count: Count, now: DateTime<Utc>) -> bool {
        let free = self.limit.saturating_sub(count.open);
        let without_burst = u32::try_from(free).unwrap_or(u32::MAX).saturating_sub(self.rate.at_once);

        let holds_s = (without_burst / self.rate.per_second.max(1)).clamp(REMEMBERED_MIN_S, REMEMBERED_MAX_S);
        (now - count.at).abs() < TimeDelta::seconds(holds_s.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_holds_while_the_free_places_cannot_have_been_taken() {
        let at = DateTime::UNIX_EPOCH;
        let holds_at = |rate, limit, open, age_ms| {
            QueueLimit::new(limit, rate).still_holds(Count { open, at }, at + TimeDelta::milliseconds(age_ms))
        };
        let holds = |limit, open, age_ms| holds_at(CallRate::DEFAULT, limit, open, age_ms);

        assert!(holds(10_000, 5_000, 59_999));
        assert!(!holds(10_000, 5_000, 60_000), "nobody remembers longer");

        assert!(holds(10_000, 9_000, 17_999), "1,000 places last for a burst of 100, and then 18 seconds");
        assert!(!holds(10_000, 9_000, 18_000));
        let bursts = CallRate { per_second: 50, at_once: 5_000 };
        assert!(!holds_at(bursts, 10_000, 5_000, 1_000), "a burst may take all of them");

        assert!(holds(10_000, 10_000, 999), "of a full queue it is remembered for a second");
        assert!(!holds(10_000, 10_000, 1_000));
        assert!(!holds(99, 0, 1_000), "a small queue fills up at once");

        assert!(!holds(10_000, 0, -60_000), "a clock that was set back");
    }

    #[test]
    fn jobs_that_were_recorded_here_take_places_of_the_last_count() {
        let at = DateTime::UNIX_EPOCH;
        let queue = QueueLimit::new(10_000, CallRate::DEFAULT);
        *queue.last() = Some(Count { open: 9_750, at });
        let holds_for_two_seconds = || {
            let count = queue.last().unwrap();
            queue.still_holds(count, at + TimeDelta::seconds(2))
        };

        assert!(holds_for_two_seconds());
        (0..100).for_each(|_| queue.count_one());
        assert!(!holds_for_two_seconds(), "150 places last for a burst, and then one second");
    }
}
