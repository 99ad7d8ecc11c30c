use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid, Variant};

use crate::limits::RETENTION;

/// A job's id: a version 7 uuid (RFC 9562), so that ids sort by the time they were made.
///
/// Written in one way only, lower case with hyphens: an id becomes a file name and an object key,
/// and there must be one name for one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(Uuid);

/// The text or uuid is not a job's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a job id: {0:?} (expected a lower-case version 7 uuid with hyphens)")]
pub struct InvalidJobId(String);

impl JobId {
    /// The smallest id of this moment: every id made before it sorts before it.
    pub fn earliest(time: DateTime<Utc>) -> Self {
        let milliseconds = u64::try_from(time.timestamp_millis()).unwrap_or_default();
        Self(Builder::from_unix_timestamp_millis(milliseconds, &[0; 10]).into_uuid())
    }

    /// The id in 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// When the job was requested: the id's own time, to the millisecond.
    pub fn request_date(self) -> DateTime<Utc> {
        let (seconds, nanos) = self.0.get_timestamp().expect("version 7 carries a time").to_unix();
        i64::try_from(seconds)
            .ok()
            .and_then(|seconds| DateTime::from_timestamp(seconds, nanos))
            .expect("48 bits of milliseconds are within chrono's range")
    }

    /// When the job and its files are gone for every reader.
    pub fn expiry_date(self) -> DateTime<Utc> {
        self.request_date() + RETENTION
    }

    /// Whether the job's week is over. Known from the id alone, so nothing is kept to answer it.
    pub fn is_expired(self, now: DateTime<Utc>) -> bool {
        now >= self.expiry_date()
    }
}

impl TryFrom<Uuid> for JobId {
    type Error = InvalidJobId;

    fn try_from(uuid: Uuid) -> Result<Self, InvalidJobId> {
        match (uuid.get_version_num(), uuid.get_variant()) {
            (7, Variant::RFC4122) => Ok(Self(uuid)),
            _ => Err(InvalidJobId(uuid.to_string())),
        }
    }
}

impl TryFrom<[u8; 16]> for JobId {
    type Error = InvalidJobId;

    fn try_from(bytes: [u8; 16]) -> Result<Self, InvalidJobId> {
        Self::try_from(Uuid::from_bytes(bytes))
    }
}

impl FromStr for JobId {
    type Err = InvalidJobId;

    fn from_str(text: &str) -> Result<Self, InvalidJobId> {
        let invalid = || InvalidJobId(text.chars().take(64).collect());
        let (id, mut buffer) = (Self::try_from(Uuid::try_parse(text).map_err(|_| invalid())?)?, Uuid::encode_buffer());
        let spelling: &str = id.0.hyphenated().encode_lower(&mut buffer);
        if spelling == text { Ok(id) } else { Err(invalid()) }
    }
}

impl TryFrom<String> for JobId {
    type Error = InvalidJobId;

    fn try_from(text: String) -> Result<Self, InvalidJobId> {
        text.parse()
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    const ID: &str = "018aef2c-7a00-7000-8000-000000000001";

    #[test]
    fn an_id_is_accepted_in_one_spelling_only() {
        assert_eq!(ID.parse::<JobId>().unwrap().to_string(), ID);
        for wrong in [
            "018AEF2C-7A00-7000-8000-000000000001",
            "{018aef2c-7a00-7000-8000-000000000001}",
            "018aef2c7a0070008000000000000001",
            "urn:uuid:018aef2c-7a00-7000-8000-000000000001",
            "f47ac10b-58cc-4372-a567-0e02b2c3d479",
            "018aef2c-7a00-7000-0000-000000000001",
            "../018aef2c-7a00-7000-8000-000000000001",
            "",
        ] {
            assert!(wrong.parse::<JobId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_id_knows_its_time_and_its_end() {
        let id: JobId = ID.parse().unwrap();
        assert_eq!(id.request_date().timestamp_millis(), 0x018a_ef2c_7a00);
        let end = id.request_date() + TimeDelta::days(7);
        assert!(!id.is_expired(end - TimeDelta::milliseconds(1)));
        assert!(id.is_expired(end));
    }

    #[test]
    fn the_earliest_id_of_a_moment_sorts_before_all_of_it() {
        let id: JobId = ID.parse().unwrap();
        let earliest = JobId::earliest(id.request_date());
        assert_eq!(earliest.request_date(), id.request_date());
        assert!(earliest < id && earliest.to_string() < id.to_string());
        assert!(JobId::earliest(id.request_date() + TimeDelta::milliseconds(1)) > id);
    }

    #[test]
    fn the_latest_possible_time_is_no_panic() {
        let id: JobId = "ffffffff-ffff-7fff-bfff-ffffffffffff".parse().unwrap();
        assert!(!id.is_expired(DateTime::UNIX_EPOCH));
    }
}
