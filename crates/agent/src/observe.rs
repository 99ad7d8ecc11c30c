use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;
use std::time::SystemTime;

use bcrlapi_cloud::{JobStore, StoreError};
use bcrlapi_directory::{Fingerprint, Lock, SeenStatus, StatusWatch};
use bcrlapi_domain::{JobId, State};
use bcrlapi_exchange::{Entry, LabJob, QueueSeen};
use chrono::{DateTime, TimeDelta, Utc};

use crate::AgentError;
use crate::agent::Agent;
use crate::execute::{Effect, blocking};

/// How often the view is compared with all that the lab has taken, where nothing has failed.
const COMPARE_INTERVAL: TimeDelta = TimeDelta::seconds(60);
/// The name among the steps of reading a displaced queue.
pub(crate) const DISPLACED: &str = "displaced";
/// The most displaced queues that one look reads: many may have come while no agent was there.
const DISPLACED_READS: usize = 32;

/// What decides which of a job's files are looked at.
struct Known {
    id: JobId,
    is_open: bool,
    /// Whether the cloud knows, or something has ever shown, that it is further than pending.
    has_started: bool,
    /// What its entry said when the queue was last read.
    entry: Option<State>,
}

impl Known {
    /// Whether its program has not had its turn, as the queue says that was read just now or
    /// before, and nothing else has ever shown. Then it has written no response; and many may wait.
    fn waits(&self, queue: Option<&SeenStatus>) -> bool {
        let entry = match queue {
            None => self.entry,
            Some(seen) => seen.queue.as_ref().ok().and_then(|queue| queue.as_ref()?.entry(self.id)?.state()),
        };
        entry == Some(State::Pending) && !self.has_started
    }
}

/// What a look at the directory gave.
struct Seen {
    /// Of each job that is open, or of every job where the request files are listed: whether its request is there, and
    /// when its response was last written, but for those that wait.
    jobs: Vec<(JobId, bool, Option<SystemTime>)>,
    /// `None` where status.json is the one that the view holds.
    status: Option<SeenStatus>,
    status_watch: StatusWatch,
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
        // First the inbox: a job that is taken in between is then in one of the two answers, or in both.
        let inbox = self.store.inbox(self.now()).await?;
        // By the clock that has answered: what the view forgets must not go by the one of before.
        let now = self.keep_pace();

        // The cloud may have been away for so long that another agent has the lab: then nothing is
        // taken from here on.
        if let Some(lease) = &self.lease {
            lease.renew_if_stale(&self.store, self.view.workload()).await?;
        }

        self.view.inbox = inbox;
        let has_more = self.view.inbox.len() >= JobStore::INBOX_PAGE.into();
        self.compared_at = self.compared_at.map(|last| last.min(now));
        if !self.view.is_certain || self.compared_at.is_none_or(|last| now - last >= COMPARE_INTERVAL) {
            self.compare(now).await?;
            self.has_compared(now);
            self.shorten_journal().await;
        }
        self.is_cloud_away = false;
        self.forget_old(now);
        Ok(has_more)
    }

    /// Takes in all that the table has of the last week; from here on also what is done is brought back.
    pub(crate) async fn learn_history(&mut self) -> Result<(), StoreError> {
        for job in self.store.known_jobs(self.now()).await? {
            match job {
                Ok(job) => self.view.learn(job),
                Err(error) => tracing::error!(%error, "leaving out a job"),
            }
        }
        self.view.wants_history = true;
        self.has_compared(self.now());
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
        self.read_journal().await?;
        let seen = self.look_at_directory().await?;
        self.status_watch = seen.status_watch;
        let now = self.keep_pace();

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
            self.status_read = status.digest;
            self.view.see_status(status.queue, now);
            self.warn_of_unknown_words();
        }

        self.view.keep_time(now);
        self.has_new_folders |= seen.has_new_folders;
        self.observe_displaced(seen.displaced).await;
        Ok(())
    }

    async fn look_at_directory(&mut self) -> Result<Seen, AgentError> {
        let jobs: Vec<Known> = self.view.jobs.values().map(|known| self.known(known)).collect();
        // Should this look be dropped in the middle, the next one reads the file again.
        let mut status_watch = mem::take(&mut self.status_watch);
        let directory = self.directory.clone();
        let (held, is_list_due) = (Arc::clone(&self.lock), self.is_list_due);

        let look = move || {
            let has_new_folders = directory.make_folders()?;
            let is_locked = directory.is_locked_by(&held);
            let lock = if is_locked { None } else { Some(directory.lock_for_agent()?) };

            // Before status.json: what is displaced after this look may say more than what is read
            // now, and that would look like news where it is only newer.
            let displaced = directory.displaced()?;
            let status = directory.look_at_status(&mut status_watch)?;

            let is_missing = status.as_ref().is_some_and(|seen| matches!(seen.queue, Ok(None)));
            let is_list = is_missing || is_list_due;

            let looked_at: Vec<&Known> = jobs.iter().filter(|job| job.is_open || is_list).collect();
            let may_have_response = |job: &&&Known| !job.waits(status.as_ref());
            let with_response = looked_at.iter().filter(may_have_response).map(|job| job.id).collect();
            let responses = directory.response_dates(&with_response)?;
            let requests = directory.requests_of(looked_at.iter().map(|job| job.id))?;
            let files_of = |job: &&Known| (job.id, requests.contains(&job.id), responses.get(&job.id).copied());

            Ok(Seen {
                jobs: looked_at.iter().map(files_of).collect(),
                lock,
                requests: if is_list { Some(directory.requests()?) } else { None },
                displaced,
                has_new_folders,
                status,
                status_watch,
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
        let has_started = known.job.state != State::Pending || self.view.seen.contains_key(&id);
        Known { id, is_open: !known.job.state.is_done(), has_started, entry }
    }

    async fn observe_displaced(&mut self, there: Vec<(u64, Fingerprint)>) {
        let there = BTreeMap::from_iter(there);
        self.view.displaced.retain(|number, _| there.contains_key(number));
        self.displaced_read.retain(|number, _| there.contains_key(number));
        self.view.has_unread_displaced = false;

        let mut reads_left = DISPLACED_READS;
        for (number, fingerprint) in there {
            if self.displaced_read.get(&number).is_some_and(|(read, _)| *read == fingerprint) {
                continue;
            }
            if reads_left == 0 {
                self.view.has_unread_displaced = true;
                break;
            }
            let step = format!("{DISPLACED} {number}");
            if !self.may_try(&step) {
                self.view.has_unread_displaced = true;
                continue;
            }
            reads_left -= 1;
            let read = self.read_displaced(number, fingerprint).await;
            self.view.has_unread_displaced |= read.is_err();
            self.conclude(&step, read);
        }
    }

    /// Takes in what a displaced queue says, and of a broken one what is whole: somebody is just
    /// writing it, or it never was whole. One that is only too large is kept: it may have news.
    async fn read_displaced(&mut self, number: u64, fingerprint: Fingerprint) -> Result<Effect, AgentError> {
        let directory = self.directory.clone();
        let seen = blocking(move || directory.read_displaced(number)).await?;
        self.displaced_read.insert(number, (fingerprint, seen.digest));

        match seen.queue {
            Err(error) if error.is_only_large() => {
                tracing::error!(number, %error, "keeping a queue that was displaced: it may say what no other says");
            }
            queue => {
                // What is whole in a broken one counts all the same.
                let queue = queue.unwrap_or_else(|broken| Some(broken.into_salvaged()));
                let now = self.keep_pace();
                self.view.see_displaced(number, queue.as_ref(), now);
            }
        }
        Ok(Effect::ReadDisplaced)
    }

    /// Says once of each job what its script has written that nobody knows.
    fn warn_of_unknown_words(&mut self) {
        let QueueSeen::Whole(queue) = &self.view.status else { return };
        for known in self.view.jobs.values().filter(|known| !known.job.state.is_done()) {
            let id = known.job.id;
            let Some(word) = queue.entry(id).and_then(Entry::unknown_word) else { continue };
            if self.has_quoted.insert(id) {
                tracing::warn!(
                    uuid = %id,
                    status = word,
                    "this status is none of pending, processing, done, failed; reading it as processing"
                );
            }
        }
    }
}
