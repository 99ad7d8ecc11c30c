use bcrlapi_cloud::JobStore;
use bcrlapi_directory::{Fingerprint, SharedDir};
use bcrlapi_exchange::{View, plan};
use chrono::{FixedOffset, Utc};
use futures::{StreamExt, stream};

use crate::AgentError;
use crate::execute::Effect;
use crate::taken_in::TakenIn;

/// The most steps that are under way at once.
const PARALLEL_ACTIONS: usize = 16;
/// The most plans that one round carries out. A new job needs three: take, deliver, publish.
const PLANS_PER_ROUND: u32 = 16;

/// What one round looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// The directory only: a file has changed.
    Directory,
    /// The cloud's inbox, then the directory.
    Everywhere,
}

/// The agent between two rounds.
pub(crate) struct Agent {
    pub(crate) store: JobStore,
    pub(crate) directory: SharedDir,
    pub(crate) offset: FixedOffset,
    pub(crate) view: View,
    /// Which status.json the view holds.
    pub(crate) status_read: Option<Fingerprint>,
    /// Which contents of status.json, of now and before, are in the view.
    pub(crate) taken_in: TakenIn,
    /// Whether the log has said that the file system cannot exchange files.
    pub(crate) has_warned_of_rename: bool,
    /// Whether the jobs that the lab had taken before this start are in the view.
    pub(crate) is_primed: bool,
}

impl Agent {
    pub(crate) fn new(store: JobStore, directory: SharedDir, offset: FixedOffset) -> Self {
        Self {
            store,
            directory,
            offset,
            view: View::default(),
            status_read: None,
            taken_in: TakenIn::default(),
            has_warned_of_rename: false,
            is_primed: false,
        }
    }

    /// Looks, plans and acts until nothing is left to do or nothing moves. Fails with the first step that failed,
    /// after the others were done.
    pub(crate) async fn round(&mut self, look: Look) -> Result<(), AgentError> {
        if look == Look::Everywhere || !self.is_primed {
            self.observe_cloud().await?;
        }
        for _ in 0..PLANS_PER_ROUND {
            self.observe_directory()?;
            if !self.carry_out_plan().await? {
                break;
            }
        }
        Ok(())
    }

    /// Carries out one plan; says whether anything moved, so that another look is worth while.
    async fn carry_out_plan(&mut self) -> Result<bool, AgentError> {
        let actions = plan(&self.view, self.offset, Utc::now());
        let agent = &*self;
        let execute = |action| async move { agent.execute(action).await };
        let effects: Vec<Result<Effect, AgentError>> =
            stream::iter(actions).map(execute).buffer_unordered(PARALLEL_ACTIONS).collect().await;
        let mut has_moved = false;
        let mut first_error = None;
        for effect in effects {
            match effect {
                Ok(effect) => has_moved |= self.apply(effect),
                Err(error) => drop(first_error.get_or_insert(error)),
            }
        }
        first_error.map_or(Ok(has_moved), Err)
    }
}
