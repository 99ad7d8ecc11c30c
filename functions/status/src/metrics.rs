//! What the operator's alarms look at, in the form in which CloudWatch takes measurements from a log.

use bcrlapi_api::LabState;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

const NAMESPACE: &str = "bcrlapi";

/// How long the oldest job waits (`QueueAge`, 0 where none does) and since when the lab has said nothing (`LabSilence`,
/// left out where it never did), in seconds, as a line of the log of this table's deployment. Source: the embedded metric
/// format, <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.
pub fn metrics_line(table: &str, lab: &LabState, now: DateTime<Utc>) -> String {
    let seconds_since = |date: DateTime<Utc>| (now - date).num_seconds().max(0);
    let queue_age = lab.waiting_since.map_or(0, seconds_since);
    let silence = lab.last_sync.map(seconds_since);
    let measured = [Some(("QueueAge", queue_age)), silence.map(|silence| ("LabSilence", silence))];
    let metrics: Vec<Value> =
        measured.iter().flatten().map(|(name, _)| json!({"Name": name, "Unit": "Seconds"})).collect();
    let mut line = json!({
        "_aws": {
            "Timestamp": now.timestamp_millis(),
            "CloudWatchMetrics": [{"Namespace": NAMESPACE, "Dimensions": [["Table"]], "Metrics": metrics}],
        },
        "Table": table,
    });
    for (name, seconds) in measured.into_iter().flatten() {
        line[name] = seconds.into();
    }
    line.to_string()
}

#[cfg(test)]
mod tests {
    use bcrlapi_api::LabPresence;
    use chrono::TimeDelta;

    use super::*;

    fn line(last_sync_s: Option<i64>, waiting_since_s: Option<i64>) -> Value {
        let now = DateTime::from_timestamp_millis(1_800_000_000_123).unwrap();
        let ago = |seconds| now - TimeDelta::seconds(seconds);
        let lab = LabState {
            state: LabPresence::Online,
            last_sync: last_sync_s.map(ago),
            pending: 0,
            processing: 0,
            waiting_since: waiting_since_s.map(ago),
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
                    "Metrics": [{"Name": "QueueAge", "Unit": "Seconds"}, {"Name": "LabSilence", "Unit": "Seconds"}],
                }],
            },
            "Table": "jobs",
            "QueueAge": 90,
            "LabSilence": 12,
        });
        assert_eq!(line(Some(12), Some(90)), expected);
    }

    #[test]
    fn an_empty_queue_has_age_zero_and_a_lab_that_was_never_there_no_silence() {
        let line = line(None, None);
        assert_eq!((line["QueueAge"].as_u64(), line.get("LabSilence")), (Some(0), None));
        assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Metrics"], json!([{"Name": "QueueAge", "Unit": "Seconds"}]));
    }

    #[test]
    fn clocks_that_differ_make_no_age_negative() {
        let line = line(Some(-2), Some(-1));
        assert_eq!((&line["QueueAge"], &line["LabSilence"]), (&json!(0), &json!(0)));
    }
}
