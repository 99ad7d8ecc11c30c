use bcrlapi_domain::{ApiName, Job, JobId};
use chrono::FixedOffset;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{lab_date, spaced_json};

#[derive(Serialize)]
struct RequestFile<'a> {
    uuid: JobId,
    api: &'a ApiName,
    request_date: String,
    input: &'a RawValue,
}

/// The content of `request/{uuid}.json`: the job's names and, under `input`, the client's body byte for byte.
///
/// The body comes from the cloud and is not trusted here: what is not one whole JSON value is an error, so that no
/// body can put fields of its own beside `input`.
pub fn render_request(job: &Job, body: &[u8], offset: FixedOffset) -> Result<Vec<u8>, serde_json::Error> {
    let request_date = lab_date::render(job.id, offset);
    let file = RequestFile { uuid: job.id, api: &job.api, request_date, input: serde_json::from_slice(body)? };
    let mut content = Vec::with_capacity(body.len() + 256);
    spaced_json::write(&mut content, &file);
    content.push(b'\n');
    Ok(content)
}
