use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};

use crate::item::{self, Item};
use crate::schema::PK;

/// What a lab says of itself, so that callers and operators can see that it is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// When it said so.
    pub last_sync: DateTime<Utc>,
    /// The version of its agent.
    pub agent_version: String,
    /// Jobs that wait in the lab.
    pub pending: u64,
    /// Jobs that run in the lab.
    pub processing: u64,
}

impl Heartbeat {
    const ROW_KEY: &str = "lab";

    pub(crate) fn pk() -> AttributeValue {
        item::text(Self::ROW_KEY)
    }

    pub(crate) fn from_item(item: &Item) -> Option<Self> {
        let text = |name: &str| item.get(name)?.as_s().ok();
        let number = |name: &str| item.get(name)?.as_n().ok()?.parse().ok();
        Some(Self {
            last_sync: text("last_sync")?.parse().ok()?,
            agent_version: text("agent_version")?.clone(),
            pending: number("pending")?,
            processing: number("processing")?,
        })
    }

    pub(crate) fn to_item(&self) -> Item {
        Item::from_iter([
            (PK.to_owned(), Self::pk()),
            ("last_sync".to_owned(), item::date(self.last_sync)),
            ("agent_version".to_owned(), item::text(&self.agent_version)),
            ("pending".to_owned(), item::number(self.pending)),
            ("processing".to_owned(), item::number(self.processing)),
        ])
    }
}
