use std::fmt;

use bcrlapi_cloud::JobStore;
use chrono::{DateTime, TimeDelta, Utc};

/// How far this computer's clock may be ahead of the cloud's until the cloud's is what counts.
const AHEAD_MAX: TimeDelta = TimeDelta::minutes(1);

/// Tells the time, for everything but the pauses of the loop.
///
/// What is older than a week is removed, and what takes too long is given up: nothing of that may
/// happen on the word of one clock. A virtual machine that was resumed, or one with a dead battery,
/// may be days ahead.
#[derive(Clone, Copy)]
pub struct Clock {
    /// This computer's clock.
    pub local: fn() -> DateTime<Utc>,
    /// The cloud's clock, as its last answer has shown; `None` before the first.
    pub cloud: fn(&JobStore) -> Option<DateTime<Utc>>,
}

impl Clock {
    /// The clocks that there are.
    pub const SYSTEM: Self = Self { local: Utc::now, cloud: JobStore::date };

    /// The time that is past by both clocks.
    pub(crate) fn now(self, store: &JobStore) -> DateTime<Utc> {
        let local = (self.local)();
        match (self.cloud)(store) {
            Some(cloud) if local - cloud > AHEAD_MAX => cloud,
            _ => local,
        }
    }

    /// How far this computer's clock is ahead of the cloud's, or behind if negative; `None` before
    /// the cloud's first answer.
    pub(crate) fn ahead(self, store: &JobStore) -> Option<TimeDelta> {
        let cloud = (self.cloud)(store)?;
        Some((self.local)() - cloud)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
