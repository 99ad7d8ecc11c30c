//! What an operator may see of the agent: counts and dates, and never a job's name or content.

use std::sync::{Arc, Mutex, PoisonError};

use bcrlapi_domain::{Outcome, Payload};
use bcrlapi_exchange::{Action, QueueSeen, View, Workload};
use chrono::{DateTime, Utc};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

mod serve;

pub(crate) use serve::serve;

/// What a look that fails is called among the steps.
const LOOK: &str = "look";

/// One label: its name and its value.
type Label = [(&'static str, String); 1];

/// The agent's metrics. Cheap to clone; the clones share their values.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    last_look: Gauge,
    jobs: Family<Label, Gauge>,
    oldest_pending_age: Gauge,
    waiting_since: Arc<Mutex<Option<DateTime<Utc>>>>,
    failures: Family<Label, Counter>,
    delivered: Counter,
    finished: Family<Label, Counter>,
    queue_broken: Gauge,
    uploaded_bytes: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Arc::default(),
            last_look: Gauge::default(),
            jobs: Family::default(),
            oldest_pending_age: Gauge::default(),
            waiting_since: Arc::default(),
            failures: Family::default(),
            delivered: Counter::default(),
            finished: Family::default(),
            queue_broken: Gauge::default(),
            uploaded_bytes: Counter::default(),
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
        all.register("failures", "Steps that failed and are tried again", self.failures.clone());
        all.register("jobs_delivered", "Requests written into the shared directory", self.delivered.clone());
        all.register("jobs_finished", "Jobs of the lab that have come to their end", self.finished.clone());
        all.register("queue_broken", "Whether status.json cannot be read now", self.queue_broken.clone());
        let help = "Bytes of responses that have arrived in the cloud";
        all.register("uploaded_bytes", help, self.uploaded_bytes.clone());
        all
    }

    /// A rate can only be told of what was zero before.
    fn start_at_zero(&self) {
        for step in Action::NAMES.into_iter().chain([LOOK]) {
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
        self.queue_broken.set(i64::from(matches!(view.status, QueueSeen::Broken { .. })));
    }

    fn set_jobs(&self, workload: Workload) {
        for (status, count) in [("pending", workload.pending), ("processing", workload.processing)] {
            let gauge = self.jobs.get_or_create(&[("status", status.to_owned())]);
            gauge.set(count.try_into().unwrap_or(i64::MAX));
        }
        *self.waiting_since.lock().unwrap_or_else(PoisonError::into_inner) = workload.waiting_since;
    }

    /// All of them as OpenMetrics text, which Prometheus reads. An age goes on growing while the agent hangs.
    pub(crate) fn render(&self, now: DateTime<Utc>) -> String {
        let since = *self.waiting_since.lock().unwrap_or_else(PoisonError::into_inner);
        self.oldest_pending_age.set(since.map_or(0, |since| (now - since).num_seconds().max(0)));
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("text is written to memory without fail");
        text
    }
}

#[cfg(test)]
mod tests {
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
            "bcrlapi_agent_failures_total{step=\"return\"}",
            "bcrlapi_agent_failures_total{step=\"look\"}",
            "bcrlapi_agent_jobs_delivered_total",
            "bcrlapi_agent_jobs_finished_total{outcome=\"succeeded\"}",
            "bcrlapi_agent_queue_broken",
            "bcrlapi_agent_uploaded_bytes_total",
        ] {
            assert_eq!(value(&text, name), Some(0.0), "{name} in\n{text}");
        }
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
    fn an_age_is_told_as_of_the_moment_it_is_asked_for() {
        let metrics = Metrics::default();
        let since = DateTime::from_timestamp(1_800_000_000, 0);
        metrics.set_jobs(Workload { pending: 1, processing: 0, waiting_since: since });
        let age = |seconds: i64| {
            let now = DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap();
            value(&metrics.render(now), "bcrlapi_agent_oldest_pending_age_seconds")
        };
        assert_eq!([age(5), age(65), age(-1)], [Some(5.0), Some(65.0), Some(0.0)]);
    }
}
