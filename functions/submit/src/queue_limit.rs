//! How many jobs may be open. Counting them takes two calls, and read units for every open job, so a count is remembered
//! for as long as the free places cannot have been taken since.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use bcrlapi_cloud::{JobStore, StoreError};
use chrono::{DateTime, TimeDelta, Utc};

/// How many calls a second the stage lets in if nobody chooses. Source: `CallsPerSecond` in template.yaml.
pub const CALLS_PER_S: NonZeroUsize = NonZeroUsize::new(50).unwrap();

/// How long a count is remembered at least. So a queue that is full is not counted for each submit that it refuses: where
/// 10,000 jobs are open, that would cost some 80 read units each time.
const REMEMBERED_MIN_S: usize = 1;
/// How long a count is remembered at most.
const REMEMBERED_MAX_S: usize = 60;

/// The limit, and the last count. Clones share the count.
///
/// Processes do not know of each other's submits: between two counts, each may let in jobs for all places that were free.
#[derive(Clone, Debug)]
pub struct QueueLimit {
    limit: usize,
    /// The most submits a second that can come, to all processes of this function together.
    submits_per_s: usize,
    last: Arc<Mutex<Option<Count>>>,
}

/// How many jobs were open at a moment, and those that were recorded here since.
#[derive(Clone, Copy, Debug)]
struct Count {
    open: usize,
    at: DateTime<Utc>,
}

impl QueueLimit {
    /// At most so many open jobs, where the stage lets in so many calls a second.
    pub fn new(limit: usize, calls_per_s: NonZeroUsize) -> Self {
        Self { limit, submits_per_s: calls_per_s.get(), last: Arc::default() }
    }

    /// How many jobs may be open.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether one job more may be open: by the last count where that still holds, otherwise by a new one.
    pub async fn has_room(&self, store: &JobStore, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let last = self.last().filter(|count| self.still_holds(*count, now));

        let count = match last {
            Some(count) => count,
            None => Count { open: store.count_open_jobs(self.limit, now).await?, at: now },
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(count);

        Ok(count.open < self.limit)
    }

    /// Counts a job that has just been recorded.
    pub fn count_one(&self) {
        if let Some(count) = &mut *self.last.lock().unwrap_or_else(PoisonError::into_inner) {
            count.open += 1;
        }
    }

    fn last(&self) -> Option<Count> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the places that are free cannot have been taken since, by all the submits there are.
    fn still_holds(&self, count: Count, now: DateTime<Utc>) -> bool {
        let free = self.limit.saturating_sub(count.open);
        let holds_s = (free / self.submits_per_s).clamp(REMEMBERED_MIN_S, REMEMBERED_MAX_S);
        let holds = TimeDelta::seconds(i64::try_from(holds_s).unwrap_or_default());

        (now - count.at).abs() < holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_holds_while_the_free_places_cannot_have_been_taken() {
        let at = DateTime::UNIX_EPOCH;
        let holds = |limit, open, age_ms| {
            let queue = QueueLimit::new(limit, CALLS_PER_S);
            queue.still_holds(Count { open, at }, at + TimeDelta::milliseconds(age_ms))
        };

        assert!(holds(10_000, 5_000, 59_999));
        assert!(!holds(10_000, 5_000, 60_000), "nobody remembers longer");

        assert!(holds(10_000, 9_000, 19_999), "1,000 places last for 20 seconds");
        assert!(!holds(10_000, 9_000, 20_000));

        assert!(holds(10_000, 10_000, 999), "of a full queue it is remembered for a second");
        assert!(!holds(10_000, 10_000, 1_000));
        assert!(!holds(99, 0, 1_000), "a small queue fills up at once");

        assert!(!holds(10_000, 0, -60_000), "a clock that was set back");
    }

    #[test]
    fn jobs_that_were_recorded_here_take_places_of_the_last_count() {
        let at = DateTime::UNIX_EPOCH;
        let queue = QueueLimit::new(10_000, CALLS_PER_S);
        *queue.last.lock().unwrap() = Some(Count { open: 9_850, at });

        assert!(queue.still_holds(queue.last().unwrap(), at + TimeDelta::seconds(2)));
        (0..100).for_each(|_| queue.count_one());

        assert_eq!(queue.last().unwrap().open, 9_950);
        assert!(!queue.still_holds(queue.last().unwrap(), at + TimeDelta::seconds(2)), "50 places last for one second");
    }
}
