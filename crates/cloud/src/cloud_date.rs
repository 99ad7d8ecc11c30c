//! What time it is in the cloud, as its own answers say.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use chrono::{DateTime, TimeDelta, Utc};

/// How far a date that goes on may be ahead of a new one: an answer has whole seconds, and takes its
/// time.
const INEXACT: TimeDelta = TimeDelta::seconds(2);

/// The date of the cloud's last answer. Every answer has one, also one that refuses. Cheap to
/// clone; the clones share what they have heard.
///
/// Both clients of a store have it among their interceptors, so that no call has to be made for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct CloudDate(Arc<Mutex<Option<Heard>>>);

/// A date, and when it was heard.
#[derive(Clone, Copy, Debug)]
struct Heard {
    date: DateTime<Utc>,
    // Monotonic: the clock that people and time servers set is the very one that this date is held
    // against.
    at: Instant,
}

impl CloudDate {
    /// What time it is in the cloud now; `None` before its first answer.
    ///
    /// It is ahead of the cloud by two seconds at most, where the two clocks differ in their pace; it
    /// is behind by up to a second, by the time that the answer took, and by how long this computer
    /// has been suspended since.
    pub(crate) fn now(&self) -> Option<DateTime<Utc>> {
        let heard = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Heard { date, at } = heard?;

        let since = TimeDelta::from_std(at.elapsed()).ok()?;
        date.checked_add_signed(since)
    }

    /// Takes in the headers of an answer.
    fn hear(&self, date: Option<&str>, age: Option<&str>) {
        // A cache says what time it was when it stored the answer.
        if age.is_some() {
            return;
        }

        let Some(date) = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok()) else { return };
        let date = date.to_utc();
        // It does not go back by a second with each answer: what has happened later has a later date.
        let goes_on = self.now().filter(|now| (date..=date + INEXACT).contains(now));

        let heard = Heard { date: goes_on.unwrap_or(date), at: Instant::now() };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(heard);
    }
}

impl Intercept for CloudDate {
    fn name(&self) -> &'static str {
        "cloud date"
    }

    /// Is called once the headers are there: a long body makes the date no older.
    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.response().headers();
        self.hear(headers.get("date"), headers.get("age"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Sun, 22 Nov 2026 04:19:52 GMT";

    fn date() -> DateTime<Utc> {
        "2026-11-22T04:19:52Z".parse().unwrap()
    }

    #[test]
    fn it_goes_on_from_the_last_answer() {
        let cloud = CloudDate::default();
        assert_eq!(cloud.now(), None, "nothing was heard yet");

        cloud.hear(Some(DATE), None);
        let first = cloud.clone().now().unwrap();
        assert!((date()..date() + TimeDelta::minutes(1)).contains(&first), "{first}");
        assert!(cloud.now().unwrap() >= first);

        cloud.hear(Some("Sun, 22 Nov 2026 04:00:00 GMT"), None);
        assert!(cloud.now().unwrap() < date(), "the last answer counts, also where it is earlier");
    }

    #[test]
    fn it_does_not_go_back_within_a_second() {
        let cloud = CloudDate::default();
        cloud.hear(Some("Sun, 22 Nov 2026 04:19:53 GMT"), None);
        let first = cloud.now().unwrap();
        cloud.hear(Some(DATE), None);
        assert!(cloud.now().unwrap() >= first, "the answer says whole seconds only");
    }

    #[test]
    fn an_answer_out_of_a_cache_says_nothing_nor_does_one_without_a_good_date() {
        let cloud = CloudDate::default();
        cloud.hear(Some(DATE), Some("3600"));
        cloud.hear(Some("yesterday"), None);
        cloud.hear(None, None);
        assert_eq!(cloud.now(), None);
    }
}
