use chrono::{DateTime, Utc};

use crate::item::{self, Item};
use crate::schema::PK;

/// What a lab says of itself, so that callers and operators can see that it is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// When it said so.
    pub last_sync: DateTime<Utc>,
    /// The version of its agent.
    pub agent_version: &'static str,
    /// Jobs that wait in the lab.
    pub pending: u64,
    /// Jobs that run in the lab.
    pub processing: u64,
}

impl Heartbeat {
    const ROW_KEY: &str = "lab";

    pub(crate) fn to_item(&self) -> Item {
        Item::from_iter([
            (PK.to_owned(), item::text(Self::ROW_KEY)),
            ("last_sync".to_owned(), item::date(self.last_sync)),
            ("agent_version".to_owned(), item::text(self.agent_version)),
            ("pending".to_owned(), item::number(self.pending)),
            ("processing".to_owned(), item::number(self.processing)),
        ])
    }
}
