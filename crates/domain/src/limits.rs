//! Every named limit of the system that more than one crate must know.

use chrono::TimeDelta;

/// How long a job and everything that belongs to it is kept, counted from its request date.
///
/// Source: the specification, "whatever grows with requests is kept for one week".
pub const RETENTION: TimeDelta = TimeDelta::days(7);

/// The largest request body the API accepts, in bytes.
///
/// Lambda takes 6 MB with JSON escaping counted; 4 MiB leaves room for that.
pub const REQUEST_MAX_BYTES: usize = 4 * 1024 * 1024;

/// The longest `error` of a job, in characters. Longer ones keep their end, where the reason stands.
pub const ERROR_MAX_CHARS: usize = 2_000;

/// The longest `message` of a job, in characters. Longer ones keep their beginning.
pub const MESSAGE_MAX_CHARS: usize = 500;
