//! What the operator's alarms look at, in the form in which CloudWatch takes measurements from a log.

use bcrlapi_api::LabPresence;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

const NAMESPACE: &str = "bcrlapi";

/// What is known of the lab and the jobs that are not done, at the moment of an answer that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Whether the lab is there.
    pub presence: LabPresence,
    /// When it last said anything; `None` if it never did.
    pub last_sync: Option<DateTime<Utc>>,
    /// Since when the job that waits longest does, in the cloud or in the lab.
    pub waiting_since: Option<DateTime<Utc>>,
    /// Since when the job that runs longest did, when the lab last said anything.
    pub processing_since: Option<DateTime<Utc>>,
    /// How many jobs have failed since one last succeeded, when the lab last said anything.
    pub failed_in_a_row: u64,
}

/// A measurement, as `CloudWatch` names it.
struct Metric {
    name: &'static str,
    unit: &'static str,
    value: i64,
}

/// What is measured at this moment, as a line of the log of this table's deployment. Source: the embedded metric format,
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.
///
/// - `LabSilence`: since when the lab has said nothing, in seconds; 0 where it never said anything. Always there.
/// - `QueueAge`: how long the oldest job waits, in seconds; left out where none does.
/// - `ProcessingAge`: how long the job that runs longest does, in seconds; left out where none runs, and while the lab is
///   away, as nobody knows.
/// - `FailedInARow`: how many jobs have failed since one last succeeded; left out where the last one did.
///
/// What is left out costs nothing: a metric is paid for by the hours in which it has a value.
pub fn metrics_line(table: &str, lab: &Measured, now: DateTime<Utc>) -> String {
    let age = |name, since: DateTime<Utc>| Metric { name, unit: "Seconds", value: (now - since).num_seconds().max(0) };
    let mut metrics = vec![age("LabSilence", lab.last_sync.unwrap_or(now))];

    metrics.extend(lab.waiting_since.map(|since| age("QueueAge", since)));

    if lab.presence == LabPresence::Online {
        metrics.extend(lab.processing_since.map(|since| age("ProcessingAge", since)));
    }
    if lab.failed_in_a_row > 0 {
        let value = lab.failed_in_a_row.cast_signed();
        metrics.push(Metric { name: "FailedInARow", unit: "Count", value });
    }

    let declared: Vec<Value> = metrics.iter().map(|metric| json!({"Name": metric.name, "Unit": metric.unit})).collect();
    let mut line = json!({
        "_aws": {
            "Timestamp": now.timestamp_millis(),
            "CloudWatchMetrics": [{"Namespace": NAMESPACE, "Dimensions": [["Table"]], "Metrics": declared}],
        },
        "Table": table,
    });

    for metric in metrics {
        line[metric.name] = metric.value.into();
    }

    line.to_string()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    const NOW_MS: i64 = 1_800_000_000_123;

    /// What is known of a lab that last said something, and whose jobs wait and run, since so many seconds.
    fn lab(last_sync_s: Option<i64>, waiting_since_s: Option<i64>, processing_since_s: Option<i64>) -> Measured {
        let now = DateTime::from_timestamp_millis(NOW_MS).unwrap();
        let ago = |seconds| now - TimeDelta::seconds(seconds);
        let last_sync = last_sync_s.map(ago);
        Measured {
            presence: LabPresence::at(last_sync, now),
            last_sync,
            waiting_since: waiting_since_s.map(ago),
            processing_since: processing_since_s.map(ago),
            failed_in_a_row: 0,
        }
    }

    fn line(lab: Measured) -> Value {
        let line = metrics_line("jobs", &lab, DateTime::from_timestamp_millis(NOW_MS).unwrap());
        assert!(!line.contains('\n'), "one event of the log");
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn the_line_has_the_embedded_metric_format() {
        let expected = json!({
            "_aws": {
                "Timestamp": NOW_MS,
                "CloudWatchMetrics": [{
                    "Namespace": "bcrlapi",
                    "Dimensions": [["Table"]],
                    "Metrics": [
                        {"Name": "LabSilence", "Unit": "Seconds"},
                        {"Name": "QueueAge", "Unit": "Seconds"},
                        {"Name": "ProcessingAge", "Unit": "Seconds"},
                        {"Name": "FailedInARow", "Unit": "Count"},
                    ],
                }],
            },
            "Table": "jobs",
            "LabSilence": 12,
            "QueueAge": 90,
            "ProcessingAge": 7000,
            "FailedInARow": 4,
        });
        assert_eq!(line(Measured { failed_in_a_row: 4, ..lab(Some(12), Some(90), Some(7000)) }), expected);
    }

    #[test]
    fn a_lab_in_which_nothing_happens_has_one_metric_and_one_that_never_was_there_is_not_silent() {
        for (last_sync_s, silence) in [(Some(12), 12), (None, 0)] {
            let line = line(lab(last_sync_s, None, None));

            assert_eq!(
                line["_aws"]["CloudWatchMetrics"][0]["Metrics"],
                json!([{"Name": "LabSilence", "Unit": "Seconds"}])
            );
            assert_eq!(line["LabSilence"], silence);
        }
    }

    #[test]
    fn how_long_a_job_runs_is_not_known_while_the_lab_is_away() {
        assert_eq!(line(lab(Some(100), None, Some(7000)))["ProcessingAge"], 7000);

        let away = line(lab(Some(1_000), None, Some(7000)));
        assert_eq!((away.get("ProcessingAge"), &away["LabSilence"]), (None, &json!(1_000)));
    }

    #[test]
    fn clocks_that_differ_make_no_age_negative() {
        let line = line(lab(Some(-2), Some(-1), Some(-1)));
        assert_eq!(["QueueAge", "ProcessingAge", "LabSilence"].map(|name| &line[name]), [&json!(0); 3]);
    }
}
