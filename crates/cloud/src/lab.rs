use std::fmt;
use std::str::FromStr;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::item::{self, Item};
use crate::schema::PK;

const LAST_SYNC: &str = "last_sync";
const AGENT_VERSION: &str = "agent_version";
const PENDING: &str = "pending";
const PROCESSING: &str = "processing";
const WAITING_SINCE: &str = "waiting_since";
const PROCESSING_SINCE: &str = "processing_since";
const FAILED_IN_A_ROW: &str = "failed_in_a_row";
const AGENT_ID: &str = "agent_id";
const AGENT_HOST: &str = "agent_host";
const AGENT_DIRECTORY: &str = "agent_directory";
const AGENT_STARTED: &str = "agent_started";
const RELEASED: &str = "released_date";

/// What a lab says of itself, so that callers and operators can see that it is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// When it said so: by the cloud's date, where the agent knows that.
    pub last_sync: DateTime<Utc>,
    /// The version of its agent.
    pub agent_version: String,
    /// Jobs that wait in the lab.
    pub pending: u64,
    /// Jobs that run in the lab.
    pub processing: u64,
    /// Since when the one that waits longest does; `None` where none waits, or the agent is too old to say.
    pub waiting_since: Option<DateTime<Utc>>,
    /// Since when the one that runs longest does; `None` where none runs, or the agent is too old
    /// to say.
    pub processing_since: Option<DateTime<Utc>>,
    /// How many jobs have failed or were lost since one last succeeded; 0 where the agent is too old
    /// to say.
    pub failed_in_a_row: u64,
    /// The agent that serves the lab, and that no other may serve it beside; `None` where the agent
    /// is too old to say.
    pub holder: Option<Holder>,
}

/// One process of an agent, told apart from all others. It means nothing beyond that. Reads as it is
/// written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentId(Uuid);

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for AgentId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl AgentId {
    /// The id of a new process.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

/// The agent that serves a lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Which process it is.
    pub agent: AgentId,
    /// Where it serves.
    pub place: Place,
    /// The agent that had the directory's lock before, and so is gone; `None` where nobody has left
    /// its id, or the agent is another one. It is not in the row.
    pub predecessor: Option<AgentId>,
    /// Since when.
    pub started: DateTime<Utc>,
}

/// Where an agent serves a lab: one directory, as one host sees it. The lock on the directory lets
/// one agent into a place at a time; whether it reaches the agent in another place, nobody can
/// know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The host's name.
    pub host: String,
    /// The shared directory's path there.
    pub directory: String,
}

/// What came of a heartbeat.
#[must_use = "another agent may serve the lab"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beat {
    /// It stands in the row: until [`Heartbeat::SILENCE`] after it no other agent gets the lab.
    Recorded,
    /// Nothing was written: this other agent serves the lab, and was heard of then.
    HeldByAnother {
        /// The other agent.
        holder: Holder,
        /// When it was last heard of, by the cloud's date.
        last_sync: DateTime<Utc>,
    },
}

impl Heartbeat {
    /// For how long an agent may be silent before another gets its lab: two heartbeats of a minute
    /// may be lost, and the third has half a minute for its way.
    pub const SILENCE: TimeDelta = TimeDelta::seconds(150);

    const ROW_KEY: &str = "lab";

    pub(crate) fn pk() -> AttributeValue {
        item::text(Self::ROW_KEY)
    }

    pub(crate) fn from_item(item: &Item) -> Option<Self> {
        let number = |name: &str| item.get(name)?.as_n().ok()?.parse().ok();
        Some(Self {
            last_sync: date(item, LAST_SYNC)?,
            agent_version: text(item, AGENT_VERSION)?.clone(),
            pending: number(PENDING)?,
            processing: number(PROCESSING)?,
            waiting_since: date(item, WAITING_SINCE),
            processing_since: date(item, PROCESSING_SINCE),
            failed_in_a_row: number(FAILED_IN_A_ROW).unwrap_or_default(),
            holder: Holder::from_item(item),
        })
    }

    pub(crate) fn to_item(&self) -> Item {
        let mut item = Item::from_iter([
            (PK.to_owned(), Self::pk()),
            (LAST_SYNC.to_owned(), item::date(self.last_sync)),
            (AGENT_VERSION.to_owned(), item::text(&self.agent_version)),
            (PENDING.to_owned(), item::number(self.pending)),
            (PROCESSING.to_owned(), item::number(self.processing)),
            (FAILED_IN_A_ROW.to_owned(), item::number(self.failed_in_a_row)),
        ]);
        item.extend(self.waiting_since.map(|since| (WAITING_SINCE.to_owned(), item::date(since))));
        item.extend(self.processing_since.map(|since| (PROCESSING_SINCE.to_owned(), item::date(since))));
        if let Some(holder) = &self.holder {
            item.extend(holder.attributes());
        }
        item
    }

    /// The row of a lab that its agent has left, for whoever comes next.
    pub(crate) fn to_released_item(&self, now: DateTime<Utc>) -> Item {
        let mut item = self.to_item();
        item.insert(RELEASED.to_owned(), item::date(now));
        item
    }
}

impl Holder {
    /// The condition that the row names this process.
    pub(crate) fn is_named() -> String {
        format!("{AGENT_ID} = :agent")
    }

    /// The condition that the lab is free for this agent, as of a date between `:oldest` and
    /// `:newest`.
    ///
    /// A date after `:newest` was not the cloud's, and so is no sign of life. In the same place the
    /// lock has shown already that the agent is gone that had it before. Not that any other one is:
    /// two hosts, or two containers, may have one name.
    pub(crate) fn is_free() -> String {
        format!(
            "attribute_not_exists({AGENT_ID}) OR {} OR attribute_exists({RELEASED}) \
             OR ({AGENT_ID} = :predecessor AND {AGENT_HOST} = :host AND {AGENT_DIRECTORY} = :directory) \
             OR {LAST_SYNC} < :oldest OR {LAST_SYNC} > :newest",
            Self::is_named()
        )
    }

    /// The values of [`Holder::is_named`].
    pub(crate) fn id_value(&self) -> Item {
        Item::from_iter([(":agent".to_owned(), item::text(self.agent.0))])
    }

    /// The values of [`Holder::is_free`].
    pub(crate) fn values(&self, now: DateTime<Utc>) -> Item {
        // Where there is none, its own id is as good: it has been compared.
        let predecessor = self.predecessor.unwrap_or(self.agent);
        let mut values = self.id_value();
        values.extend([
            (":predecessor".to_owned(), item::text(predecessor.0)),
            (":host".to_owned(), item::text(&self.place.host)),
            (":directory".to_owned(), item::text(&self.place.directory)),
            (":oldest".to_owned(), item::date(now - Heartbeat::SILENCE)),
            (":newest".to_owned(), item::date(now + Heartbeat::SILENCE)),
        ]);
        values
    }

    fn attributes(&self) -> [(String, AttributeValue); 4] {
        [
            (AGENT_ID.to_owned(), item::text(self.agent.0)),
            (AGENT_HOST.to_owned(), item::text(&self.place.host)),
            (AGENT_DIRECTORY.to_owned(), item::text(&self.place.directory)),
            (AGENT_STARTED.to_owned(), item::date(self.started)),
        ]
    }

    fn from_item(item: &Item) -> Option<Self> {
        let host = text(item, AGENT_HOST)?.clone();
        let directory = text(item, AGENT_DIRECTORY)?.clone();
        Some(Self {
            agent: text(item, AGENT_ID)?.parse().ok()?,
            place: Place { host, directory },
            predecessor: None,
            started: date(item, AGENT_STARTED)?,
        })
    }
}

impl Beat {
    /// What the row says that has kept a heartbeat from being written; `None` where it has no form
    /// that is known.
    pub(crate) fn refused_by(item: &Item) -> Option<Self> {
        Some(Self::HeldByAnother { holder: Holder::from_item(item)?, last_sync: date(item, LAST_SYNC)? })
    }
}

fn text<'a>(item: &'a Item, name: &str) -> Option<&'a String> {
    item.get(name)?.as_s().ok()
}

fn date(item: &Item, name: &str) -> Option<DateTime<Utc>> {
    text(item, name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_reads_as_it_was_written_and_so_does_one_of_an_older_agent() {
        let last_sync = DateTime::from_timestamp_millis(1_800_000_000_123).unwrap();
        let place = Place { host: "lab1".to_owned(), directory: "/shared/bcrlapi".to_owned() };
        let heartbeat = Heartbeat {
            last_sync,
            agent_version: "1".to_owned(),
            pending: 2,
            processing: 1,
            waiting_since: Some(last_sync),
            processing_since: Some(last_sync),
            failed_in_a_row: 3,
            holder: Some(Holder { agent: AgentId::random(), place, predecessor: None, started: last_sync }),
        };
        let mut item = heartbeat.to_item();
        assert_eq!(Heartbeat::from_item(&item), Some(heartbeat.clone()));

        for name in
            [WAITING_SINCE, PROCESSING_SINCE, FAILED_IN_A_ROW, AGENT_ID, AGENT_HOST, AGENT_DIRECTORY, AGENT_STARTED]
        {
            item.remove(name);
        }
        let older =
            Heartbeat { waiting_since: None, processing_since: None, failed_in_a_row: 0, holder: None, ..heartbeat };
        assert_eq!(Heartbeat::from_item(&item), Some(older));
    }
}
