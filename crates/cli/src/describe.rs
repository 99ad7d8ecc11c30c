//! What people want to know of jobs and of the lab.

use bcrlapi_api::{JobList, JobResource, LabState};
use chrono::{DateTime, Utc};

use crate::printable::{printable, printable_lines};

/// How far a line of [`describe`] is indented below its first.
const INDENT: usize = 11;

/// A job: one field a line.
pub(crate) fn describe(job: &JobResource) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            text += &format!("{name:<10} {value}\n");
        }
    };
    line("uuid", Some(job.uuid.to_string()));
    line("api", Some(job.api.to_string()));
    line("status", Some(job.status.as_str().to_owned()));
    line("outcome", job.outcome.as_deref().map(printable));
    line("canceling", job.cancel_requested.then(|| "asked for".to_owned()));
    line("error", job.error.as_deref().map(|error| printable_lines(error, INDENT)));
    line("progress", job.progress.map(|percent| format!("{percent} %")));
    line("message", job.message.as_deref().map(printable));
    line("requested", Some(job.request_date.to_rfc3339()));
    line("started", job.start_date.map(|date| date.to_rfc3339()));
    line("finished", job.finish_date.map(|date| date.to_rfc3339()));
    line("expires", Some(job.expiry_date.to_rfc3339()));
    text
}

/// Jobs: one a line, none longer than it has to be.
pub(crate) fn describe_list(list: &JobList) -> String {
    let mut text = String::new();
    for job in &list.jobs {
        let end = job.outcome.as_deref().unwrap_or(job.status.as_str());
        text += &printable(&format!("{}  {}  {end:<10}  {}", job.uuid, to_the_second(job.request_date), job.api));
        text.push('\n');
    }
    text
}

/// The lab: one field a line.
pub(crate) fn describe_lab(lab: &LabState) -> String {
    let last_sync = lab.last_sync.map_or_else(|| "never".to_owned(), |date| date.to_rfc3339());
    let oldest_since = lab.waiting_since.map_or_else(|| "-".to_owned(), |date| date.to_rfc3339());
    let LabState { state, pending, processing, .. } = lab;
    let state = state.as_str();
    let counts = format!("pending    {pending}\nprocessing {processing}\n");
    format!("state      {state}\nlast sync  {last_sync}\n{counts}waiting    {oldest_since}\n")
}

fn to_the_second(date: DateTime<Utc>) -> String {
    date.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}
