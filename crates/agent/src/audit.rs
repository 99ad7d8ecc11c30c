//! `bcrlapi-agent audit`: a look at rows and directory that changes nothing, held against the rules
//! of [`bcrlapi_exchange::audit`].

use std::path::PathBuf;
use std::time::Duration;

use bcrlapi_cloud::JobStore;
use bcrlapi_exchange::Entry;
use bcrlapi_exchange::audit::{Finding, Sight, StatusSeen, standing};
use chrono::TimeDelta;
use tokio::time::sleep;

use crate::execute::blocking;
use crate::{AgentError, Clock};

mod files;
mod rows;

/// What an audit looks at, and what it takes for granted.
#[derive(Clone, Debug)]
pub struct Audit {
    /// The shared directory.
    pub shared: PathBuf,
    /// How long a job may be processing; for its whole week, if `None`.
    pub lost_after: Option<TimeDelta>,
    /// How long what is said in the lab may take until the cloud knows it, as [`Audit::GRACE`].
    pub grace: TimeDelta,
    /// The time between the two looks: what stands in both is under way no more.
    pub pause: Duration,
    /// What time it is.
    pub clock: Clock,
}

impl Audit {
    /// A response is uploaded in this time, unless it is a very large one, or nobody uploads.
    pub const GRACE: TimeDelta = TimeDelta::minutes(2);

    /// Looks, and where something is not as it should be, looks once more after the pause; says
    /// what stood in both looks. May be run beside an agent, and changes nothing. Fails only where
    /// cloud or directory cannot be seen.
    pub async fn run(&self, store: &JobStore) -> Result<Vec<Finding>, AgentError> {
        let first = self.look(store).await?;
        if first.iter().all(Finding::is_ok) {
            return Ok(first);
        }

        sleep(self.pause).await;
        let second = self.look(store).await?;

        Ok(standing(&first, &second))
    }

    async fn look(&self, store: &JobStore) -> Result<Vec<Finding>, AgentError> {
        let files = self.look_at_files().await?;
        let now = self.clock.now(store);
        let rows = rows::look(store, now, entries(&files.status)).await?;

        let sight = Sight {
            now,
            lost_after: self.lost_after,
            grace: self.grace,
            has_agent: files.has_agent,
            rows: rows.found,
            has_unasked: rows.has_unasked,
            damaged: rows.damaged,
            status: files.status,
            requests: files.requests,
            responses: files.responses,
            journal: files.journal,
            displaced: files.displaced,
            running: files.running,
            corrupt: files.corrupt,
            unreadable: files.unreadable,
            misplaced: files.misplaced,
        };
        Ok(sight.findings())
    }

    async fn look_at_files(&self) -> Result<files::Files, AgentError> {
        let shared = self.shared.clone();
        blocking(move || files::look(&shared)).await
    }
}

fn entries(status: &StatusSeen) -> &[Entry] {
    match status {
        StatusSeen::Whole { queue, .. } => queue.entries(),
        StatusSeen::Missing | StatusSeen::Broken(_) => &[],
    }
}
