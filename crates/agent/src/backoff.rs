use std::collections::BTreeMap;
use std::fmt::Display;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

const PAUSE_MIN: TimeDelta = TimeDelta::seconds(1);
const PAUSE_MAX: TimeDelta = TimeDelta::seconds(60);
/// A look is a single request, and everything waits for it.
const PAUSE_BETWEEN_ROUNDS_MAX: TimeDelta = TimeDelta::seconds(10);

/// Which steps have failed, and when each may be tried again: one that keeps failing must not hold up the others,
/// and must not be tried all the time.
#[derive(Debug, Default)]
pub(crate) struct Backoff(BTreeMap<String, Failing>);

#[derive(Debug)]
struct Failing {
    times: u32,
    retry_at: DateTime<Utc>,
}

impl Backoff {
    /// Whether the step has failed lately and has to wait.
    pub(crate) fn holds_back(&self, step: impl Display, now: DateTime<Utc>) -> bool {
        // A clock that was set back must not make the pause longer.
        self.of(step).is_some_and(|failing| now < failing.retry_at && failing.retry_at - now <= PAUSE_MAX)
    }

    /// Whether the step has failed, and not succeeded since.
    pub(crate) fn has_failed(&self, step: impl Display) -> bool {
        self.of(step).is_some()
    }

    /// A plan may have ten thousands of steps, and mostly none has failed: then no name is written.
    fn of(&self, step: impl Display) -> Option<&Failing> {
        if self.0.is_empty() { None } else { self.0.get(&step.to_string()) }
    }

    /// Notes a failure; the pause doubles with every one in a row.
    pub(crate) fn failed(&mut self, step: String, now: DateTime<Utc>) {
        let failing = self.0.entry(step).or_insert(Failing { times: 0, retry_at: now });
        failing.times += 1;
        failing.retry_at = now + jittered(pause(failing.times));
    }

    pub(crate) fn succeeded(&mut self, step: &str) {
        self.0.remove(step);
    }

    /// Forgets the steps that nobody has wanted to try again for a while.
    pub(crate) fn forget_old(&mut self, now: DateTime<Utc>) {
        self.0.retain(|_, failing| now - failing.retry_at < PAUSE_MAX);
    }
}

/// The pause after this many failures in a row: a second at first, doubling up to a minute.
fn pause(times: u32) -> TimeDelta {
    let factor = 2_i32.saturating_pow(times.saturating_sub(1));
    PAUSE_MIN.checked_mul(factor).map_or(PAUSE_MAX, |pause| pause.min(PAUSE_MAX))
}

/// The same pause, but shorter, for the loop around all steps.
pub(crate) fn pause_between_rounds(times: u32) -> Duration {
    jittered(pause(times).min(PAUSE_BETWEEN_ROUNDS_MAX)).to_std().unwrap_or_default()
}

/// The pause, shortened by a random part of its half: many that have failed together must not all come back together.
fn jittered(pause: TimeDelta) -> TimeDelta {
    const STEPS: i32 = 1_000;
    // Keys of hash maps are random: enough for this, and no generator has to be carried along.
    let random = RandomState::new().hash_one(()) % u64::from(STEPS.unsigned_abs());
    pause - pause / 2 / STEPS * i32::try_from(random).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_a_minute() {
        assert_eq!([1, 2, 3, 6, 7, 100, u32::MAX].map(|times| pause(times).num_seconds()), [1, 2, 4, 32, 60, 60, 60]);
    }

    #[test]
    fn pauses_of_the_same_length_differ_and_keep_their_half() {
        let pauses: Vec<_> = (0..100).map(|_| jittered(TimeDelta::seconds(60)).num_milliseconds()).collect();
        assert!(pauses.iter().all(|pause| (30_000..=60_000).contains(pause)), "{pauses:?}");
        assert!(pauses.iter().max().unwrap() - pauses.iter().min().unwrap() > 10_000, "{pauses:?}");
    }

    #[test]
    fn a_failing_step_waits_and_no_other_does() {
        let now = DateTime::UNIX_EPOCH;
        let after = |seconds| now + TimeDelta::seconds(seconds);
        let mut backoff = Backoff::default();
        backoff.failed("deliver a".to_owned(), now);
        backoff.failed("deliver a".to_owned(), now);
        backoff.failed("deliver a".to_owned(), now);
        assert!(backoff.holds_back("deliver a", after(1)));
        assert!(!backoff.holds_back("deliver a", after(4)));
        assert!(!backoff.holds_back("deliver b", now));
        backoff.succeeded("deliver a");
        assert!(!backoff.holds_back("deliver a", now));
    }
}
