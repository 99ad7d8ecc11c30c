use std::time::{Duration, Instant};

/// The pauses between two warnings of one trouble: each twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_mins(1);

/// Something that fails again and again: said less and less often, and once when it is over.
#[derive(Debug, Default)]
pub(crate) struct Trouble(Option<Lasting>);

#[derive(Debug)]
struct Lasting {
    since: Instant,
    pause: Duration,
    next_warning: Instant,
}

impl Trouble {
    /// Takes in that it has failed; says whether that is worth a line.
    pub(crate) fn is_to_be_told(&mut self, now: Instant) -> bool {
        let Some(lasting) = &mut self.0 else {
            self.0 = Some(Lasting { since: now, pause: FIRST_PAUSE, next_warning: now + FIRST_PAUSE });
            return true;
        };
        if now < lasting.next_warning {
            return false;
        }
        lasting.pause = LAST_PAUSE.min(lasting.pause * 2);
        lasting.next_warning = now + lasting.pause;
        true
    }

    /// Takes in that it has worked; says how long it had not.
    pub(crate) fn end(&mut self, now: Instant) -> Option<Duration> {
        let lasting = self.0.take()?;
        Some(now - lasting.since)
    }

    /// For how long it has failed.
    pub(crate) fn lasts(&self, now: Instant) -> Duration {
        self.0.as_ref().map_or(Duration::ZERO, |lasting| now - lasting.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_come_less_and_less_often_and_the_end_is_told_once() {
        let begin = Instant::now();
        let mut trouble = Trouble::default();
        let is_told = |second: &u64| trouble.is_to_be_told(begin + Duration::from_secs(*second));
        let told: Vec<u64> = (0..200).filter(is_told).collect();
        assert_eq!(told, [0, 1, 3, 7, 15, 31, 63, 123, 183]);

        let over = begin + Duration::from_secs(200);
        assert_eq!(trouble.end(over), Some(Duration::from_secs(200)));
        assert_eq!(trouble.end(over), None);
        assert!(trouble.is_to_be_told(over), "the next one is another one");
    }
}
