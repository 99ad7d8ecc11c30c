//! Bringing back what a lab has lost, from the cloud.

use std::path::Path;
use std::time::Duration;

use bcrlapi_cloud::JobStore;
use bcrlapi_directory::SharedDir;
use bcrlapi_exchange::Settings;
use tokio::time::{Instant, sleep};

use crate::agent::{Agent, Look};
use crate::{AgentError, Clock};

/// How long what cannot be brought back is tried again: somebody may hold the lock, and a queue that stays broken is put
/// aside after ten seconds.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(100);

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

/// Brings back the request file, the response file and the entry of every job of the last week, wherever one is
/// missing; what is there stays as it is, and nothing else is done. Reads the whole table. Fails if an agent serves the
/// directory, or something could not be brought back.
pub async fn resync(shared: &Path, settings: Settings, store: JobStore, clock: Clock) -> Result<Resynced, AgentError> {
    let directory = SharedDir::open(shared)?;
    let before = count(&directory)?;
    let mut agent = Agent::new(store, directory, settings, clock)?;
    agent.learn_history().await?;
    let begin = Instant::now();
    while agent.round(Look::Directory).await?.is_some() || !agent.has_everything() {
        if begin.elapsed() >= PATIENCE {
            return Err(AgentError::Incomplete);
        }
        sleep(PAUSE).await;
    }
    let after = count(&agent.directory)?;
    Ok(Resynced {
        requests: after.requests.saturating_sub(before.requests),
        responses: after.responses.saturating_sub(before.responses),
        entries: after.entries.saturating_sub(before.entries),
    })
}

fn count(directory: &SharedDir) -> Result<Resynced, AgentError> {
    let queue = directory.read_status()?.queue.ok().flatten();
    let entries = queue.map_or(0, |queue| queue.entries().len());
    Ok(Resynced { requests: directory.requests()?.len(), responses: directory.responses()?.len(), entries })
}
