use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bcrlapi_cloud::JobStore;
use bcrlapi_directory::{Digest, DirectoryError, Fingerprint, Lock, SharedDir, StatusWatch};
use bcrlapi_domain::{Job, JobId, State};
use bcrlapi_exchange::promise::Publish;
use bcrlapi_exchange::{Action, Due, QueueSeen, Settings, View, plan};
use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};
use tokio::task::{JoinError, JoinSet};

use crate::backoff::Backoff;
use crate::clock::Pace;
use crate::execute::{Effect, blocking};
use crate::lease::Lease;
use crate::metrics::Metrics;
use crate::response;
use crate::step::Step;
use crate::systemd::Systemd;
use crate::{AgentError, Clock};

/// The most steps of one plan that are under way at once.
const PARALLEL_STEPS: usize = 16;
/// The most jobs that one plan asks for or fetches the files of: what else there is to do must not wait for all of them.
const FETCHES_PER_PLAN: usize = 500;
/// The most responses that are uploaded at once.
const PARALLEL_UPLOADS: usize = 16;
/// The most plans that one round carries out: new jobs must not wait for a long recovery. One needs three: take,
/// deliver, publish.
const PLANS_PER_ROUND: u32 = 4;
/// The most publishes before everything else has its turn: where scripts write all the time, there
/// is always another.
const PUBLISHES_PER_PLAN: u32 = 2;

/// The name among the steps of making sure that what was read is on the disk.
pub(crate) const SYNC: &str = "sync";

/// What one round looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The directory only: a file has changed.
    Directory,
    /// The cloud's inbox, then the directory.
    Everywhere,
}

/// The agent between two rounds. May be dropped at any await: a new one goes on.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and none of them follows from another")]
pub struct Agent {
    pub(crate) store: JobStore,
    /// The right to serve the lab; `None` for a resync, which does not serve.
    pub(crate) lease: Option<Lease>,
    /// Why the agent may not go on.
    lost_lease: Option<AgentError>,
    pub(crate) directory: SharedDir,
    /// Keeps other agents away, also from a directory that has come in this one's place.
    pub(crate) lock: Arc<Lock>,
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pace: Pace,
    pub(crate) view: View,
    /// When status.json has to be read again.
    pub(crate) status_watch: StatusWatch,
    /// Which status.json the view holds.
    pub(crate) status_read: Option<Digest>,
    /// Which of those is known to be on the disk.
    pub(crate) status_synced: Option<Digest>,
    /// What each displaced queue was like when it was last read.
    pub(crate) displaced_read: BTreeMap<u64, (Fingerprint, Option<Digest>)>,
    /// Of which jobs the log has quoted a word that nobody knows.
    pub(crate) has_quoted: BTreeSet<JobId>,
    /// Whether the journal of the agent before has been read.
    pub(crate) has_read_journal: bool,
    /// Whether the last call to the cloud has failed: what the directory shows is then kept in the
    /// journal at once.
    pub(crate) is_cloud_away: bool,
    /// Whether there are folders that nobody watches yet.
    pub(crate) has_new_folders: bool,
    /// Whether the next look lists the request files.
    pub(crate) is_list_due: bool,
    /// Whether the log has said that the file system cannot exchange files.
    pub(crate) has_warned_of_rename: bool,
    /// When the view was last compared with all that the lab has taken: before the first time, a queue that is missing
    /// cannot be made again.
    pub(crate) compared_at: Option<DateTime<Utc>>,
    /// What others may know of all this.
    pub(crate) metrics: Metrics,
    /// Who restarts an agent that comes no further.
    pub(crate) systemd: Systemd,
    backoff: Backoff,
    /// A response may take long to upload: nothing else waits for it.
    uploads: JoinSet<(JobId, String, Result<Effect, AgentError>)>,
    pub(crate) uploading: BTreeSet<JobId>,
}

/// What an upload that has ended came to.
pub(crate) type Uploaded = Result<(JobId, String, Result<Effect, AgentError>), JoinError>;

impl Agent {
    /// The one agent of this directory, which has not looked at anything yet. Fails if there is another.
    pub fn new(
        store: JobStore,
        directory: SharedDir,
        settings: Settings,
        clock: Clock,
    ) -> Result<Self, DirectoryError> {
        let lock = Arc::new(directory.lock_for_agent()?);
        Ok(Self {
            store,
            lease: None,
            lost_lease: None,
            directory,
            lock,
            settings,
            clock,
            pace: Pace::default(),
            view: View::default(),
            status_watch: StatusWatch::default(),
            status_read: None,
            status_synced: None,
            displaced_read: BTreeMap::new(),
            has_quoted: BTreeSet::new(),
            has_read_journal: false,
            is_cloud_away: false,
            has_new_folders: false,
            is_list_due: true,
            has_warned_of_rename: false,
            compared_at: None,
            metrics: Metrics::default(),
            systemd: Systemd::default(),
            backoff: Backoff::default(),
            uploads: JoinSet::new(),
            uploading: BTreeSet::new(),
        })
    }

    /// Gives it the right to serve its lab; without one, nobody is asked whether the lab is another
    /// agent's.
    pub fn serve_under(&mut self, lease: Lease) {
        self.lease = Some(lease);
    }

    /// Looks, plans and acts, until nothing moves or the round is long enough; says what is to be looked at without a
    /// pause, as there is more to do. A step that fails is logged and tried again later; it is an error only if it was
    /// not possible to look. The directory is looked at also while the cloud is away: what scripts write must not wait
    /// for it.
    pub async fn round(&mut self, look: Look) -> Result<Option<Look>, AgentError> {
        let looked = self.look_and_act(look).await;
        self.metrics.see(&self.view);
        self.metrics.see_clock(self.clock.ahead(&self.store));
        match (look, &looked) {
            (Look::Everywhere, Ok(_)) => self.metrics.has_looked(self.now()),
            (Look::Directory, Ok(_)) => {}
            (_, Err(_)) => self.metrics.look_failed(),
        }
        // Whatever else was found: another agent serves the lab now.
        self.lost_lease.take().map_or(looked, Err)
    }

    async fn look_and_act(&mut self, look: Look) -> Result<Option<Look>, AgentError> {
        let cloud = match look {
            Look::Everywhere => self.observe_cloud().await,
            Look::Directory => Ok(false),
        };
        if matches!(cloud, Err(AgentError::HeldByAnother { .. })) {
            // The lab is another's: nothing is taken, handed out or published here any more.
            return cloud.map(|_| None);
        }
        self.is_cloud_away |= cloud.is_err();

        let mut moves = true;
        for _ in 0..PLANS_PER_ROUND {
            if moves && self.lost_lease.is_none() {
                self.systemd.beat();
                self.conclude_uploads();
                self.observe_directory().await?;
                moves = self.carry_out_plan().await?;
            }
        }

        // New jobs that could not be taken are not asked for again and again.
        let has_more_new = cloud? && self.view.inbox.is_empty();
        Ok(if has_more_new { Some(Look::Everywhere) } else { moves.then_some(Look::Directory) })
    }

    /// What time it is.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now(&self.store)
    }

    /// What time it is, for all that the view dates and decides. Where it has leapt, what began
    /// before has lasted no longer for it.
    pub(crate) fn keep_pace(&mut self) -> DateTime<Utc> {
        let now = self.now();
        let leap = self.pace.leap(now, (self.clock.awake)());
        self.view.clock_has_leapt(leap);
        now
    }

    /// The date of what happens to these jobs now. It is never before what has happened to one of
    /// them: that was dated by another clock, and the cloud's is known to a second only.
    pub(crate) fn date_for(&self, ids: &[JobId]) -> DateTime<Utc> {
        let requested = ids.iter().map(|id| id.request_date());
        let started = ids.iter().filter_map(|id| self.view.jobs.get(id)?.job.start_date);
        requested.chain(started).fold(self.now(), DateTime::max)
    }

    /// Waits for the next upload to end; for ever, if there is none.
    pub(crate) async fn next_upload(&mut self) -> Uploaded {
        match self.uploads.join_next().await {
            Some(uploaded) => uploaded,
            None => std::future::pending().await,
        }
    }

    /// Takes in what an upload came to.
    pub(crate) fn conclude_upload(&mut self, uploaded: Uploaded) {
        let (id, step, result) = uploaded.expect("an upload neither panics nor is aborted while somebody waits for it");
        self.uploading.remove(&id);
        self.conclude(&step, result);
    }

    /// Takes in what the uploads that have ended meanwhile came to: where files change all the
    /// time, they would wait for a round each.
    fn conclude_uploads(&mut self) {
        while let Some(uploaded) = self.uploads.try_join_next() {
            self.conclude_upload(uploaded);
        }
    }

    /// Waits for all uploads that are under way.
    pub async fn finish_uploads(&mut self) {
        while let Some(uploaded) = self.uploads.join_next().await {
            self.conclude_upload(uploaded);
        }
    }

    /// Carries out one plan; says whether anything moved, so that another look is worth while.
    async fn carry_out_plan(&mut self) -> Result<bool, AgentError> {
        // Before the first comparison nothing is known of the jobs; what runs is remembered all the
        // same.
        if self.compared_at.is_none() {
            self.write_journal().await;
            return Ok(false);
        }

        let (mut publish, mut others) = self.plan();
        let mut has_moved = false;
        if matches!(self.view.status, QueueSeen::Missing) {
            // A queue that is made anew waits for the request files that can be had: so it has the
            // oldest job first.
            has_moved = self.carry_out_others(others).await;
            if !has_moved {
                has_moved = self.carry_out(publish).await;
            }
            return Ok(has_moved);
        }

        // What a publish displaces is looked at right after it, and not after a slow network has
        // answered.
        for _ in 0..PUBLISHES_PER_PLAN {
            if publish.is_empty() {
                break;
            }
            has_moved |= self.carry_out(publish).await;
            self.observe_directory().await?;
            (publish, others) = self.plan();
        }
        has_moved |= self.carry_out_others(others).await;
        Ok(has_moved)
    }

    /// What is to be done now: what is to be published, and everything else.
    fn plan(&mut self) -> (Vec<Action>, Vec<Action>) {
        let now = self.keep_pace();
        let mut actions = plan(&self.view, self.settings, now);
        self.assert_promise(&actions, now);
        actions.retain(|action| !self.backoff.holds_back(action, now));
        actions.into_iter().partition(|action| matches!(action, Action::Publish(_)))
    }

    /// Carries out everything but publishes; says whether anything moved. What was seen and cannot
    /// be told is written to the journal: at once where it is known that the cloud is away, and
    /// else only if telling it has failed.
    async fn carry_out_others(&mut self, mut actions: Vec<Action>) -> bool {
        if self.is_cloud_away {
            self.write_journal().await;
        }
        if self.is_cloud_away && self.lease.is_some() {
            // The cloud may be back, and the lab another's by now: the next look into the inbox tells.
            actions.retain(|action| !matches!(action, Action::Take(_) | Action::Deliver(_)));
        }
        let puts_off = limit_fetches(&mut actions);
        if actions.iter().any(Action::tells_of_the_queue) && !self.sync_status().await {
            actions.retain(|action| !action.tells_of_the_queue());
        }
        let has_moved = self.carry_out(actions).await;
        self.write_journal().await;
        has_moved || puts_off
    }

    /// Makes sure that the queue that was read is on the disk; says whether it is. Else a power cut
    /// might leave a job pending in the lab whose start the cloud knows.
    async fn sync_status(&mut self) -> bool {
        if self.status_synced == self.status_read {
            return true;
        }
        if !self.may_try(SYNC) {
            return false;
        }
        let (directory, read) = (self.directory.clone(), self.status_read);
        let synced = blocking(move || directory.sync_status()).await;
        if synced.is_ok() {
            self.status_synced = read;
        }
        self.conclude(SYNC, synced.map(|()| Effect::Synced));
        self.status_synced == read
    }

    /// Carries out these steps, several at once; says whether anything moved.
    async fn carry_out(&mut self, actions: Vec<Action>) -> bool {
        let (uploads, actions): (Vec<_>, Vec<_>) =
            actions.into_iter().partition(|action| matches!(action, Action::Return { .. }));
        for upload in uploads {
            self.start_upload(&upload);
        }

        let agent = &*self;
        let has_failed = |action: &Action| agent.backoff.has_failed(action);
        let steps = stream::iter(Step::of(actions, has_failed)).map(|step| step.execute(agent));
        // Each has a limit of its own, and all of them together may take longer than any watchdog waits.
        let steps = steps.buffer_unordered(PARALLEL_STEPS).inspect(|_| agent.systemd.beat());
        let results: Vec<_> = steps.collect().await;

        let mut has_moved = false;
        for (name, result) in results.into_iter().flatten() {
            has_moved |= self.conclude(&name, result);
        }
        has_moved
    }

    /// Takes in what a step came to; says whether anything moved.
    pub(crate) fn conclude(&mut self, name: &str, result: Result<Effect, AgentError>) -> bool {
        match result {
            Ok(Effect::NoResponseYet(due)) => {
                // Before `done` it may stay so for long, and each look reads the whole file: the pause doubles. After
                // it, the response is due: the pause stays the shortest.
                if due != Due::Early {
                    self.backoff.succeeded(name);
                }
                self.backoff.failed(name.to_owned(), self.now());
                false
            }
            Ok(effect) => {
                self.backoff.succeeded(name);
                self.apply(effect)
            }
            Err(error @ AgentError::HeldByAnother { .. }) => {
                self.lost_lease = Some(error);
                false
            }
            Err(error) => {
                tracing::warn!(step = name, %error, "a step failed; trying it again later");
                self.metrics.step_failed(name);
                self.backoff.failed(name.to_owned(), self.now());
                // What fails in the directory changes nothing in the cloud.
                if matches!(error, AgentError::Store(_)) {
                    self.view.is_certain = false;
                    self.is_cloud_away = true;
                }
                false
            }
        }
    }

    /// Holds what is about to be published against the promise, in builds with debug assertions.
    fn assert_promise(&self, actions: &[Action], now: DateTime<Utc>) {
        for action in actions {
            if let Action::Publish(queue) = action {
                debug_assert_eq!(Publish { view: &self.view, queue, now }.broken_rule(), None);
            }
        }
    }

    /// Whether a step that keeps failing may be tried again.
    pub(crate) fn may_try(&self, name: &str) -> bool {
        !self.backoff.holds_back(name, self.now())
    }

    fn start_upload(&mut self, action: &Action) {
        let &Action::Return { id, due } = action else { return };
        if self.uploading.len() >= PARALLEL_UPLOADS || !self.uploading.insert(id) {
            return;
        }
        let (store, directory, clock, step) =
            (self.store.clone(), self.directory.clone(), self.clock, action.to_string());
        let (said_last, not_before) = (self.said_last(id), self.date_for(&[id]));
        let known = self.view.jobs.get(&id);
        let is_overdue = known.is_some_and(|known| known.is_overdue(self.settings.lost_after, self.now()));
        self.uploads.spawn(async move {
            let now = || clock.now(&store).max(not_before);
            let result = response::give_back(&store, directory, id, due, is_overdue, said_last, now).await;
            (id, step, result)
        });
    }

    /// Takes in what the cloud says of a job; counts it, if it has come to its end by that.
    pub(crate) fn learn(&mut self, job: Job) {
        let was_open = self.view.jobs.get(&job.id).is_some_and(|known| !known.job.state.is_done());
        if let (true, State::Done(outcome)) = (was_open, job.state) {
            self.metrics.has_finished(outcome, job.response.as_ref());
            if let Some(lease) = &self.lease {
                lease.count_end(outcome);
            }
        }
        self.view.learn(job);
    }

    /// Whether nothing is left to be brought back.
    pub(crate) fn has_everything(&self) -> bool {
        let is_whole = matches!(self.view.status, QueueSeen::Whole(_));
        is_whole && plan(&self.view, self.settings, self.now()).is_empty()
    }

    /// Forgets what only old jobs needed.
    pub(crate) fn forget_old(&mut self, now: DateTime<Utc>) {
        self.view.forget_old(now);
        self.has_quoted.retain(|id| !id.is_expired(now));
        self.backoff.forget_old(now);
    }
}

/// Leaves so many of the steps that bring something back that the others need not wait for long; says whether that
/// puts any off.
fn limit_fetches(actions: &mut Vec<Action>) -> bool {
    let is_fetch = |action: &Action| matches!(action, Action::Ask(_) | Action::Deliver(_) | Action::Restore(_));
    let (mut fetches, others): (Vec<_>, Vec<_>) = actions.drain(..).partition(is_fetch);
    let puts_off = fetches.len() > FETCHES_PER_PLAN;
    fetches.truncate(FETCHES_PER_PLAN);
    actions.extend(fetches.into_iter().chain(others));
    puts_off
}
