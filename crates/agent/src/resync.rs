//! Bringing back what a lab has lost, from the cloud.

use bcrlapi_cloud::JobStore;
use bcrlapi_directory::SharedDir;
use bcrlapi_exchange::Queue;
use chrono::Utc;

use crate::agent::{Agent, Look};
use crate::{AgentError, Config};

/// How much a resync has brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resynced {
    /// Request files.
    pub requests: usize,
    /// Response files.
    pub responses: usize,
    /// Entries of status.json.
    pub entries: usize,
}

/// Brings back the request file, the response file and the entry of every job of the last week, wherever one is missing; what
/// is there stays as it is. Reads the whole table. Fails if an agent serves the directory, or something could
/// not be brought back.
pub async fn resync(config: &Config, store: JobStore) -> Result<Resynced, AgentError> {
    let directory = SharedDir::open(&config.shared)?;
    let _only_agent = directory.lock_for_agent()?;
    let before = count(&directory)?;
    let mut agent = Agent::new(store, directory, config.settings(), Utc::now);
    agent.learn_history().await?;
    agent.round(Look::Directory).await?;
    agent.finish_uploads().await;
    if agent.has_failures() {
        return Err(AgentError::Incomplete);
    }
    let after = count(&agent.directory)?;
    Ok(Resynced {
        requests: after.requests.saturating_sub(before.requests),
        responses: after.responses.saturating_sub(before.responses),
        entries: after.entries.saturating_sub(before.entries),
    })
}

fn count(directory: &SharedDir) -> Result<Resynced, AgentError> {
    let entries =
        directory.read_status()?.queue.ok().flatten().as_ref().map_or(0, |queue: &Queue| queue.entries().len());
    Ok(Resynced { requests: directory.requests()?.len(), responses: directory.responses()?.len(), entries })
}
