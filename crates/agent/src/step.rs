//! What is done with one call: an action, or the same action for many jobs.

use bcrlapi_cloud::{JobStore, StoreError};
use bcrlapi_domain::{Job, JobId};
use bcrlapi_exchange::Action;

use crate::AgentError;
use crate::agent::Agent;
use crate::execute::{Effect, asked, log_start, log_take};

/// One action, or some that the cloud takes together.
pub(crate) enum Step {
    One(Action),
    Ask(Vec<JobId>),
    Take(Vec<JobId>),
    /// Reports of programs that have just started and say nothing of themselves.
    Start(Vec<JobId>),
}

/// An action's name, and what it came to.
type Concluded = (String, Result<Effect, AgentError>);

impl Step {
    /// The actions in as few steps as there can be. What is to go alone stands in nobody's way, nor they in its.
    pub(crate) fn of(actions: Vec<Action>, goes_alone: impl Fn(&Action) -> bool) -> Vec<Self> {
        let (mut asks, mut takes, mut starts, mut others) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for action in actions {
            match action {
                action if goes_alone(&action) => others.push(Self::One(action)),
                Action::Ask(id) => asks.push(id),
                Action::Take(id) => takes.push(id),
                Action::Report { id, progress: None, message: None } => starts.push(id),
                other => others.push(Self::One(other)),
            }
        }

        let asks = asks.chunks(JobStore::READ_MAX).map(|ids| Self::together(ids, Action::Ask, Self::Ask));
        let takes = takes.chunks(JobStore::BATCH_MAX).map(|ids| Self::together(ids, Action::Take, Self::Take));
        let starts = starts.chunks(JobStore::BATCH_MAX).map(|ids| Self::together(ids, start, Self::Start));
        takes.chain(starts).chain(asks).chain(others).collect()
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
            Self::Ask(ids) => {
                let jobs = agent.store.jobs(&ids).await;
                jobs.into_iter().map(|(id, job)| (Action::Ask(id).to_string(), asked(id, job))).collect()
            }
            Self::Take(ids) => concluded(&ids, Action::Take, agent.store.take_all(&ids).await, log_take),
            Self::Start(ids) => {
                let jobs = agent.store.start_all(&ids, agent.date_for(&ids)).await;
                concluded(&ids, start, jobs, |id, _| log_start(id, None))
            }
        }
    }
}

fn start(id: JobId) -> Action {
    Action::Report { id, progress: None, message: None }
}

fn concluded(
    ids: &[JobId],
    action: fn(JobId) -> Action,
    jobs: Vec<Result<Option<Job>, StoreError>>,
    log: fn(JobId, Option<&Job>),
) -> Vec<Concluded> {
    let conclude = |(&id, job): (&JobId, Result<Option<Job>, StoreError>)| {
        let job = job.inspect(|job| log(id, job.as_ref())).map_err(AgentError::from);
        (action(id).to_string(), job.map(|job| Effect::learned(id, job)))
    };
    ids.iter().zip(jobs).map(conclude).collect()
}

#[cfg(test)]
mod tests {
    use bcrlapi_exchange::Action;
    use chrono::{TimeDelta, Utc};

    use super::*;

    #[test]
    fn what_has_failed_before_goes_alone() {
        let id = |number| JobId::earliest(Utc::now() - TimeDelta::seconds(number));
        let [failed, second, third] = [1, 2, 3].map(id);
        let steps =
            Step::of([failed, second, third].map(Action::Take).into(), |action| *action == Action::Take(failed));
        assert!(matches!(&*steps, [Step::Take(together), Step::One(Action::Take(alone))]
            if *together == [second, third] && *alone == failed));
    }

    #[test]
    fn what_is_asked_for_goes_together_up_to_the_limit_of_a_call() {
        let id = |number| JobId::earliest(Utc::now() - TimeDelta::seconds(number));
        let ids: Vec<JobId> = (0..=100).map(id).collect();
        let steps = Step::of(ids.iter().copied().map(Action::Ask).collect(), |_| false);
        assert!(matches!(&*steps, [Step::Ask(together), Step::One(Action::Ask(last))]
            if *together == ids[..100] && *last == ids[100]));
    }
}
