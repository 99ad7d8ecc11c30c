//! How many jobs may be open. Counting them takes two calls, so a count is remembered for as long as it cannot matter
//! that it has aged.

use std::sync::{Arc, Mutex, PoisonError};

use bcrlapi_cloud::{JobStore, StoreError};
use chrono::{DateTime, TimeDelta, Utc};

/// The most submits a second that the stage lets through, to all processes of this function together.
/// Source: `ThrottlingRateLimit` in template.yaml.
const SUBMITS_PER_S: usize = 50;
/// The longest that a count is remembered, in seconds.
const REMEMBERED_MAX_S: usize = 60;

/// The limit, and the last count. Clones share the count.
#[derive(Clone, Debug)]
pub struct QueueLimit {
    limit: usize,
    last: Arc<Mutex<Option<Count>>>,
}

/// How many jobs were open, and when.
#[derive(Clone, Copy, Debug)]
struct Count {
    open: usize,
    at: DateTime<Utc>,
}

impl QueueLimit {
    /// At most so many.
    pub fn new(limit: usize) -> Self {
        Self { limit, last: Arc::default() }
    }

    /// How many jobs may be open.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether one job more may be open: by the last count where that is good enough, otherwise by a new one.
    pub async fn has_room(&self, store: &JobStore, now: DateTime<Utc>) -> Result<bool, StoreError> {
        if self.last().is_some_and(|count| count.has_ample_room(self.limit, now)) {
            return Ok(true);
        }
        let open = store.count_open_jobs(self.limit, now).await?;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Count { open, at: now });
        Ok(open < self.limit)
    }

    fn last(&self) -> Option<Count> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Count {
    /// Whether half of the places were free, and cannot have been taken since by all the submits there are.
    fn has_ample_room(self, limit: usize, now: DateTime<Utc>) -> bool {
        let holds_s = (limit / 2 / SUBMITS_PER_S).min(REMEMBERED_MAX_S);
        let holds = TimeDelta::seconds(i64::try_from(holds_s).unwrap_or_default());
        self.open <= limit / 2 && (now - self.at).abs() < holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_good_while_the_free_half_cannot_have_filled_up() {
        let at = DateTime::UNIX_EPOCH;
        let has_room = |limit, open, age_s| Count { open, at }.has_ample_room(limit, at + TimeDelta::seconds(age_s));
        assert!(has_room(10_000, 5_000, 59));
        assert!(!has_room(10_000, 5_000, 60), "nobody remembers longer");
        assert!(!has_room(10_000, 5_001, 0), "over the half, each one is counted");
        assert!(has_room(1_000, 0, 9) && !has_room(1_000, 0, 10), "500 places last for ten seconds");
        assert!(!has_room(99, 0, 0), "a small queue fills up at once");
        assert!(!has_room(10_000, 0, -60), "a clock that was set back");
    }
}
