//! The table's definition: what `template.yaml` deploys and what the local stack creates. A test compares the two.

/// The definition of the one table. All keys are strings.
#[derive(Debug)]
pub struct TableSchema {
    /// The table's only key.
    pub hash_key: &'static str,
    /// Its global secondary indexes.
    pub indexes: [Index; 2],
    /// The attribute that tells DynamoDB when a row may go, in seconds since 1970.
    pub ttl_attribute: &'static str,
}

/// A global secondary index. Sorted by the table's own key, which ends in a version 7 uuid and so sorts by request
/// date.
#[derive(Debug)]
pub struct Index {
    /// Its name.
    pub name: &'static str,
    /// The attribute it is asked by.
    pub attribute: &'static str,
    /// Which attributes it holds: `ALL` or `KEYS_ONLY`.
    pub projection: &'static str,
}

/// The table. The indexes hold keys only: a row's other changes do not have to be written to them.
pub const TABLE: TableSchema = TableSchema {
    hash_key: PK,
    indexes: [
        Index { name: INBOX, attribute: INBOX, projection: "KEYS_ONLY" },
        Index { name: OWNER_KEYS, attribute: OWNER, projection: "KEYS_ONLY" },
    ],
    ttl_attribute: EXPIRES_AT,
};

pub(crate) const PK: &str = "pk";
pub(crate) const EXPIRES_AT: &str = "expires_at";
/// Sparse: only jobs that are not done have it. Its values say what the lab has to do with them.
pub(crate) const INBOX: &str = "inbox";
pub(crate) const OWNER: &str = "owner";
/// The index in which a caller's jobs are found.
pub(crate) const OWNER_KEYS: &str = "owner-keys";

/// `inbox` of a job that waits to be taken, or that its caller wants back: what an agent looks at. One lab so far, and
/// so one value.
pub(crate) const INBOX_NEW: &str = "lab";
/// `inbox` of a job that the lab has taken and not finished: what an agent that starts has to go on with.
pub(crate) const INBOX_TAKEN: &str = "lab:taken";
/// Every value of `inbox`.
pub(crate) const INBOX_ALL: [&str; 2] = [INBOX_NEW, INBOX_TAKEN];

/// Whether the caller wants a taken job back; stays on the row.
pub(crate) const CANCEL_REQUESTED: &str = "cancel_requested";
