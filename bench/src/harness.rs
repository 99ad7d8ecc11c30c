//! Taking turns, and what is made of the samples.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Enough for figures.
    Full,
    /// Enough to see that it works.
    Quick,
}

impl Scale {
    pub(crate) fn choose<T>(self, full: T, quick: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
        }
    }
}

/// What was measured of one side.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    pub(crate) fn median(&self) -> f64 {
        self.percentile(50.0)
    }

    /// The smallest sample that so many percent do not exceed.
    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between none and all")]
        let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(samples: I) -> Self {
        Self(samples.into_iter().collect())
    }
}

/// One side of a comparison: measures once.
pub(crate) type Side<'a> = Box<dyn FnMut() -> anyhow::Result<f64> + 'a>;

/// Lets the sides take turns, each time in the other order: what else the machine does is then for all of them.
pub(crate) fn alternate<const N: usize>(rounds: usize, mut sides: [Side<'_>; N]) -> anyhow::Result<[Samples; N]> {
    let mut samples = [(); N].map(|()| Samples::default());
    for round in 0..rounds {
        for side in turns(round, N) {
            samples[side].push(sides[side]()?);
        }
    }
    Ok(samples)
}

/// In which order so many sides come in a round.
pub(crate) fn turns(round: usize, sides: usize) -> impl Iterator<Item = usize> {
    (0..sides).map(move |turn| if round.is_multiple_of(2) { turn } else { sides - 1 - turn })
}

/// How long the work takes, in milliseconds.
pub(crate) fn time_ms<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(ms(start.elapsed()))
}

pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Looks again and again until there is something. Looks often: what is waited for is what is measured.
pub(crate) async fn wait_for<T>(what: &str, look: impl AsyncFn() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    const PAUSE: Duration = Duration::from_millis(1);
    const LIMIT: Duration = Duration::from_mins(5);
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        tokio::time::sleep(PAUSE).await;
    }
    anyhow::bail!("waited {} s for {what}", LIMIT.as_secs())
}

/// How many processes have wanted a core in the last minute: what else went on while something was measured.
pub(crate) fn load_average() -> anyhow::Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    let first = text.split(' ').next().and_then(|word| word.parse().ok());
    first.context("/proc/loadavg begins with a number")
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn the_median_is_in_the_middle_and_the_99th_percentile_near_the_end() {
        let shown = |samples: Samples| [50.0, 99.0, 100.0].map(|percent| samples.percentile(percent).to_string());
        assert_eq!(shown((1..=200).rev().map(f64::from).collect()), ["100", "198", "200"]);
        assert_eq!(shown([7.0].into_iter().collect()), ["7", "7", "7"]);
    }

    #[test]
    fn sides_take_turns_in_changing_order() {
        let order = RefCell::new(String::new());
        let side = |name: char| -> Side<'_> {
            let order = &order;
            Box::new(move || {
                order.borrow_mut().push(name);
                Ok(1.0)
            })
        };
        alternate(3, [side('a'), side('b')]).unwrap();
        assert_eq!(*order.borrow(), "abbaab");
    }
}
