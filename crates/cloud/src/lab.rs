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
    /// Since when the one that waits longest does; `None` where none waits, or the agent is too old to say.
    pub waiting_since: Option<DateTime<Utc>>,
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
            waiting_since: text("waiting_since").and_then(|date| date.parse().ok()),
        })
    }

    pub(crate) fn to_item(&self) -> Item {
        let mut item = Item::from_iter([
            (PK.to_owned(), Self::pk()),
            ("last_sync".to_owned(), item::date(self.last_sync)),
            ("agent_version".to_owned(), item::text(&self.agent_version)),
            ("pending".to_owned(), item::number(self.pending)),
            ("processing".to_owned(), item::number(self.processing)),
        ]);
        item.extend(self.waiting_since.map(|since| ("waiting_since".to_owned(), item::date(since))));
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_reads_as_it_was_written_and_so_does_one_of_an_older_agent() {
        let last_sync = DateTime::from_timestamp_millis(1_800_000_000_123).unwrap();
        let heartbeat = Heartbeat {
            last_sync,
            agent_version: "1".to_owned(),
            pending: 2,
            processing: 1,
            waiting_since: Some(last_sync),
        };
        let mut item = heartbeat.to_item();
        assert_eq!(Heartbeat::from_item(&item), Some(heartbeat.clone()));
        item.remove("waiting_since");
        let older = Heartbeat { waiting_since: None, ..heartbeat };
        assert_eq!(Heartbeat::from_item(&item), Some(older.clone()));
        assert_eq!(older.to_item(), item);
    }
}
