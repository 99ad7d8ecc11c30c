//! The row of an idempotency key.

use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bcrlapi_domain::{IdempotencyKey, Job, JobId};
use sha2::{Digest, Sha256};

use crate::item::{self, Item};
use crate::schema::{EXPIRES_AT, PK};

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
            ("uuid".to_owned(), item::text(job.id)),
            ("request_sha256".to_owned(), item::text(&job.request.sha256)),
            (EXPIRES_AT.to_owned(), item::expires_at(job.id)),
        ])
    }

    pub(crate) fn from_item(item: &Item) -> Option<Self> {
        let text = |name: &str| item.get(name)?.as_s().ok();
        Some(Self { id: text("uuid")?.parse().ok()?, request_sha256: text("request_sha256")?.clone() })
    }
}
