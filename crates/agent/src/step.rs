//! What is done with one call: an action, or the same action for many jobs.

use bcrlapi_cloud::{JobStore, StoreError};
use bcrlapi_domain::{Job, JobId};
use bcrlapi_exchange::Action;

use crate::AgentError;
use crate::agent::Agent;
use crate::execute::Effect;

/// One action, or some that the cloud takes together.
pub(crate) enum Step {
    One(Action),
    Take(Vec<JobId>),
    /// Reports of programs that have just started and say nothing of themselves.
    Start(Vec<JobId>),
}

/// An action's name, and what it came to.
type Concluded = (String, Result<Effect, AgentError>);

impl Step {
    /// The actions in as few steps as there can be.
    pub(crate) fn of(actions: Vec<Action>) -> Vec<Self> {
        let (mut takes, mut starts, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for action in actions {
            match action {
                Action::Take(id) => takes.push(id),
                Action::Report { id, progress: None, message: None } => starts.push(id),
                other => others.push(Self::One(other)),
            }
        }
        let takes = takes.chunks(JobStore::BATCH_MAX).map(|ids| Self::together(ids, Action::Take, Self::Take));
        let starts = starts.chunks(JobStore::BATCH_MAX).map(|ids| Self::together(ids, start, Self::Start));
        takes.chain(starts).chain(others).collect()
    }

    /// A call for many is worth while from two on.
    fn together(ids: &[JobId], one: fn(JobId) -> Action, many: fn(Vec<JobId>) -> Self) -> Self {
        match *ids {
            [id] => Self::One(one(id)),
            _ => many(ids.to_vec()),
        }
    }

    /// Carries it out; says what each of its actions came to.
    pub(crate) async fn execute(self, agent: &Agent) -> Vec<Concluded> {
        match self {
            Self::One(action) => vec![(action.to_string(), agent.execute(action).await)],
            Self::Take(ids) => concluded(&ids, Action::Take, agent.store.take_all(&ids).await),
            Self::Start(ids) => concluded(&ids, start, agent.store.start_all(&ids, (agent.clock)()).await),
        }
    }
}

fn start(id: JobId) -> Action {
    Action::Report { id, progress: None, message: None }
}

fn concluded(ids: &[JobId], action: fn(JobId) -> Action, jobs: Vec<Result<Option<Job>, StoreError>>) -> Vec<Concluded> {
    let conclude = |(&id, job): (&JobId, Result<Option<Job>, StoreError>)| {
        let action = action(id);
        tracing::info!(uuid = %id, together = ids.len(), "{}", action.name());
        (action.to_string(), job.map(|job| Effect::learned(id, job)).map_err(AgentError::from))
    };
    ids.iter().zip(jobs).map(conclude).collect()
}
