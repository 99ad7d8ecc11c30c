use bcrlapi_domain::Job;
use chrono::{FixedOffset, SecondsFormat};
use serde_json::value::RawValue;

use crate::spaced_json;

/// The content of `request/{uuid}.json`: the job's names and, under `input`, the client's body byte for byte.
///
/// The body comes from the cloud and is not trusted here: what is not one whole JSON value is an error, so that no
/// body can put fields of its own beside `input`.
pub fn render_request(job: &Job, input: &[u8], offset: FixedOffset) -> Result<Vec<u8>, serde_json::Error> {
    let input: &RawValue = serde_json::from_slice(input)?;
    let mut out = Vec::with_capacity(input.get().len() + 256);
    out.extend_from_slice(b"{");
    for (key, value) in [
        ("uuid", job.id.to_string()),
        ("api", job.api.to_string()),
        ("request_date", job.id.request_date().with_timezone(&offset).to_rfc3339_opts(SecondsFormat::Secs, false)),
    ] {
        spaced_json::write(&mut out, &key);
        out.extend_from_slice(b": ");
        spaced_json::write(&mut out, &value);
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(b"\"input\": ");
    out.extend_from_slice(input.get().as_bytes());
    out.extend_from_slice(b"}\n");
    Ok(out)
}
