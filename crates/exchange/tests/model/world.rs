//! A small world: the cloud's rows, the directory's files, the agent and the scripts, each between two of its steps.

use std::collections::BTreeMap;

use bcrlapi_domain::Status;

use crate::agent::Agent;
use crate::script::{Kind, Script};

/// How much may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Jobs that callers submit.
    pub jobs: usize,
    /// Turns that each script takes.
    pub turns: u8,
    /// Times that the agent or a script dies between two steps.
    pub crashes: u8,
    /// Times that the cloud fails, before the effect or after it.
    pub faults: u8,
    /// Times that somebody removes status.json, when the cloud or the journal knows all that was in
    /// it.
    pub losses: u8,
    /// Times that a caller cancels a job that no program is known to run.
    pub cancels: u8,
}

/// A way to do it wrong. The model has to notice every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutation {
    /// status.json is replaced, and what was there is lost.
    RenameInsteadOfExchange,
    /// What was displaced is never looked at.
    NeverLookAtDisplaced,
    /// What was displaced is looked at once and removed.
    DiscardAtOnce,
    /// What a crash left where queues are staged is removed.
    RemoveStagedAtStart,
    /// The jobs that the lab had taken are not asked for at a start.
    NoScanAtStart,
    /// An entry comes before its request file.
    EntryBeforeRequestFile,
    /// A job comes into the queue without its row being taken.
    EntryBeforeTake,
    /// A row is done before its response is uploaded.
    DoneBeforeUpload,
    /// What was seen to go forward is known only as long as status.json says it.
    ForgetWhatWasSeen,
    /// An agent that starts does not read what the one before has seen.
    NoJournalAtStart,
    /// A job counts as canceled as soon as its entry is out of the queue.
    CancelAtOnce,
}

/// Where a job stands on the lab's side of its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Inbox {
    New,
    Taken,
    Gone,
}

/// A job's row, and its response object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    pub inbox: Inbox,
    pub status: Status,
    pub is_asked_back: bool,
    pub is_canceled: bool,
    pub has_response: bool,
}

/// A queue: jobs with their status words, from the top.
pub type Queue = Vec<(usize, Status)>;

/// What is in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Content {
    Half,
    Whole(Queue),
}

/// A file, whatever name it has. Every write makes another version, as every write makes another mtime.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Inode {
    pub content: Content,
    pub version: u8,
}

/// Which inode, and which version of it.
pub type Fingerprint = (usize, u8);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub budget: Budget,
    pub mutation: Option<Mutation>,
    pub rows: Vec<Row>,
    pub requests: Vec<bool>,
    pub responses: Vec<bool>,
    pub runs: Vec<u8>,
    /// What a script has written to the end, of each job, and has not died over: the truth that must not be lost.
    pub told: Vec<Status>,
    pub inodes: Vec<Inode>,
    pub status: Option<usize>,
    pub staged: Option<usize>,
    pub displaced: Vec<usize>,
    /// What the agent has seen to go forward, as it stands on the disk.
    pub journal: BTreeMap<usize, Status>,
    /// Which script holds the lock.
    pub lock: Option<usize>,
    pub agent: Agent,
    pub scripts: Vec<Script>,
}

/// One step of somebody, named for the trace.
#[derive(Clone, Debug)]
pub struct Step {
    pub name: String,
    pub world: World,
}

impl Row {
    /// A row that nobody has canceled, for a status word of a file.
    pub fn with(status: Status) -> Self {
        Self { inbox: Inbox::New, status, is_asked_back: false, is_canceled: false, has_response: false }
    }

    pub fn cancel(&mut self) {
        (self.inbox, self.status, self.is_canceled) = (Inbox::Gone, Status::Done, true);
    }
}

impl World {
    pub fn new(kinds: &[Kind], budget: Budget) -> Self {
        Self {
            budget,
            mutation: None,
            rows: Vec::new(),
            requests: vec![false; budget.jobs],
            responses: vec![false; budget.jobs],
            runs: vec![0; budget.jobs],
            told: vec![Status::Pending; budget.jobs],
            inodes: Vec::new(),
            status: None,
            staged: None,
            displaced: Vec::new(),
            journal: BTreeMap::new(),
            lock: None,
            agent: Agent::default(),
            scripts: kinds.iter().map(|&kind| Script::new(kind, budget.turns)).collect(),
        }
    }

    pub fn mutated(mut self, mutation: Mutation) -> Self {
        self.mutation = Some(mutation);
        self
    }

    pub fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// Every step that anybody can take from here.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = self.caller_steps();
        steps.extend(self.agent_steps());
        for script in 0..self.scripts.len() {
            steps.extend(self.script_steps(script));
        }
        for step in &mut steps {
            step.world.tidy();
        }
        steps
    }

    fn caller_steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.rows.len() < self.budget.jobs {
            let submit = |world: &mut Self| world.rows.push(Row::with(Status::Pending));
            steps.push(self.step(format!("caller: submits job {}", self.rows.len()), submit));
        }
        let is_told = |(job, row): (usize, &Row)| {
            let journaled = self.journal.get(&job).copied().unwrap_or(Status::Pending);
            self.told[job] <= row.status.max(journaled)
        };
        if self.budget.losses > 0
            && self.status.is_some_and(|inode| !self.is_held(inode))
            && self.rows.iter().enumerate().all(is_told)
        {
            steps.push(self.step("somebody: removes status.json", |world| {
                world.budget.losses -= 1;
                world.status = None;
            }));
        }
        let may_cancel = |row: &Row| row.status == Status::Pending && !row.is_asked_back;
        for job in (0..self.rows.len()).filter(|&job| self.budget.cancels > 0 && may_cancel(&self.rows[job])) {
            steps.push(self.step(format!("caller: cancels job {job}"), |world| {
                world.budget.cancels -= 1;
                let row = &mut world.rows[job];
                if row.inbox == Inbox::New {
                    row.cancel();
                } else {
                    (row.inbox, row.is_asked_back) = (Inbox::New, true);
                }
            }));
        }
        steps
    }

    /// Whether nobody but the agent has anything left to do, and a round of the agent changes nothing.
    pub fn is_at_rest(&self) -> bool {
        let is_over = Self { budget: Budget { losses: 0, ..self.budget }, ..self.clone() }.caller_steps().is_empty()
            && (0..self.scripts.len()).all(|script| self.script_steps(script).is_empty());
        if !is_over || !self.agent.is_idle() {
            return false;
        }
        let mut world = self.clone();
        for _ in 0..3 {
            let mut next = world.agent_steps().swap_remove(0).world;
            next.tidy();
            world = next;
        }
        world == *self
    }

    /// The world after a change.
    pub fn step(&self, name: impl Into<String>, change: impl FnOnce(&mut Self)) -> Step {
        let mut world = self.clone();
        change(&mut world);
        Step { name: name.into(), world }
    }

    pub fn fingerprint(&self, inode: usize) -> Fingerprint {
        (inode, self.inodes[inode].version)
    }

    pub fn create(&mut self, content: Content) -> usize {
        self.inodes.push(Inode { content, version: 0 });
        self.inodes.len() - 1
    }

    pub fn write(&mut self, inode: usize, content: Content) {
        self.inodes[inode].content = content;
        self.inodes[inode].version += 1;
    }

    /// Whether a script has this file open.
    pub fn is_held(&self, inode: usize) -> bool {
        self.scripts.iter().any(|script| script.holds(inode))
    }

    /// Forgets files that nobody can reach, and numbers the others by who reaches them: so that worlds that differ only
    /// in numbers are one.
    fn tidy(&mut self) {
        self.displaced.sort_by(|&one, &other| self.inodes[one].cmp(&self.inodes[other]));
        let mut live: Vec<usize> =
            self.status.into_iter().chain(self.staged).chain(self.displaced.iter().copied()).collect();
        live.extend(self.scripts.iter().filter_map(Script::held));
        let mut numbers = vec![None; self.inodes.len()];
        let mut inodes = Vec::new();
        for inode in live {
            if numbers[inode].is_none() {
                numbers[inode] = Some(inodes.len());
                inodes.push(self.inodes[inode].clone());
            }
        }
        let renumber = |inode: usize| numbers.get(inode).copied().flatten();
        self.status = self.status.and_then(renumber);
        self.staged = self.staged.and_then(renumber);
        self.displaced = self.displaced.iter().filter_map(|&inode| renumber(inode)).collect();
        for script in &mut self.scripts {
            script.renumber(renumber);
        }
        self.agent.renumber(renumber);
        self.inodes = inodes;
        // What the cloud knows too is taken out of the journal sooner or later.
        self.journal.retain(|&job, status| self.rows[job].status < *status);
    }
}
