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
}

/// How long the oldest job waits (`QueueAge`, 0 where none does), how long the one that runs longest does (`ProcessingAge`,
/// 0 where none runs; left out while the lab is away, as nobody knows) and since when the lab has said nothing
/// (`LabSilence`, left out where it never did), in seconds, as a line of the log of this table's deployment. Source: the
/// embedded metric format, <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.
pub fn metrics_line(table: &str, lab: &Measured, now: DateTime<Utc>) -> String {
    let seconds_since = |date: DateTime<Utc>| (now - date).num_seconds().max(0);
    let mut ages = vec![("QueueAge", lab.waiting_since.map_or(0, seconds_since))];

    if lab.presence == LabPresence::Online {
        ages.push(("ProcessingAge", lab.processing_since.map_or(0, seconds_since)));
    }
    if let Some(last_sync) = lab.last_sync {
        ages.push(("LabSilence", seconds_since(last_sync)));
    }

    let metrics: Vec<Value> = ages.iter().map(|(name, _)| json!({"Name": name, "Unit": "Seconds"})).collect();
    let mut line = json!({
        "_aws": {
            "Timestamp": now.timestamp_millis(),
            "CloudWatchMetrics": [{"Namespace": NAMESPACE, "Dimensions": [["Table"]], "Metrics": metrics}],
        },
        "Table": table,
    });

    for (name, seconds) in ages {
        line[name] = seconds.into();
    }

    line.to_string()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    /// The line of a lab that last said something, and whose jobs wait and run, since so many seconds.
    fn line(last_sync_s: Option<i64>, waiting_since_s: Option<i64>, processing_since_s: Option<i64>) -> Value {
        let now = DateTime::from_timestamp_millis(1_800_000_000_123).unwrap();
        let ago = |seconds| now - TimeDelta::seconds(seconds);
        let last_sync = last_sync_s.map(ago);
        let lab = Measured {
            presence: LabPresence::at(last_sync, now),
            last_sync,
            waiting_since: waiting_since_s.map(ago),
            processing_since: processing_since_s.map(ago),
        };
        let line = metrics_line("jobs", &lab, now);
        assert!(!line.contains('\n'), "one event of the log");
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn the_line_has_the_embedded_metric_format() {
        let expected = json!({
            "_aws": {
                "Timestamp": 1_800_000_000_123_u64,
                "CloudWatchMetrics": [{
                    "Namespace": "bcrlapi",
                    "Dimensions": [["Table"]],
                    "Metrics": [
                        {"Name": "QueueAge", "Unit": "Seconds"},
                        {"Name": "ProcessingAge", "Unit": "Seconds"},
                        {"Name": "LabSilence", "Unit": "Seconds"},
                    ],
                }],
            },
            "Table": "jobs",
            "QueueAge": 90,
            "ProcessingAge": 7000,
            "LabSilence": 12,
        });
        assert_eq!(line(Some(12), Some(90), Some(7000)), expected);
    }

    #[test]
    fn an_empty_queue_has_age_zero_and_a_lab_that_was_never_there_no_silence() {
        let line = line(None, None, None);
        assert_eq!((line["QueueAge"].as_u64(), line.get("LabSilence")), (Some(0), None));
        assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Metrics"], json!([{"Name": "QueueAge", "Unit": "Seconds"}]));
    }

    #[test]
    fn how_long_a_job_runs_is_not_known_while_the_lab_is_away() {
        assert_eq!(line(Some(100), None, Some(7000))["ProcessingAge"], 7000);
        assert_eq!(line(Some(100), None, None)["ProcessingAge"], 0, "none runs");

        let away = line(Some(1_000), None, Some(7000));
        assert_eq!((away.get("ProcessingAge"), &away["LabSilence"]), (None, &json!(1_000)));
    }

    #[test]
    fn clocks_that_differ_make_no_age_negative() {
        let line = line(Some(-2), Some(-1), Some(-1));
        assert_eq!(["QueueAge", "ProcessingAge", "LabSilence"].map(|name| &line[name]), [&json!(0); 3]);
    }
}
