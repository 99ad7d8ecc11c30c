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

use crate::AgentError;
use crate::backoff::Backoff;
use crate::execute::Effect;
use crate::metrics::Metrics;
use crate::response;
use crate::step::Step;

/// The most steps of one plan that are under way at once.
const PARALLEL_STEPS: usize = 16;
/// The most jobs that one plan asks for or fetches the files of: what else there is to do must not wait for all of them.
const FETCHES_PER_PLAN: usize = 500;
/// The most responses that are uploaded at once.
const PARALLEL_UPLOADS: usize = 16;
/// The most plans that one round carries out: new jobs must not wait for a long recovery. One needs three: take,
/// deliver, publish.
const PLANS_PER_ROUND: u32 = 4;

/// Tells the time.
pub type Clock = fn() -> DateTime<Utc>;

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
pub struct Agent {
    pub(crate) store: JobStore,
    pub(crate) directory: SharedDir,
    /// Keeps other agents away, also from a directory that has come in this one's place.
    pub(crate) lock: Arc<Lock>,
    pub(crate) settings: Settings,
    /// What time it is, for everything but the pauses of the loop.
    pub(crate) clock: Clock,
    pub(crate) view: View,
    /// What status.json held when it was last looked at.
    pub(crate) watch: StatusWatch,
    /// Which status.json the view holds.
    pub(crate) status_read: Option<Digest>,
    /// What each displaced queue held when it was last looked at.
    pub(crate) displaced_read: BTreeMap<u64, (Fingerprint, Option<Digest>)>,
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
    backoff: Backoff,
    /// A response may take long to upload: nothing else waits for it.
    uploads: JoinSet<(JobId, String, Result<Effect, AgentError>)>,
    uploading: BTreeSet<JobId>,
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
            directory,
            lock,
            settings,
            clock,
            view: View::default(),
            watch: StatusWatch::default(),
            status_read: None,
            displaced_read: BTreeMap::new(),
            has_new_folders: false,
            is_list_due: true,
            has_warned_of_rename: false,
            compared_at: None,
            metrics: Metrics::default(),
            backoff: Backoff::default(),
            uploads: JoinSet::new(),
            uploading: BTreeSet::new(),
        })
    }

    /// Looks, plans and acts, until nothing moves or the round is long enough; says what is to be looked at without a
    /// pause, as there is more to do. A step that fails is logged and tried again later; it is an error only if it was
    /// not possible to look. The directory is looked at also while the cloud is away: what scripts write must not wait
    /// for it.
    pub async fn round(&mut self, look: Look) -> Result<Option<Look>, AgentError> {
        let looked = self.look_and_act(look).await;
        self.metrics.see(&self.view);
        match (look, &looked) {
            (Look::Everywhere, Ok(_)) => self.metrics.has_looked((self.clock)()),
            (Look::Directory, Ok(_)) => {}
            (_, Err(_)) => self.metrics.look_failed(),
        }
        looked
    }

    async fn look_and_act(&mut self, look: Look) -> Result<Option<Look>, AgentError> {
        let cloud = match look {
            Look::Everywhere => self.observe_cloud().await,
            Look::Directory => Ok(false),
        };
        let mut moves = self.compared_at.is_some();
        for _ in 0..PLANS_PER_ROUND {
            if moves {
                self.observe_directory().await?;
                moves = self.carry_out_plan().await;
            }
        }
        // New jobs that could not be taken are not asked for again and again.
        let has_more_new = cloud? && self.view.inbox.is_empty();
        Ok(if has_more_new { Some(Look::Everywhere) } else { moves.then_some(Look::Directory) })
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

    /// Waits for all uploads that are under way.
    pub async fn finish_uploads(&mut self) {
        while let Some(uploaded) = self.uploads.join_next().await {
            self.conclude_upload(uploaded);
        }
    }

    /// Carries out one plan; says whether anything moved, so that another look is worth while.
    async fn carry_out_plan(&mut self) -> bool {
        let now = (self.clock)();
        let mut actions = plan(&self.view, self.settings, now);
        self.assert_promise(&actions, now);
        actions.retain(|action| !self.backoff.holds_back(&action.to_string(), now));
        let (publish, mut others): (Vec<_>, Vec<_>) =
            actions.into_iter().partition(|action| matches!(action, Action::Publish(_)));
        let puts_off = limit_fetches(&mut others);
        if matches!(self.view.status, QueueSeen::Missing) {
            // A queue that is made anew waits for the request files that can be had: so it has the oldest job first.
            return self.carry_out(others).await || puts_off || self.carry_out(publish).await;
        }
        // What a publish displaces is to be looked at right after it, and not after a slow network has answered. Only
        // where it comes to nothing, the others do not wait for it.
        let replaced = self.status_read;
        self.carry_out(publish).await;
        self.status_read != replaced || self.carry_out(others).await || puts_off
    }

    /// Carries out these steps, several at once; says whether anything moved.
    async fn carry_out(&mut self, mut actions: Vec<Action>) -> bool {
        actions.retain(|action| match action {
            Action::Return { id, due } => {
                self.start_upload(*id, action.to_string(), *due);
                false
            }
            _ => true,
        });
        let agent = &*self;
        let has_failed = |action: &Action| agent.backoff.has_failed(&action.to_string());
        let steps = stream::iter(Step::of(actions, has_failed)).map(|step| step.execute(agent));
        let results: Vec<_> = steps.buffer_unordered(PARALLEL_STEPS).collect().await;
        let mut has_moved = false;
        for (name, result) in results.into_iter().flatten() {
            has_moved |= self.conclude(&name, result);
        }
        has_moved
    }

    /// Takes in what a step came to; says whether anything moved.
    fn conclude(&mut self, name: &str, result: Result<Effect, AgentError>) -> bool {
        match result {
            Ok(Effect::NoResponseYet(due)) => {
                // Before `done` it may stay so for long, and each look reads the whole file: the pause doubles. After
                // it, the response is due: the pause stays the shortest.
                if due != Due::Early {
                    self.backoff.succeeded(name);
                }
                self.backoff.failed(name.to_owned(), (self.clock)());
                false
            }
            Ok(effect) => {
                self.backoff.succeeded(name);
                self.apply(effect)
            }
            Err(error) => {
                tracing::warn!(step = name, %error, "a step failed; trying it again later");
                self.metrics.step_failed(name);
                self.backoff.failed(name.to_owned(), (self.clock)());
                // What fails in the directory changes nothing in the cloud.
                self.view.is_certain &= !matches!(error, AgentError::Store(_));
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

    fn start_upload(&mut self, id: JobId, step: String, due: Due) {
        if self.uploading.len() < PARALLEL_UPLOADS && self.uploading.insert(id) {
            let (store, directory, clock) = (self.store.clone(), self.directory.clone(), self.clock);
            let upload = async move { (id, step, response::give_back(&store, directory, id, due, clock).await) };
            self.uploads.spawn(upload);
        }
    }

    /// Takes in what the cloud says of a job; counts it, if it has come to its end by that.
    pub(crate) fn learn(&mut self, job: Job) {
        let was_open = self.view.jobs.get(&job.id).is_some_and(|known| !known.job.state.is_done());
        if let (true, State::Done(outcome)) = (was_open, job.state) {
            self.metrics.has_finished(outcome, job.response.as_ref());
        }
        self.view.learn(job);
    }

    /// Whether nothing is left to be brought back.
    pub(crate) fn has_everything(&self) -> bool {
        let is_whole = matches!(self.view.status, QueueSeen::Whole(_));
        is_whole && plan(&self.view, self.settings, (self.clock)()).is_empty()
    }

    /// Forgets what only old jobs needed.
    pub(crate) fn forget_old(&mut self, now: DateTime<Utc>) {
        self.view.jobs.retain(|id, _| !id.is_expired(now));
        self.view.foreign.retain(|id| !id.is_expired(now));
        self.backoff.forget_old(now);
    }
}

/// Leaves so many of the steps that bring something back that the others need not wait for long; says whether that
/// puts any off.
fn limit_fetches(actions: &mut Vec<Action>) -> bool {
    let mut fetches = 0;
    actions.retain(|action| {
        let is_fetch = matches!(action, Action::Ask(_) | Action::Deliver(_) | Action::Restore(_));
        fetches += usize::from(is_fetch);
        !is_fetch || fetches <= FETCHES_PER_PLAN
    });
    fetches > FETCHES_PER_PLAN
}
