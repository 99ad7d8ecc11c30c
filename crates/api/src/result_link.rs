use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A link to a result of any size, which whoever has it may follow without a signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultLink {
    /// The link. To be followed with GET, and without the headers of a signature.
    pub url: String,
    /// Until when it works.
    pub expires_at: DateTime<Utc>,
    /// How many bytes it leads to.
    pub size: u64,
    /// Their digest, as the header `Content-Digest` writes it.
    pub content_digest: String,
}
