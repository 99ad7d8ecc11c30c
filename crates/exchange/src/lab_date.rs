use bcrlapi_domain::JobId;
use chrono::{FixedOffset, SecondsFormat};

/// A job's request date as the lab's files show it: RFC 3339, to the second, at the lab's own offset from UTC.
pub(crate) fn render(id: JobId, offset: FixedOffset) -> String {
    id.request_date().with_timezone(&offset).to_rfc3339_opts(SecondsFormat::Secs, false)
}
