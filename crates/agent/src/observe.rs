use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use bcrlapi_cloud::{JobStore, StoreError};
use bcrlapi_directory::{DirectoryError, Fingerprint, ListedResponse, Lock, SeenStatus, SharedDir, StatusWatch};
use bcrlapi_domain::{JobId, State};
use bcrlapi_exchange::{Entry, LabJob, QueueSeen};
use chrono::{DateTime, TimeDelta, Utc};

use crate::AgentError;
use crate::agent::Agent;
use crate::execute::blocking;

/// How often the view is compared with all that the lab has taken, where nothing has failed.
const COMPARE_INTERVAL: TimeDelta = TimeDelta::seconds(60);
/// The most displaced queues that one look reads: many may have come while no agent was there.
const DISPLACED_READS: usize = 32;

/// What decides which of a job's files are looked at.
struct Known {
    id: JobId,
    is_open: bool,
    may_be_asked_back: bool,
    /// What its entry said when the queue was last read.
    entry: Option<State>,
}

impl Known {
    /// Whether its program has not had its turn, as the cloud says, and the queue that was read just now or before. Then
    /// it has written no response; and many may wait. The entry alone may be what a script has put back.
    fn waits(&self, queue: Option<&SeenStatus>) -> bool {
        let entry = match queue {
            None => self.entry,
            Some(seen) => seen.queue.as_ref().ok().and_then(|queue| queue.as_ref()?.entry(self.id)?.state()),
        };
        entry == Some(State::Pending) && self.may_be_asked_back
    }
}

/// What a look at the directory gave.
struct Seen {
    /// Of each job that is open, or of every job where the request files are listed: whether its request is there, and
    /// when its response was last written, but for those that wait.
    jobs: Vec<(JobId, bool, Option<SystemTime>)>,
    /// `None` where status.json is the one that the view holds.
    status: Option<SeenStatus>,
    watch: StatusWatch,
    /// The jobs whose request files are there, if they were listed.
    requests: Option<BTreeSet<JobId>>,
    /// A new lock, where another directory has come in the place of the one that was locked.
    lock: Option<Lock>,
    displaced: Vec<(u64, Fingerprint)>,
    has_new_folders: bool,
}

impl Agent {
    /// Asks the cloud what waits for this lab, and now and then whether the view still holds all that the lab has
    /// taken. Says whether more may wait than was answered.
    pub(crate) async fn observe_cloud(&mut self) -> Result<bool, AgentError> {
        let now = (self.clock)();
        // First the inbox: a job that is taken in between is then in one of the two answers, or in both.
        self.view.inbox = self.store.inbox(now).await?;
        let has_more = self.view.inbox.len() >= JobStore::INBOX_PAGE.into();
        self.compared_at = self.compared_at.map(|last| last.min(now));
        if !self.view.is_certain || self.compared_at.is_none_or(|last| now - last >= COMPARE_INTERVAL) {
            self.compare(now).await?;
            self.has_compared(now);
        }
        self.forget_old(now);
        Ok(has_more)
    }

    /// Takes in all that the table has of the last week; from here on also what is done is brought back.
    pub(crate) async fn learn_history(&mut self) -> Result<(), StoreError> {
        for job in self.store.known_jobs((self.clock)()).await? {
            match job {
                Ok(job) => self.view.learn(job),
                Err(error) => tracing::error!(%error, "leaving out a job"),
            }
        }
        self.view.wants_history = true;
        self.has_compared((self.clock)());
        Ok(())
    }

    fn has_compared(&mut self, now: DateTime<Utc>) {
        self.compared_at = Some(now);
        (self.view.is_certain, self.is_list_due) = (true, true);
    }

    /// Reads the rows of the taken jobs that the view lacks (after a start, or after a step whose answer was lost), and
    /// of the open jobs of the view that are not among the taken ones.
    async fn compare(&mut self, now: DateTime<Utc>) -> Result<(), AgentError> {
        let taken = BTreeSet::from_iter(self.store.taken_jobs(now).await?);
        let open = self.view.jobs.values().filter(|known| !known.job.state.is_done()).map(|known| known.job.id);
        let in_doubt: Vec<JobId> = taken.symmetric_difference(&open.collect()).copied().collect();

        let mut outcome = Ok(());
        for (id, row) in self.store.jobs(&in_doubt).await {
            match row {
                Ok(Some(job)) => self.learn(job),
                Ok(None) => self.view.forget(id),
                Err(error @ StoreError::Damaged { .. }) => tracing::error!(%error, "leaving out a job"),
                // Those that were read are not in doubt again: also on a bad wire there are fewer each time.
                Err(error) => outcome = Err(error.into()),
            }
        }
        outcome
    }

    /// Looks at the files; reads those that somebody has written since they were last read.
    pub(crate) async fn observe_directory(&mut self) -> Result<(), AgentError> {
        let seen = self.look_at_directory().await?;
        let now = (self.clock)();
        self.watch = seen.watch;
        for (id, has_request, response_date) in seen.jobs {
            if let Some(known) = self.view.jobs.get_mut(&id) {
                known.has_request = has_request;
                known.see_response(response_date.map(DateTime::from), now);
            }
        }
        if let Some(requests) = seen.requests {
            self.view.requests = requests;
            self.is_list_due = false;
        }
        if let Some(lock) = seen.lock {
            tracing::warn!("another directory has come in the place of the one that was served; serving this one");
            self.lock = Arc::new(lock);
            self.has_new_folders = true;
        }
        if let Some(status) = seen.status {
            if let Err(error) = &status.queue {
                tracing::warn!(%error, "cannot read status.json; somebody may be writing it just now");
            }
            self.view.see_status(status.queue, now);
            self.warn_of_unknown_words();
            self.status_read = status.digest;
        }
        self.view.keep_time(now);
        self.has_new_folders |= seen.has_new_folders;
        self.observe_displaced(seen.displaced).await;
        Ok(())
    }

    async fn look_at_directory(&mut self) -> Result<Seen, AgentError> {
        let jobs: Vec<Known> = self.view.jobs.values().map(|known| self.known(known)).collect();
        let directory = self.directory.clone();
        // Where the look fails or is dropped, the next one reads everything.
        let mut watch = std::mem::take(&mut self.watch);
        let (held, is_list_due) = (Arc::clone(&self.lock), self.is_list_due);
        let look = move || {
            let has_new_folders = directory.make_folders()?;
            let is_locked = directory.is_locked_by(&held);
            let lock = if is_locked { None } else { Some(directory.lock_for_agent()?) };
            let status = directory.look_at_status(&mut watch)?;
            let is_list = watch.digest().is_none() || is_list_due;
            let looked_at: Vec<&Known> = jobs.iter().filter(|job| job.is_open || is_list).collect();
            let dates = response_dates(&directory, &looked_at, status.as_ref())?;
            let files_of = |job: &&Known| {
                let date = dates.get(&job.id).and_then(|response| response.date());
                (job.id, directory.has_request(job.id), date)
            };
            Ok(Seen {
                jobs: looked_at.iter().map(files_of).collect(),
                status,
                watch,
                lock,
                requests: if is_list { Some(directory.requests()?) } else { None },
                displaced: directory.displaced()?,
                has_new_folders,
            })
        };
        blocking(look).await
    }

    fn known(&self, known: &LabJob) -> Known {
        let id = known.job.id;
        let entry = match &self.view.status {
            QueueSeen::Whole(queue) => queue.entry(id).and_then(Entry::state),
            QueueSeen::Missing | QueueSeen::Broken { .. } => None,
        };
        Known { id, is_open: !known.job.state.is_done(), may_be_asked_back: known.may_be_asked_back(), entry }
    }

    async fn observe_displaced(&mut self, there: Vec<(u64, Fingerprint)>) {
        let there = BTreeMap::from_iter(there);
        self.view.displaced.retain(|inode, _| there.contains_key(inode));
        self.displaced_read.retain(|inode, _| there.contains_key(inode));
        self.view.has_unread_displaced = false;
        let mut reads_left = DISPLACED_READS;
        for (inode, content) in there {
            match self.displaced_read.get(&inode) {
                Some((read, _)) if *read == content => {}
                _ if reads_left == 0 => self.view.has_unread_displaced = true,
                _ => {
                    reads_left -= 1;
                    match self.read_displaced(inode).await {
                        Ok(read) => {
                            self.displaced_read.insert(inode, (content, read.digest));
                            self.view.see_displaced(inode, read.queue.ok().flatten(), (self.clock)());
                        }
                        Err(error) => {
                            tracing::warn!(%error, "cannot read a queue that was displaced; trying again");
                            self.view.has_unread_displaced = true;
                        }
                    }
                }
            }
        }
    }

    /// What a displaced queue says; nothing where it is broken: it is being written just now, or never was whole.
    async fn read_displaced(&self, inode: u64) -> Result<SeenStatus, AgentError> {
        let directory = self.directory.clone();
        blocking(move || directory.read_displaced(inode)).await
    }

    /// A script that writes another word than the three would wait for ever.
    fn warn_of_unknown_words(&self) {
        let QueueSeen::Whole(queue) = &self.view.status else { return };
        for known in self.view.jobs.values().filter(|known| !known.job.state.is_done()) {
            let id = known.job.id;
            if queue.entry(id).is_some_and(|entry| entry.state().is_none()) {
                tracing::warn!(uuid = %id, "the status in status.json is none of pending, processing, done, failed");
            }
        }
    }
}

/// The responses of these jobs, but for those whose programs have not had their turn.
fn response_dates(
    directory: &SharedDir,
    jobs: &[&Known],
    status: Option<&SeenStatus>,
) -> Result<BTreeMap<JobId, ListedResponse>, DirectoryError> {
    let asked: BTreeSet<JobId> = jobs.iter().filter(|job| !job.waits(status)).map(|job| job.id).collect();
    if asked.is_empty() {
        return Ok(BTreeMap::new());
    }
    directory.response_dates(|id| asked.contains(&id))
}
