//! What an operator may see of the agent: counts and dates, and never a job's name or content.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bcrlapi_domain::{Outcome, Payload};
use bcrlapi_exchange::{Action, Entry, QueueSeen, View, Workload};
use chrono::{DateTime, TimeDelta, Utc};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::agent::SYNC;
use crate::journal::JOURNAL;
use crate::observe::DISPLACED;

mod memory;
mod serve;

pub(crate) use serve::serve;

/// The name among the steps of a look.
const LOOK: &str = "look";

/// How often the bytes of a queue are counted again while its number of entries stays the same: to
/// count them, every line is looked at.
const COUNT_INTERVAL: Duration = Duration::from_secs(15);

/// How long ago cloud and directory may have been looked at by an agent that works: then its lab is offline for callers.
const LOOK_AGE_MAX: Duration = Duration::from_mins(3);

/// One label: its name and its value.
type Label = [(&'static str, String); 1];

/// The agent's metrics. Cheap to clone; the clones share their values.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    last_look: Gauge,
    jobs: Family<Label, Gauge>,
    oldest_pending_age: Gauge,
    oldest_processing_age: Gauge,
    failures: Family<Label, Counter>,
    delivered: Counter,
    finished: Family<Label, Counter>,
    queue_broken: Gauge,
    queue_entries: Gauge,
    queue_bytes: Gauge,
    displaced_queues: Gauge,
    clock_ahead: Gauge,
    memory: Gauge,
    memory_limit: Gauge,
    uploaded_bytes: Counter,
    seen: Arc<Mutex<Seen>>,
}

/// What was last seen. Ages are made of it when somebody asks for them.
#[derive(Debug, Default)]
struct Seen {
    workload: Workload,
    /// When cloud and directory were last looked at.
    looked_at: Option<Instant>,
    /// When the queue's bytes were last counted.
    bytes_counted_at: Option<Instant>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Arc::default(),
            last_look: Gauge::default(),
            jobs: Family::default(),
            oldest_pending_age: Gauge::default(),
            oldest_processing_age: Gauge::default(),
            failures: Family::default(),
            delivered: Counter::default(),
            finished: Family::default(),
            queue_broken: Gauge::default(),
            queue_entries: Gauge::default(),
            queue_bytes: Gauge::default(),
            displaced_queues: Gauge::default(),
            clock_ahead: Gauge::default(),
            memory: Gauge::default(),
            memory_limit: Gauge::default(),
            uploaded_bytes: Counter::default(),
            seen: Arc::default(),
        };
        metrics.registry = Arc::new(metrics.registry());
        metrics.start_at_zero();
        metrics
    }
}

impl Metrics {
    /// All of them, with the names that others know them by.
    fn registry(&self) -> Registry {
        let mut all = Registry::with_prefix("bcrlapi_agent");
        all.register("build", "Which agent this is", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
        let help = "When cloud and directory were last looked at with success, in seconds since 1970";
        all.register_with_unit("last_look_timestamp", help, Unit::Seconds, self.last_look.clone());
        all.register("jobs", "The jobs in the lab that are not done", self.jobs.clone());
        let help = "How long the oldest job in the lab has been pending since its submit; 0 where none is";
        all.register_with_unit("oldest_pending_age", help, Unit::Seconds, self.oldest_pending_age.clone());
        let help = "How long the job that runs longest has been processing; 0 where none is";
        all.register_with_unit("oldest_processing_age", help, Unit::Seconds, self.oldest_processing_age.clone());
        all.register("failures", "Steps that failed and are tried again", self.failures.clone());
        all.register("jobs_delivered", "Requests written into the shared directory", self.delivered.clone());
        all.register("jobs_finished", "Jobs of the lab that have come to their end", self.finished.clone());
        all.register("queue_broken", "Whether status.json cannot be read now", self.queue_broken.clone());
        all.register("queue_entries", "The entries of status.json", self.queue_entries.clone());
        let help = "The bytes that the entries of status.json take";
        all.register_with_unit("queue", help, Unit::Bytes, self.queue_bytes.clone());
        let help = "Queues that were displaced by newer ones and are still kept";
        all.register("displaced_queues", help, self.displaced_queues.clone());
        let help = "How far this computer's clock is ahead of the cloud's, negative where it is behind; 0 until the cloud answers";
        all.register_with_unit("clock_ahead", help, Unit::Seconds, self.clock_ahead.clone());
        let help = "Memory that the agent has in use (resident)";
        all.register_with_unit("memory", help, Unit::Bytes, self.memory.clone());
        let help = "Memory beyond which the system ends the agent; 0 where there is no limit, or none that can be read";
        all.register_with_unit("memory_limit", help, Unit::Bytes, self.memory_limit.clone());
        let help = "Bytes of responses that have arrived in the cloud";
        all.register("uploaded_bytes", help, self.uploaded_bytes.clone());
        all
    }

    /// A rate can only be told of what was zero before.
    fn start_at_zero(&self) {
        for step in Action::NAMES.into_iter().chain([DISPLACED, LOOK, JOURNAL, SYNC]) {
            drop(self.failures.get_or_create(&[("step", step.to_owned())]));
        }
        for outcome in Outcome::ALL {
            drop(self.finished.get_or_create(&[("outcome", outcome.as_str().to_owned())]));
        }
        self.set_jobs(Workload::default());
    }

    /// Cloud and directory have been looked at.
    pub(crate) fn has_looked(&self, now: DateTime<Utc>) {
        self.last_look.set(now.timestamp());
        self.seen().looked_at = Some(Instant::now());
    }

    /// Whether the agent works, and in words: it has looked at cloud and directory, and not long ago.
    pub(crate) fn health(&self) -> (bool, String) {
        let Some(looked_at) = self.seen().looked_at else {
            return (false, "cloud and directory have not been looked at yet; the log says why".to_owned());
        };

        let age = looked_at.elapsed();
        let age_s = age.as_secs();
        if age > LOOK_AGE_MAX {
            return (false, format!("cloud and directory were last looked at {age_s} s ago; the log says why"));
        }
        (true, format!("cloud and directory were last looked at {age_s} s ago"))
    }

    /// It was not possible to look.
    pub(crate) fn look_failed(&self) {
        self.step_failed(LOOK);
    }

    /// A step has failed; counted by the first word of its name, which is its kind.
    pub(crate) fn step_failed(&self, name: &str) {
        let kind = name.split(' ').next().unwrap_or(name);
        self.failures.get_or_create(&[("step", kind.to_owned())]).inc();
    }

    pub(crate) fn has_delivered(&self) {
        self.delivered.inc();
    }

    pub(crate) fn has_finished(&self, outcome: Outcome, response: Option<&Payload>) {
        self.finished.get_or_create(&[("outcome", outcome.as_str().to_owned())]).inc();
        self.uploaded_bytes.inc_by(response.map_or(0, |response| response.size_bytes));
    }

    /// How things are now.
    pub(crate) fn see(&self, view: &View) {
        self.set_jobs(view.workload());
        self.displaced_queues.set(gauge(view.displaced.len()));
        self.queue_broken.set(i64::from(matches!(view.status, QueueSeen::Broken { .. })));

        match &view.status {
            QueueSeen::Missing => self.set_queue(&[]),
            QueueSeen::Whole(queue) => self.set_queue(queue.entries()),
            // What it held is not gone: it is made again.
            QueueSeen::Broken { .. } => {}
        }
    }

    /// How the two clocks are now; nothing new where the cloud has not answered yet.
    pub(crate) fn see_clock(&self, ahead: Option<TimeDelta>) {
        if let Some(ahead) = ahead {
            self.clock_ahead.set(ahead.num_seconds());
        }
    }

    fn set_queue(&self, entries: &[Entry]) {
        let count = gauge(entries.len());
        let has_as_many = self.queue_entries.get() == count;
        self.queue_entries.set(count);

        let mut seen = self.seen();
        let is_recent = seen.bytes_counted_at.is_some_and(|counted_at| counted_at.elapsed() < COUNT_INTERVAL);
        if has_as_many && is_recent {
            return;
        }

        self.queue_bytes.set(gauge(entries.iter().map(|entry| entry.line().len()).sum::<usize>()));
        seen.bytes_counted_at = Some(Instant::now());
    }

    fn set_jobs(&self, workload: Workload) {
        for (status, count) in [("pending", workload.pending), ("processing", workload.processing)] {
            self.jobs.get_or_create(&[("status", status.to_owned())]).set(gauge(count));
        }

        self.seen().workload = workload;
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them as OpenMetrics text, which Prometheus reads. An age goes on growing while the agent hangs.
    pub(crate) fn render(&self, now: DateTime<Utc>) -> String {
        let workload = self.seen().workload;
        self.oldest_pending_age.set(age_s(workload.waiting_since, now));
        self.oldest_processing_age.set(age_s(workload.processing_since, now));
        self.memory.set(gauge(memory::used_bytes().unwrap_or_default()));
        self.memory_limit.set(gauge(memory::limit_bytes().unwrap_or_default()));

        let mut text = String::new();
        encode(&mut text, &self.registry).expect("text is written to memory without fail");
        text
    }
}

/// Clocks that differ make no age negative.
fn age_s(since: Option<DateTime<Utc>>, now: DateTime<Utc>) -> i64 {
    since.map_or(0, |since| (now - since).num_seconds().max(0))
}

fn gauge<N: TryInto<i64>>(number: N) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use bcrlapi_exchange::Queue;

    use super::*;

    fn value(text: &str, name: &str) -> Option<f64> {
        let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(found, _)| found == name))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }

    #[test]
    fn everything_is_there_from_the_start_under_its_agreed_name() {
        let text = Metrics::default().render(DateTime::UNIX_EPOCH);
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(value(&text, &format!("bcrlapi_agent_build_info{{version=\"{version}\"}}")), Some(1.0), "{text}");
        for name in [
            "bcrlapi_agent_last_look_timestamp_seconds",
            "bcrlapi_agent_jobs{status=\"pending\"}",
            "bcrlapi_agent_jobs{status=\"processing\"}",
            "bcrlapi_agent_oldest_pending_age_seconds",
            "bcrlapi_agent_oldest_processing_age_seconds",
            "bcrlapi_agent_failures_total{step=\"return\"}",
            "bcrlapi_agent_failures_total{step=\"look\"}",
            "bcrlapi_agent_jobs_delivered_total",
            "bcrlapi_agent_jobs_finished_total{outcome=\"succeeded\"}",
            "bcrlapi_agent_queue_broken",
            "bcrlapi_agent_queue_entries",
            "bcrlapi_agent_queue_bytes",
            "bcrlapi_agent_displaced_queues",
            "bcrlapi_agent_uploaded_bytes_total",
        ] {
            assert_eq!(value(&text, name), Some(0.0), "{name} in\n{text}");
        }
        assert!(value(&text, "bcrlapi_agent_memory_limit_bytes").is_some(), "{text}");
        assert!(value(&text, "bcrlapi_agent_memory_bytes").is_some_and(|bytes| bytes > 100_000.0), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn failures_are_counted_by_kind_and_not_by_job() {
        let metrics = Metrics::default();
        metrics.step_failed("return 018aef2c-7a00-7000-8000-000000000001 early");
        metrics.step_failed("return 018aef2c-7a00-7000-8000-000000000002");
        let text = metrics.render(DateTime::UNIX_EPOCH);
        assert_eq!(value(&text, "bcrlapi_agent_failures_total{step=\"return\"}"), Some(2.0));
        assert!(!text.contains("018aef2c"), "{text}");
    }

    #[test]
    fn an_agent_that_has_not_looked_for_long_does_not_work() {
        let metrics = Metrics::default();
        assert!(!metrics.health().0);

        metrics.has_looked(DateTime::UNIX_EPOCH);
        assert!(metrics.health().0);

        metrics.seen().looked_at = Instant::now().checked_sub(LOOK_AGE_MAX + Duration::from_secs(1));
        let (is_healthy, words) = metrics.health();
        assert!(!is_healthy && words.contains("181 s ago"), "{words}");
    }

    #[test]
    fn an_age_is_told_as_of_the_moment_it_is_asked_for() {
        let metrics = Metrics::default();
        let since = DateTime::from_timestamp(1_800_000_000, 0);
        let at = |seconds: i64| DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap();
        let processing_since = Some(at(-100));
        metrics.set_jobs(Workload { pending: 1, processing: 1, waiting_since: since, processing_since });

        let ages = |seconds| {
            let text = metrics.render(at(seconds));
            ["bcrlapi_agent_oldest_pending_age_seconds", "bcrlapi_agent_oldest_processing_age_seconds"]
                .map(|name| value(&text, name))
        };
        assert_eq!(ages(5), [Some(5.0), Some(105.0)]);
        assert_eq!(ages(65), [Some(65.0), Some(165.0)]);
        assert_eq!(ages(-101), [Some(0.0), Some(0.0)]);
    }

    #[test]
    fn a_clock_may_be_ahead_or_behind() {
        let metrics = Metrics::default();
        let ahead = || value(&metrics.render(DateTime::UNIX_EPOCH), "bcrlapi_agent_clock_ahead_seconds");
        assert_eq!(ahead(), Some(0.0));

        metrics.see_clock(Some(TimeDelta::days(8)));
        assert_eq!(ahead(), Some(691_200.0));

        metrics.see_clock(Some(TimeDelta::seconds(-90)));
        assert_eq!(ahead(), Some(-90.0));

        metrics.see_clock(None);
        assert_eq!(ahead(), Some(-90.0), "that is still the last that is known");
    }

    #[test]
    fn the_size_of_a_queue_is_told_also_while_it_is_broken() {
        let metrics = Metrics::default();
        let size = || {
            let text = metrics.render(DateTime::UNIX_EPOCH);
            ["bcrlapi_agent_queue_entries", "bcrlapi_agent_queue_bytes"].map(|name| value(&text, name))
        };

        let queue = Queue::parse(b"{\"jobs\": [{\"a\": 1}, {\"b\": \"22\"}]}").unwrap();
        let mut view = View { status: QueueSeen::Whole(queue), ..View::default() };
        metrics.see(&view);
        assert_eq!(size(), [Some(2.0), Some(19.0)]);

        let date = DateTime::UNIX_EPOCH;
        view.status = QueueSeen::Broken { since: date, quiet_since: date, is_only_large: false };
        metrics.see(&view);
        assert_eq!(size(), [Some(2.0), Some(19.0)]);

        view.status = QueueSeen::Missing;
        metrics.see(&view);
        assert_eq!(size(), [Some(0.0), Some(0.0)]);
    }
}
