use std::fmt;
use std::sync::LazyLock;
use std::time::Instant;

use bcrlapi_cloud::JobStore;
use chrono::{DateTime, TimeDelta, Utc};

/// Tells the time, for everything but the pauses of the loop.
///
/// What is older than a week is removed, and what takes too long is given up: nothing of that may
/// happen on the word of this computer's clock. A virtual machine that was resumed, or one with a
/// dead battery, may be days ahead or behind.
#[derive(Clone, Copy)]
pub struct Clock {
    /// This computer's clock.
    pub local: fn() -> DateTime<Utc>,
    /// The cloud's clock, as its answers have shown; `None` before the first.
    pub cloud: fn(&JobStore) -> Option<DateTime<Utc>>,
    /// For how long this process has been awake. Nobody can set it, and it stands still while the
    /// computer is suspended.
    pub awake: fn() -> TimeDelta,
}

impl Clock {
    /// The clocks that there are.
    pub const SYSTEM: Self = Self { local: Utc::now, cloud: JobStore::date, awake };

    /// What time it is: in the cloud, whose clock is the one that all have in common. This
    /// computer's counts only until the cloud has answered.
    pub(crate) fn now(self, store: &JobStore) -> DateTime<Utc> {
        (self.cloud)(store).unwrap_or_else(self.local)
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

/// By the system's monotonic clock.
fn awake() -> TimeDelta {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    TimeDelta::from_std(BEGIN.elapsed()).unwrap_or_default()
}

/// Notices where the time goes ahead by more, or by less, than has passed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    /// What time it was when the process began, by what time it was at the last call.
    begin: Option<DateTime<Utc>>,
}

impl Pace {
    /// How far the time has leapt ahead since the last call, or back if negative.
    pub(crate) fn leap(&mut self, now: DateTime<Utc>, awake: TimeDelta) -> TimeDelta {
        let begin = now - awake;
        let leap = self.begin.map_or(TimeDelta::zero(), |before| begin - before);
        self.begin = Some(begin);
        leap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    #[test]
    fn time_that_passes_is_no_leap_and_what_goes_beyond_is_one() {
        let mut pace = Pace::default();
        let mut leap_s = |now_s, awake_s| pace.leap(at(now_s), TimeDelta::seconds(awake_s)).num_seconds();
        assert_eq!(leap_s(-32_400, 5), 0, "nothing was before");
        assert_eq!(leap_s(-32_390, 15), 0);
        assert_eq!(leap_s(11, 16), 32_400, "the cloud has answered, and this computer's clock is behind");
        assert_eq!(leap_s(13, 18), 0);
        assert_eq!(leap_s(10, 18), -3);
        assert_eq!(leap_s(28_820, 28), 28_800, "the computer was suspended for eight hours");
    }
}
