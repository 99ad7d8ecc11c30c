//! Carrying out one action: what it does to the world, and what that teaches the view.

use bcrlapi_cloud::{LastWords, StoreError};
use bcrlapi_directory::{Digest, DirectoryError, Published};
use bcrlapi_domain::{Job, JobId};
use bcrlapi_exchange::{Action, Due, Entry, Queue, QueueSeen, layout, render_request};
use chrono::{DateTime, TimeDelta, Utc};
use tokio::task::spawn_blocking;
use tokio_util::io::SyncIoBridge;

use crate::AgentError;
use crate::agent::Agent;

/// What an action has come to.
pub(crate) enum Effect {
    /// The cloud says this of a job now.
    Learned(Job),
    /// The cloud says this of a job now, after it was told what the job's program says.
    Reported(Job),
    /// This lab does not have the job, or no longer.
    Forgotten(JobId),
    /// The cloud does not know the job, or its row is damaged.
    IsForeign(JobId),
    /// The request file is there.
    Delivered(JobId),
    /// This queue is in place: by an exchange or by a rename, and surely on the disk or perhaps
    /// not.
    Published { queue: Queue, digest: Digest, by_exchange: bool, is_durable: bool },
    /// The response file is there again.
    Restored(JobId, DateTime<Utc>),
    /// What the displaced queue says is known.
    ReadDisplaced,
    /// The displaced queue is gone.
    Discarded(u64),
    /// What was seen is in the journal.
    Journaled,
    /// What was read is on the disk.
    Synced,
    /// The directory has been freed of what had expired.
    Pruned(DateTime<Utc>),
    /// Somebody else has written status.json meanwhile, of which the next look will know.
    Overtaken,
    /// A status.json that stayed broken is out of the way.
    Quarantined,
    /// There is no whole response yet.
    NoResponseYet(Due),
    /// The cloud knows that the lab is alive.
    HeartbeatRecorded(DateTime<Utc>),
}

impl Effect {
    /// What the cloud has answered about a job.
    pub(crate) fn learned(id: JobId, job: Option<Job>) -> Self {
        job.map_or(Self::Forgotten(id), Self::Learned)
    }
}

/// What a program has said last, to be told with its end: what it said a moment before is told
/// nowhere else.
pub(crate) struct SaidLast {
    progress: Option<u8>,
    message: Option<String>,
}

impl SaidLast {
    pub(crate) fn words(&self) -> LastWords<'_> {
        LastWords { progress: self.progress, message: self.message.as_deref() }
    }
}

/// What the cloud has answered about a job of which nothing was known.
pub(crate) fn asked(id: JobId, answer: Result<Option<Job>, StoreError>) -> Result<Effect, AgentError> {
    match answer {
        Ok(job) => Ok(job.map_or(Effect::IsForeign(id), Effect::Learned)),
        Err(error @ StoreError::Damaged { .. }) => {
            tracing::error!(%error, "leaving out a job");
            Ok(Effect::IsForeign(id))
        }
        Err(error) => Err(error.into()),
    }
}

/// One line for each job, however many are taken in one call.
pub(crate) fn log_take(id: JobId, taken: Option<&Job>) {
    tracing::info!(uuid = %id, taken = taken.is_some(), "take");
}

pub(crate) fn log_start(id: JobId, progress: Option<u8>) {
    tracing::info!(uuid = %id, progress, "processing");
}

impl Agent {
    pub(crate) async fn execute(&self, action: Action) -> Result<Effect, AgentError> {
        match action {
            Action::Take(id) => {
                let taken = self.store.take(id).await?;
                log_take(id, taken.as_ref());
                Ok(Effect::learned(id, taken))
            }
            Action::Ask(id) => asked(id, self.store.job(id).await),
            Action::Deliver(job) => self.deliver(job).await,
            Action::Publish(queue) => self.publish(queue).await,
            Action::Discard { number } => self.discard(number).await,
            Action::Restore(job) => self.restore(job).await,
            Action::Prune => {
                let (directory, now) = (self.directory.clone(), self.now());
                let removed = blocking(move || directory.prune(now)).await?;
                tracing::info!(removed, "removed the files of jobs whose week is over");
                Ok(Effect::Pruned(now))
            }
            Action::Quarantine => self.quarantine().await,
            Action::Report { id, progress, message } => {
                let job = self.store.report(id, progress, message.as_deref(), self.date_for(&[id])).await?;
                log_start(id, progress);
                Ok(job.map_or(Effect::Forgotten(id), Effect::Reported))
            }
            Action::Return { .. } => unreachable!("a response is uploaded beside the plan"),
            Action::Fail { id, error } => self.fail(id, &error).await,
            Action::Cancel(id) => self.cancel(id).await,
            Action::Lose(id) => self.lose(id).await,
            Action::Heartbeat(workload) => {
                let now = self.now();
                if let Some(lease) = &self.lease {
                    lease.renew(&self.store, workload).await?;
                }
                Ok(Effect::HeartbeatRecorded(now))
            }
        }
    }

    /// Takes the effect into the view; says whether another plan may come of it.
    pub(crate) fn apply(&mut self, effect: Effect) -> bool {
        match effect {
            Effect::Learned(job) => self.learn(job),
            Effect::Reported(job) => {
                let id = job.id;
                self.learn(job);
                self.view.has_reported(id, self.now());
            }
            Effect::IsForeign(id) => self.view.has_no_row(id),
            Effect::Forgotten(id) => self.view.forget(id),
            Effect::Delivered(id) => {
                self.metrics.has_delivered();
                if let Some(known) = self.view.jobs.get_mut(&id) {
                    known.has_request = true;
                }
            }
            Effect::Restored(id, now) => {
                if let Some(known) = self.view.jobs.get_mut(&id) {
                    known.see_response(Some(now), now);
                }
            }
            Effect::Published { queue, digest, by_exchange, is_durable } => {
                self.view.see_status(Ok(Some(queue)), self.now());
                self.status_read = Some(digest);
                if is_durable {
                    self.status_synced = Some(digest);
                }
                self.status_watch.has_published(digest);
                if !by_exchange && !self.has_warned_of_rename {
                    self.has_warned_of_rename = true;
                    tracing::warn!(
                        "this file system cannot exchange files: scripts that rewrite status.json must lock"
                    );
                }
            }
            Effect::Discarded(number) => {
                self.view.displaced.remove(&number);
                return false;
            }
            Effect::Pruned(now) => {
                self.view.last_prune = Some(now);
                return false;
            }
            Effect::HeartbeatRecorded(now) => {
                self.view.last_heartbeat = Some(now);
                return false;
            }
            Effect::Overtaken
            | Effect::NoResponseYet(_)
            | Effect::ReadDisplaced
            | Effect::Journaled
            | Effect::Synced => return false,
            Effect::Quarantined => {}
        }
        true
    }

    async fn deliver(&self, job: Job) -> Result<Effect, AgentError> {
        let id = job.id;
        let body = match self.store.read_request(id, &job.request).await {
            Ok(Some(body)) => body,
            Ok(None) => return self.undeliverable(&job, "the request's body is gone; submit it again").await,
            Err(error @ StoreError::Damaged { .. }) => {
                tracing::error!(%error, "cannot deliver");
                let reason = "the request's body was damaged in the cloud; submit it again";
                return self.undeliverable(&job, reason).await;
            }
            Err(error) => return Err(error.into()),
        };

        let Ok(content) = render_request(&job, &body, self.settings.offset) else {
            return self.undeliverable(&job, "the request's body is not JSON; submit it again").await;
        };

        let directory = self.directory.clone();
        let has_entry = matches!(&self.view.status, QueueSeen::Whole(queue) if queue.entry(id).is_some());
        let write = move || {
            directory.write_request(id, &content)?;
            // What was lost and comes back is published by nobody.
            if has_entry { directory.sync_requests() } else { Ok(()) }
        };
        blocking(write).await?;
        tracing::info!(uuid = %id, api = %job.api, "delivered");
        Ok(Effect::Delivered(id))
    }

    /// An open job without a good body fails. One that is done stays so: its body is only missed by a resync.
    async fn undeliverable(&self, job: &Job, reason: &str) -> Result<Effect, AgentError> {
        if job.state.is_done() {
            return Err(AgentError::Gone { id: job.id, what: "request" });
        }
        self.fail(job.id, reason).await
    }

    async fn restore(&self, job: Job) -> Result<Effect, AgentError> {
        let id = job.id;
        let gone = || AgentError::Gone { id, what: "response" };
        let expected = job.response.as_ref().ok_or_else(gone)?;
        let body = self.store.open_response(id, expected).await?.ok_or_else(gone)?;
        let (directory, body) = (self.directory.clone(), SyncIoBridge::new(Box::pin(body)));
        blocking(move || directory.write_response(id, body)).await?;
        tracing::info!(uuid = %id, bytes = expected.size_bytes, "restored the response");
        Ok(Effect::Restored(id, self.now()))
    }

    /// Removes a displaced queue, as long as it holds what was read of it.
    async fn discard(&self, number: u64) -> Result<Effect, AgentError> {
        let digest_read = self.displaced_read.get(&number).and_then(|(_, digest)| *digest);
        let directory = self.directory.clone();
        let is_gone = blocking(move || directory.discard_displaced(number, digest_read)).await?;
        Ok(if is_gone { Effect::Discarded(number) } else { Effect::Overtaken })
    }

    async fn publish(&self, queue: Queue) -> Result<Effect, AgentError> {
        let (directory, read) = (self.directory.clone(), self.status_read);
        let publish = move || {
            directory.sync_requests()?;
            let lock = directory.lock()?;
            directory.publish_status(&lock, read, &queue).map(|published| (published, queue))
        };

        let (published, queue) = blocking(publish).await?;
        match published {
            Published::InPlace { digest, exchanged, trouble } => {
                let is_durable = trouble.is_none();
                if let Some(error) = trouble {
                    tracing::warn!(%error, "status.json is in place, and then something failed");
                }
                Ok(Effect::Published { queue, digest, by_exchange: exchanged, is_durable })
            }
            Published::Overtaken => {
                tracing::info!("status.json was written meanwhile; looking at it again");
                Ok(Effect::Overtaken)
            }
        }
    }

    async fn quarantine(&self) -> Result<Effect, AgentError> {
        let (directory, read) = (self.directory.clone(), self.status_read);
        let kept = layout::status_corrupt(&self.now().format("%Y%m%dT%H%M%SZ").to_string());
        let name = kept.clone();
        if blocking(move || directory.quarantine_status(&directory.lock()?, read, &name)).await? {
            tracing::error!(kept, "status.json stayed broken: put it aside, and rebuilding it");
            return Ok(Effect::Quarantined);
        }
        // Somebody has repaired it meanwhile, or it is only too large.
        Ok(Effect::Overtaken)
    }

    async fn cancel(&self, id: JobId) -> Result<Effect, AgentError> {
        let job = self.store.record_canceled(id, self.date_for(&[id])).await?;
        tracing::info!(uuid = %id, "canceled");
        Ok(Effect::learned(id, job))
    }

    async fn lose(&self, id: JobId) -> Result<Effect, AgentError> {
        let error = lost(self.settings.lost_after);
        let job = self.store.lose(id, &error, self.date_for(&[id])).await?;
        tracing::warn!(uuid = %id, error, "given up as lost");
        Ok(Effect::learned(id, job))
    }

    /// What the queue says that the job's program has said last.
    pub(crate) fn said_last(&self, id: JobId) -> SaidLast {
        let entry = match &self.view.status {
            QueueSeen::Whole(queue) => queue.entry(id),
            QueueSeen::Missing | QueueSeen::Broken { .. } => None,
        };
        SaidLast { progress: entry.and_then(Entry::progress), message: entry.and_then(Entry::message) }
    }

    async fn fail(&self, id: JobId, error: &str) -> Result<Effect, AgentError> {
        let said_last = self.said_last(id);
        let job = self.store.fail(id, error, Some(said_last.words()), self.date_for(&[id])).await?;
        tracing::warn!(uuid = %id, error, "failed");
        Ok(Effect::learned(id, job))
    }
}

/// Why a job was given up, for its caller: the lab's people know the limit by the name of its flag.
fn lost(limit: Option<TimeDelta>) -> String {
    let limit = limit.and_then(|limit| limit.to_std().ok()).unwrap_or_default();
    let limit = humantime::format_duration(limit);
    format!("the program did not finish within the lab's time limit of {limit} (--lost-after)")
}

/// Work on files, away from the threads that wait for the network.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DirectoryError> + Send + 'static,
) -> Result<T, AgentError> {
    Ok(spawn_blocking(work).await.expect("file work does not panic")?)
}
