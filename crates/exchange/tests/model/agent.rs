//! The agent: it looks, plans with the real [`plan`], and carries out one step at a time, in any order.

use std::collections::{BTreeMap, BTreeSet};

use bcrlapi_domain::{Job, JobId, Outcome, Owner, Payload, State, Status};
use bcrlapi_exchange::promise::Publish;
use bcrlapi_exchange::{Action, Entry, RESPONSE_GRACE, Settings, View, plan};
use chrono::{DateTime, FixedOffset, TimeDelta, Utc};

use crate::world::{Content, Fingerprint, Inbox, Mutation, Queue, Row, Step, World};

/// The fingerprint of a file that nobody can reach any more.
const GONE: Fingerprint = (usize::MAX, 0);

/// What the agent remembers between two steps; all of it is gone when it dies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Agent {
    has_compared: bool,
    inbox: Vec<usize>,
    known: BTreeMap<usize, Known>,
    /// What status.json held when it was last read.
    read: Option<Content>,
    status_read: Option<Fingerprint>,
    taken_in: BTreeSet<Fingerprint>,
    /// What was seen to go forward.
    seen: BTreeMap<usize, Status>,
    displaced: BTreeSet<usize>,
    phase: Phase,
    todo: Vec<Todo>,
    publishing: Option<Publishing>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Known {
    state: State,
    is_asked_back: bool,
    has_request: bool,
    has_response: bool,
    /// Whether, at the last look, no script was about to write it into the queue.
    is_left_alone: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Phase {
    #[default]
    AskForNew,
    AskForTaken,
    LookAtStatus,
    LookAtDisplaced,
    Execute,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Todo {
    Take(usize),
    Ask(usize),
    Deliver(usize),
    Report(usize),
    Upload(usize),
    Finish(usize),
    Cancel(usize),
    Discard(usize),
    Quarantine,
    Journal,
}

/// How far a publish is. The agent holds the lock all the while.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Publishing {
    Planned(Queue),
    /// With whether there was a file to be exchanged with.
    Staged(Queue, usize, bool),
    Placed(Queue, usize),
}

/// Whether the cloud does what it is asked, and says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Good,
    FailsBefore,
    AnswerIsLost,
}

impl Agent {
    pub fn is_publishing(&self) -> bool {
        self.publishing.is_some()
    }

    /// Whether it is between two rounds.
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::AskForNew
    }

    pub fn renumber(&mut self, renumber: impl Fn(usize) -> Option<usize>) {
        let fingerprint = |(inode, version): Fingerprint| Some((renumber(inode)?, version));
        // A file that is gone is none that will ever be seen again; that there was one is not forgotten.
        self.status_read = self.status_read.map(|read| fingerprint(read).unwrap_or(GONE));
        self.taken_in = self.taken_in.iter().copied().filter_map(fingerprint).collect();
        self.displaced = self.displaced.iter().copied().filter_map(&renumber).collect();
        self.todo.retain_mut(|todo| match todo {
            Todo::Discard(inode) => renumber(*inode).map(|number| *inode = number).is_some(),
            _ => true,
        });
        if let Some(Publishing::Staged(_, inode, _) | Publishing::Placed(_, inode)) = &mut self.publishing {
            *inode = renumber(*inode).unwrap_or(GONE.0);
        }
    }

    fn learn(&mut self, job: usize, row: Row) {
        let (state, is_asked_back) = (row.state(), row.is_asked_back);
        let known = Known { state, is_asked_back, has_request: false, has_response: false, is_left_alone: false };
        let known = self.known.entry(job).or_insert(known);
        if !state.is_behind(known.state) {
            (known.state, known.is_asked_back) = (state, is_asked_back);
        }
        if known.state.is_done() {
            self.seen.remove(&job);
        }
        self.inbox.retain(|new| *new != job);
    }
}

impl World {
    pub fn agent_steps(&self) -> Vec<Step> {
        let mut steps = match self.agent.phase {
            Phase::AskForNew => vec![self.step("agent: asks what is new", Self::ask_for_new)],
            Phase::AskForTaken => vec![self.step("agent: asks what it has taken", Self::ask_for_taken)],
            Phase::LookAtStatus => vec![self.step("agent: looks at status.json", Self::look_at_status)],
            Phase::LookAtDisplaced => {
                vec![self.step("agent: looks at the displaced, and plans", Self::look_at_displaced)]
            }
            Phase::Execute => self.execution_steps(),
        };
        if self.budget.crashes > 0 && self.agent != Agent::default() {
            steps.push(self.step("agent: dies, and starts again", |world| {
                world.budget.crashes -= 1;
                world.agent = Agent::default();
            }));
        }
        steps
    }

    fn ask_for_new(&mut self) {
        let rows = || self.rows.iter().enumerate();
        self.agent.inbox = rows().filter(|(_, row)| row.inbox == Inbox::New).map(|(job, _)| job).collect();
        if self.is(Mutation::EntryBeforeTake) {
            for job in std::mem::take(&mut self.agent.inbox) {
                self.agent.learn(job, Row::with(Status::Pending));
            }
        }
        self.agent.phase = if self.agent.has_compared { Phase::LookAtStatus } else { Phase::AskForTaken };
    }

    fn ask_for_taken(&mut self) {
        match self.staged.take() {
            Some(staged) if !self.is(Mutation::RemoveStagedAtStart) => self.displaced.push(staged),
            _ => {}
        }
        for (job, row) in self.rows.clone().into_iter().enumerate() {
            if row.inbox == Inbox::Taken && !self.is(Mutation::NoScanAtStart) || self.agent.known.contains_key(&job) {
                self.agent.learn(job, row);
            }
        }
        if !self.is(Mutation::NoJournalAtStart) {
            let journal = self.journal.clone();
            self.agent.seen.extend(journal.into_iter().filter(|(job, status)| {
                let known = self.agent.known.get(job);
                known.is_none_or(|known| known.state.status() < *status)
            }));
        }
        self.agent.has_compared = true;
        self.agent.phase = Phase::LookAtStatus;
    }

    fn look_at_status(&mut self) {
        let is_left_alone: Vec<bool> = (0..self.requests.len()).map(|job| !self.has_been_read(job)).collect();
        let there = self.status.map(|inode| self.fingerprint(inode));
        if there.is_none() || there != self.agent.status_read {
            let content = self.status.map(|inode| self.inodes[inode].content.clone());
            self.agent.read = content;
            self.agent.status_read = there;
            self.agent.taken_in.extend(there);
        }
        self.remember(&self.view(false));
        let queue = match &self.agent.read {
            Some(Content::Whole(queue)) => queue.as_slice(),
            Some(Content::Half) | None => &[],
        };
        for (&job, known) in &mut self.agent.known {
            let is_entry_pending = queue.contains(&(job, Status::Pending));
            let has_started = known.state != State::Pending || self.agent.seen.contains_key(&job);
            let waits = is_entry_pending && !has_started;
            known.has_request = self.requests[job];
            known.has_response = self.responses[job] && !waits;
            known.is_left_alone = is_left_alone[job];
        }
        self.agent.phase = Phase::LookAtDisplaced;
    }

    fn look_at_displaced(&mut self) {
        let there = self.displaced.clone();
        self.agent.displaced.retain(|inode| there.contains(inode));
        for inode in there {
            let content = self.fingerprint(inode);
            if !self.agent.taken_in.contains(&content) && !self.is(Mutation::NeverLookAtDisplaced) {
                if let Content::Whole(queue) = &self.inodes[inode].content {
                    let mut view = self.view(false);
                    view.see_displaced(inode as u64, Some(&to_real(queue)), now());
                    self.remember(&view);
                }
                self.agent.taken_in.insert(content);
            }
            self.agent.displaced.insert(inode);
            if self.is(Mutation::DiscardAtOnce) {
                self.displaced.retain(|other| *other != inode);
            }
        }
        self.plan();
    }

    /// Keeps what the view has seen to go forward.
    fn remember(&mut self, view: &View) {
        let seen = view.seen.iter().map(|(id, entry)| (number(*id), entry.state().unwrap().status()));
        self.agent.seen = seen.collect();
        if self.is(Mutation::ForgetWhatWasSeen) {
            let Some(Content::Whole(queue)) = &self.agent.read else { return self.agent.seen.clear() };
            self.agent.seen.retain(|job, status| queue.contains(&(*job, *status)));
        }
    }

    fn plan(&mut self) {
        let view = self.view(false);
        let mut actions = plan(&view, SETTINGS, now());
        for action in &actions {
            let Action::Publish(queue) = action else { continue };
            assert_eq!(Publish { view: &view, queue, now: now() }.broken_rule(), None);
        }
        if self.is(Mutation::EntryBeforeRequestFile) {
            let hasty = plan(&self.view(true), SETTINGS, now());
            actions.retain(|action| !matches!(action, Action::Publish(_)));
            actions.extend(hasty.into_iter().filter(|action| matches!(action, Action::Publish(_))));
        }
        for action in actions {
            self.agent.todo.push(match action {
                Action::Take(id) => Todo::Take(number(id)),
                Action::Ask(id) => Todo::Ask(number(id)),
                Action::Deliver(job) => Todo::Deliver(number(job.id)),
                Action::Report { id, .. } => Todo::Report(number(id)),
                Action::Cancel(id) => Todo::Cancel(number(id)),
                Action::Return { id, .. } if self.is(Mutation::DoneBeforeUpload) => Todo::Finish(number(id)),
                Action::Return { id, .. } => Todo::Upload(number(id)),
                Action::Discard { number } => Todo::Discard(usize::try_from(number).unwrap()),
                Action::Quarantine => Todo::Quarantine,
                Action::Publish(queue) => {
                    self.agent.publishing = Some(Publishing::Planned(to_small(&queue)));
                    continue;
                }
                Action::Fail { .. } | Action::Lose(_) | Action::Restore(_) | Action::Prune | Action::Heartbeat(_) => {
                    unreachable!("no program of this world fails, and it is young")
                }
            });
        }
        let is_journaled = |entry: &&Entry| {
            self.journal.get(&number(entry.id().unwrap())) == entry.state().map(State::status).as_ref()
        };
        if !view.to_journal().iter().all(is_journaled) {
            self.agent.todo.push(Todo::Journal);
        }
        let is_quiet = self.agent.todo.is_empty() && self.agent.publishing.is_none();
        self.agent.phase = if is_quiet { Phase::AskForNew } else { Phase::Execute };
    }

    /// The agent's memory as the real planner takes it. What time decides is decided by who is still at work: a file
    /// that somebody has open is young, any other one is old.
    fn view(&self, all_delivered: bool) -> View {
        let mut view = View { is_certain: self.agent.has_compared, ..View::default() };
        for (&job, known) in &self.agent.known {
            view.learn(Job { cancel_requested: known.is_asked_back, ..real_job(job, known.state) });
            let real = view.jobs.get_mut(&id(job)).unwrap();
            real.has_request = known.has_request || all_delivered;
            real.see_response(known.has_response.then(long_ago), long_ago());
        }
        let age =
            |inode: Option<usize>| if inode.is_some_and(|inode| self.is_held(inode)) { now() } else { long_ago() };
        view.requests = (0..self.requests.len()).filter(|&job| self.requests[job]).map(id).collect();
        view.inbox = self.agent.inbox.iter().map(|&job| id(job)).collect();
        view.seen = self.agent.seen.iter().map(|(&job, &status)| (id(job), entry(job, status))).collect();
        match &self.agent.read {
            None => view.see_status(Ok(None), now()),
            Some(Content::Whole(queue)) => view.see_status(Ok(Some(to_real(queue))), now()),
            Some(Content::Half) => view.see_status(bcrlapi_exchange::Queue::parse(b"").map(Some), age(self.status)),
        }
        for known in view.jobs.values_mut() {
            let age = if self.agent.known[&number(known.job.id)].is_left_alone { long_ago() } else { now() };
            known.withdrawn_since = known.withdrawn_since.map(|_| age);
        }
        for &inode in &self.agent.displaced {
            view.see_displaced(inode as u64, None, age(Some(inode)));
        }
        // After the looks, to which it is long ago.
        (view.last_heartbeat, view.last_prune) = (Some(now()), Some(now()));
        view
    }

    fn execution_steps(&self) -> Vec<Step> {
        let mut steps = self.publish_steps();
        for (place, &todo) in self.agent.todo.iter().enumerate() {
            let is_remote = !matches!(todo, Todo::Deliver(_) | Todo::Discard(_) | Todo::Quarantine | Todo::Journal);
            let may_fail = is_remote && self.budget.faults > 0;
            let fates: &[Fate] =
                if may_fail { &[Fate::Good, Fate::FailsBefore, Fate::AnswerIsLost] } else { &[Fate::Good] };
            steps.extend(fates.iter().map(|&fate| {
                self.step(format!("agent: {todo:?} ({fate:?})"), |world| {
                    world.agent.todo.remove(place);
                    world.carry_out(todo, fate);
                    world.end_of_execution();
                })
            }));
        }
        steps
    }

    fn carry_out(&mut self, todo: Todo, fate: Fate) {
        if fate != Fate::Good {
            self.budget.faults -= 1;
            self.agent.has_compared = false;
        }
        if fate == Fate::FailsBefore {
            return;
        }
        match todo {
            Todo::Take(job) if self.rows[job].inbox == Inbox::New => self.rows[job].inbox = Inbox::Taken,
            Todo::Report(job) => {
                self.advance_row(job, Status::Processing);
                if self.rows[job].inbox == Inbox::New {
                    self.rows[job].inbox = Inbox::Taken;
                }
            }
            Todo::Cancel(job) if self.rows[job].status == Status::Pending => self.rows[job].cancel(),
            Todo::Finish(job) => {
                self.advance_row(job, Status::Done);
                self.rows[job].inbox = Inbox::Gone;
            }
            Todo::Upload(job) => self.rows[job].has_response = true,
            Todo::Deliver(job) => self.requests[job] = true,
            Todo::Discard(inode) => self.displaced.retain(|other| *other != inode),
            Todo::Quarantine if self.status.map(|inode| self.fingerprint(inode)) == self.agent.status_read => {
                self.status = None;
            }
            Todo::Journal => self.journal.extend(self.agent.seen.clone()),
            Todo::Take(_) | Todo::Ask(_) | Todo::Quarantine | Todo::Cancel(_) => {}
        }
        if fate == Fate::AnswerIsLost {
            return;
        }
        match todo {
            Todo::Take(job) if self.rows[job].inbox == Inbox::Gone => self.agent.inbox.retain(|new| *new != job),
            Todo::Take(job) | Todo::Ask(job) | Todo::Report(job) | Todo::Cancel(job) => {
                self.agent.learn(job, self.rows[job]);
            }
            Todo::Upload(job) if !self.is(Mutation::DoneBeforeUpload) => self.agent.todo.push(Todo::Finish(job)),
            Todo::Finish(job) => {
                self.agent.learn(job, self.rows[job]);
                if self.is(Mutation::DoneBeforeUpload) {
                    self.agent.todo.push(Todo::Upload(job));
                }
            }
            _ => {}
        }
    }

    fn advance_row(&mut self, job: usize, next: Status) {
        if self.rows[job].status.may_become(next) {
            self.rows[job].status = next;
        }
    }

    fn publish_steps(&self) -> Vec<Step> {
        match &self.agent.publishing {
            None => Vec::new(),
            Some(Publishing::Planned(_)) if self.lock.is_some() => Vec::new(),
            Some(Publishing::Planned(queue)) => vec![self.step("agent: stages a queue and looks once more", |world| {
                world.displaced.extend(world.staged.take());
                let is_as_read = world.status.map(|inode| world.fingerprint(inode)) == world.agent.status_read;
                world.agent.publishing = is_as_read.then(|| {
                    let inode = world.create(Content::Whole(queue.clone()));
                    world.staged = Some(inode);
                    Publishing::Staged(queue.clone(), inode, world.status.is_some())
                });
                world.end_of_execution();
            })],
            Some(Publishing::Staged(queue, inode, expects_file)) => {
                vec![self.step("agent: exchanges the files", |world| {
                    if world.status.is_some() != *expects_file {
                        world.staged = None;
                        world.agent.publishing = None;
                        world.end_of_execution();
                        return;
                    }
                    world.staged = world.status.replace(*inode);
                    if world.is(Mutation::RenameInsteadOfExchange) {
                        world.staged = None;
                    }
                    world.agent.publishing = Some(Publishing::Placed(queue.clone(), *inode));
                })]
            }
            Some(Publishing::Placed(queue, inode)) => vec![self.step("agent: keeps what it has displaced", |world| {
                world.displaced.extend(world.staged.take());
                // Its own file may have been rewritten, or replaced, in the meantime: what it knows is what it wrote.
                let content = (*inode, 0);
                world.agent.read = Some(Content::Whole(queue.clone()));
                world.agent.status_read = Some(content);
                world.agent.taken_in.insert(content);
                world.agent.publishing = None;
                world.end_of_execution();
            })],
        }
    }

    fn end_of_execution(&mut self) {
        if self.agent.todo.is_empty() && self.agent.publishing.is_none() {
            self.agent.phase = Phase::LookAtStatus;
        }
    }
}

impl Row {
    pub fn state(self) -> State {
        match (self.status, self.is_canceled) {
            (Status::Pending, _) => State::Pending,
            (Status::Processing, _) => State::Processing,
            (Status::Done, true) => State::Done(Outcome::Canceled),
            (Status::Done, false) => State::Done(Outcome::Succeeded),
        }
    }
}

const SETTINGS: Settings =
    Settings { offset: FixedOffset::east_opt(0).unwrap(), lost_after: None, response_grace: RESPONSE_GRACE };

fn id(job: usize) -> JobId {
    format!("018aef2c-7a00-7000-8000-{job:012}").parse().unwrap()
}

fn number(id: JobId) -> usize {
    id.to_string()[24..].parse().unwrap()
}

fn now() -> DateTime<Utc> {
    id(0).request_date()
}

fn long_ago() -> DateTime<Utc> {
    now() - TimeDelta::hours(1)
}

fn real_job(job: usize, state: State) -> Job {
    let owner = Owner::from_identity("1", "AIDA").unwrap();
    let request = Payload { size_bytes: 0, sha256: String::new() };
    Job { state, ..Job::requested(id(job), "soc".parse().unwrap(), owner, request) }
}

fn to_real(queue: &Queue) -> bcrlapi_exchange::Queue {
    let mut real = bcrlapi_exchange::Queue::default();
    for &(job, status) in queue {
        real.push(entry(job, status));
    }
    real
}

fn entry(job: usize, status: Status) -> Entry {
    Entry::new(&real_job(job, Row::with(status).state()), SETTINGS.offset)
}

fn to_small(queue: &bcrlapi_exchange::Queue) -> Queue {
    let entries = queue.entries().iter();
    entries.map(|entry| (number(entry.id().unwrap()), entry.state().unwrap().status())).collect()
}
