//! A lab's shared directory, its agent, and who plays the APP server.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use bcrlapi_directory::{Published, SharedDir};
use bcrlapi_domain::{Job, JobId, Outcome, State};
use bcrlapi_exchange::{Entry, Queue, layout};
use chrono::FixedOffset;
use uuid::{NoContext, Timestamp, Uuid};

use crate::harness::wait_for;
use crate::stack::{body, owner, payload_of};
use crate::system::{Running, System};

/// Japan, where the lab is.
const UTC_OFFSET_S: i32 = 9 * 3600;
/// Over how long before now the jobs of a filled lab are spread.
const HISTORY_S: u64 = 6 * 24 * 3600;

/// A pending entry for a job that nobody has ever submitted.
pub(crate) fn entry(id: JobId) -> anyhow::Result<Entry> {
    let offset = FixedOffset::east_opt(UTC_OFFSET_S).context("nine hours are an offset")?;
    Ok(Entry::new(&Job::requested(id, "mock".parse()?, owner()?, payload_of(b"{}")), offset))
}

/// A lab in which as many jobs are done, each with its files, of the days before now. Gives their ids.
pub(crate) fn fill(shared: &Path, jobs: u64) -> anyhow::Result<Vec<JobId>> {
    let directory = SharedDir::open(shared)?;
    let (mut queue, mut ids, body) = (Queue::default(), Vec::new(), body());
    let now_s = u64::try_from(chrono::Utc::now().timestamp())?;
    for number in 0..jobs {
        let second = now_s - HISTORY_S + number * HISTORY_S / jobs;
        let id: JobId = Uuid::new_v7(Timestamp::from_unix(NoContext, second, 0)).to_string().parse()?;
        queue.push(entry(id)?);
        queue.advance(id, State::Done(Outcome::Succeeded), None);
        fs::write(directory.path(&layout::request(id)), &body)?;
        fs::write(directory.path(&layout::response(id)), &body)?;
        ids.push(id);
    }
    let published = directory.publish_status(&directory.lock()?, None, &queue)?;
    ensure!(!matches!(published, Published::Overtaken), "nobody else writes here");
    Ok(ids)
}

/// Starts the real agent, with some of its environment changed.
pub(crate) fn start_agent(system: &System, poll: Duration, environment: &[(&str, &str)]) -> anyhow::Result<Running> {
    let mut agent = system.command("bcrlapi-agent")?;
    agent.args(["--poll", &format!("{}ms", poll.as_millis())]).envs(environment.iter().copied());
    Running::start(&mut agent)
}

/// Waits until the job's entry is in status.json.
pub(crate) async fn has_come(shared: &SharedDir, id: JobId) -> anyhow::Result<()> {
    let (path, id) = (shared.path(layout::STATUS), id.to_string());
    let seen = std::cell::Cell::new(None);
    wait_for("an entry in status.json", async || {
        // Read only where it is another: who waits must not take the core from those who work.
        let now = shared.status_fingerprint()?;
        Ok((seen.replace(now) != now && fs::read_to_string(&path)?.contains(&id)).then_some(()))
    })
    .await
}

/// What the APP server writes into status.json.
pub(crate) fn set(shared: &SharedDir, id: JobId, state: State) -> anyhow::Result<()> {
    let changed = shared.update_status(|queue| queue.advance(id, state, None).then_some(()))?;
    changed.context("the entry is there and behind")
}
