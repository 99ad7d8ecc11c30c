use std::mem;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bcrlapi_cloud::JobStore;
use bcrlapi_directory::{DirectoryError, SharedDir};
use bcrlapi_exchange::{REMOTE_RESPONSE_GRACE, RESPONSE_GRACE, Settings, Workload};
use chrono::{DateTime, FixedOffset, SecondsFormat, TimeDelta, Utc};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::agent::{Agent, Look};
use crate::backoff::pause_between_rounds;
use crate::lease::{Lease, place_of};
use crate::metrics;
use crate::systemd::Systemd;
use crate::wake::FileEvents;
use crate::{AgentError, Clock};

/// The shortest pause between two looks at the directory, however often files change.
const EVENT_PAUSE: Duration = Duration::from_millis(10);
/// How long a round and its uploads may go on after a stop was asked for. Dropping them then loses nothing.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// How long a job may be processing where nothing else is said. Programs take minutes (source: the
/// specification); what runs for hours has been killed, hangs, or belongs to a lab that says so.
pub const LOST_AFTER: TimeDelta = TimeDelta::hours(6);

/// The agent's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The shared directory.
    pub shared: PathBuf,
    /// The pause between two looks into the cloud's inbox.
    pub poll: Duration,
    /// The lab's offset from UTC, for the dates in its files.
    pub utc_offset: FixedOffset,
    /// Where the metrics are served, if anywhere.
    pub metrics: Option<SocketAddr>,
    /// How long a job may be processing before it is given up as lost, as [`LOST_AFTER`]; for its
    /// whole week, if `None`.
    pub lost_after: Option<TimeDelta>,
}

impl Config {
    /// What the lab has decided for itself, in this directory.
    pub(crate) fn settings(&self, directory: &SharedDir) -> Settings {
        let response_grace = if directory.is_remote() { REMOTE_RESPONSE_GRACE } else { RESPONSE_GRACE };
        Settings { offset: self.utc_offset, lost_after: self.lost_after, response_grace }
    }
}

/// Runs until `stop` is cancelled. Whatever fails is logged and tried again; only a directory that
/// cannot be opened at the start, another agent on it or in the lab's row, and metrics that cannot
/// be served are errors.
pub async fn run(config: &Config, store: JobStore, stop: CancellationToken) -> Result<(), AgentError> {
    let directory = SharedDir::open(&config.shared)?;
    let settings = config.settings(&directory);
    let mut agent = Agent::new(store, directory, settings, Clock::SYSTEM)?;
    if let Some(address) = config.metrics {
        let of_metrics = agent.store.clone();
        let now = move || Clock::SYSTEM.now(&of_metrics);
        metrics::serve(address, agent.metrics.clone(), now, stop.clone()).await?;
    }
    let systemd = Systemd::from_env();
    agent.systemd = systemd.clone();
    systemd.is_starting(
        "asking whether another agent serves this lab; may wait 3 minutes for one that was killed elsewhere",
    );

    let (place, lock) = (place_of(&config.shared), Arc::clone(&agent.lock));
    let Some(lease) = Lease::acquire(&agent.store, place, lock, Clock::SYSTEM, &stop).await? else {
        return Ok(());
    };
    agent.serve_under(lease);
    tracing::info!(shared = %config.shared.display(), poll = ?config.poll, "agent started");

    let ended = tokio::select! {
        ended = keep_in_sync(&mut agent, config, &stop) => ended,
        () = give_up_after(&stop, &systemd) => Ok(()),
    };

    if let Some(lease) = agent.lease.take() {
        lease.release(&agent.store).await;
    }
    tracing::info!("agent stopped");
    ended
}

/// Ends when a stop was asked for and has taken long enough.
async fn give_up_after(stop: &CancellationToken, systemd: &Systemd) {
    stop.cancelled().await;
    systemd.is_stopping("stopping: finishing what is under way");
    sleep(STOP_GRACE).await;
}

async fn keep_in_sync(agent: &mut Agent, config: &Config, stop: &CancellationToken) -> Result<(), AgentError> {
    let poll = config.poll;
    let mut said = Said::default();
    let mut events = FileEvents::watch(&agent.directory).await;
    let mut look = Look::Everywhere;
    let mut next_poll = Instant::now();
    let mut failures = 0;
    let mut is_directory_away = false;
    while !stop.is_cancelled() {
        if look == Look::Everywhere {
            next_poll = Instant::now() + poll;
        }
        let mut moves = false;
        match agent.round(look).await {
            Ok(more) => {
                moves = more == Some(Look::Directory);
                if more == Some(Look::Everywhere) {
                    // Not only the next look: a file that changes first must not make it forgotten.
                    next_poll = Instant::now() + EVENT_PAUSE;
                }
                if look == Look::Everywhere {
                    (failures, is_directory_away) = (0, false);
                    said = Said { last_look: Some(agent.now()), trouble: None };
                }
            }
            Err(error @ (AgentError::Directory(DirectoryError::SecondAgent(_)) | AgentError::HeldByAnother { .. })) => {
                return Err(error);
            }
            Err(error) => {
                failures += 1;
                is_directory_away = matches!(error, AgentError::Directory(_));
                next_poll = Instant::now() + pause_between_rounds(failures).max(poll);
                tracing::warn!(%error, failures, "cannot look; trying again");
                said.trouble = Some(error.to_string());
            }
        }
        // After a look that has failed, too: no boot waits for the internet, and no `systemctl start` for the right keys.
        if !stop.is_cancelled() {
            agent.systemd.is_serving(|| said.line(config, agent.view.workload()));
        }
        if mem::take(&mut agent.has_new_folders) {
            events = FileEvents::watch(&agent.directory).await;
        }
        look = tokio::select! {
            () = stop.cancelled() => break,
            () = sleep_until(next_poll) => Look::Everywhere,
            uploaded = agent.next_upload() => {
                agent.conclude_upload(uploaded);
                Look::Directory
            }
            () = sleep(EVENT_PAUSE), if moves => Look::Directory,
            () = events.changed(), if !is_directory_away => {
                sleep(EVENT_PAUSE).await;
                Look::Directory
            }
        };
    }
    // One last look, so that what has just been done in the lab is told.
    if let Err(error) = agent.round(Look::Directory).await {
        tracing::warn!(%error, "cannot look once more");
    }
    agent.finish_uploads().await;
    Ok(())
}

/// What `systemctl status` says of the last looks.
#[derive(Default)]
struct Said {
    /// When cloud and directory were last looked at with success.
    last_look: Option<DateTime<Utc>>,
    /// Why the look after that has failed.
    trouble: Option<String>,
}

impl Said {
    fn line(&self, config: &Config, workload: Workload) -> String {
        let last_look = match self.last_look {
            Some(date) => date.with_timezone(&config.utc_offset).to_rfc3339_opts(SecondsFormat::Secs, true),
            None => "never".to_owned(),
        };
        if let Some(trouble) = &self.trouble {
            return format!("cannot look, trying again (last look: {last_look}): {trouble}");
        }

        let Workload { pending, processing, .. } = workload;
        let shared = config.shared.display();
        format!("serving {shared}: {pending} pending, {processing} processing (last look: {last_look})")
    }
}
