//! The row of an idempotency key.

use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bcrlapi_domain::{IdempotencyKey, Job, JobId};
use sha2::{Digest, Sha256};

use crate::StoreError;
use crate::item::{self, Item, REQUEST_SHA256};
use crate::schema::{EXPIRES_AT, PK};

/// The attribute that names the job.
const UUID: &str = "uuid";

/// The submit that a caller's idempotency key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedSubmit {
    /// The job that it has become.
    pub id: JobId,
    /// The SHA-256 of its body, in base64.
    pub request_sha256: String,
}

impl KeyedSubmit {
    /// The key of the row: one for each owner, api and key. Hashed, for a length that does not grow with theirs.
    pub(crate) fn pk(job: &Job, key: &IdempotencyKey) -> AttributeValue {
        // None of the three can contain the NUL between them.
        let name = [job.owner.as_str(), job.api.as_str(), key.as_str()].join("\0");
        item::text(format!("key#{}", BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(name))))
    }

    /// The row, which goes when the job goes. It has no owner's attribute: it is not in the owner's index.
    pub(crate) fn to_item(job: &Job, key: &IdempotencyKey) -> Item {
        Item::from_iter([
            (PK.to_owned(), Self::pk(job, key)),
            (UUID.to_owned(), item::text(job.id)),
            (REQUEST_SHA256.to_owned(), item::text(&job.request.sha256)),
            (EXPIRES_AT.to_owned(), item::expires_at(job.id)),
        ])
    }

    pub(crate) fn from_item(item: &Item) -> Result<Self, StoreError> {
        let text = |name: &str| item.get(name)?.as_s().ok();
        let read = || Some(Self { id: text(UUID)?.parse().ok()?, request_sha256: text(REQUEST_SHA256)?.clone() });
        read().ok_or_else(|| StoreError::DamagedKey { row: text(PK).cloned().unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use bcrlapi_domain::{Owner, Payload};

    use super::*;

    #[test]
    fn a_row_reads_as_it_was_written_and_a_damaged_one_says_which_it_is() {
        let id = "018aef2c-7a00-7000-8000-000000000001".parse().unwrap();
        let request = Payload { size_bytes: 2, sha256: "of the body".to_owned() };
        let owner = Owner::from_identity("1", "AIDA").unwrap();
        let job = Job::requested(id, "soc".parse().unwrap(), owner, request);
        let mut item = KeyedSubmit::to_item(&job, &"k".parse().unwrap());
        let submit = KeyedSubmit::from_item(&item).unwrap();
        assert_eq!(submit, KeyedSubmit { id, request_sha256: "of the body".to_owned() });

        let row = item[PK].as_s().unwrap().clone();
        item.insert(UUID.to_owned(), item::text("none"));
        let error = KeyedSubmit::from_item(&item).unwrap_err().to_string();
        assert!(error.contains(&row) && error.contains("remove the row"), "{error}");
    }
}
