//! The APP server's scripts: they read, rewrite, run and rewrite again, with a lock or without, in place or by rename.

use bcrlapi_domain::Status;

use crate::world::{Content, Mutation, Queue, Step, World};

/// How a script rewrites status.json.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    pub locks: bool,
    pub renames: bool,
}

/// Between which of its steps a script is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// About to read and, if there is a pending job, to claim it.
    Look,
    /// Has read this, and is about to write what it made of it: this job in this status.
    Read { job: usize, status: Status, queue: Queue },
    /// Has opened and emptied this file, and is about to write.
    Opened { job: usize, status: Status, queue: Queue, inode: usize },
    /// The program runs.
    Runs { job: usize },
    /// The program is over; about to read again, to set it to done.
    Ran { job: usize },
    /// Dead, or at the end of its turns.
    Over,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Script {
    kind: Kind,
    turns: u8,
    phase: Phase,
}

impl Script {
    pub fn new(kind: Kind, turns: u8) -> Self {
        Self { kind, turns, phase: Phase::Look }
    }

    pub fn held(&self) -> Option<usize> {
        if let Phase::Opened { inode, .. } = self.phase { Some(inode) } else { None }
    }

    pub fn holds(&self, inode: usize) -> bool {
        self.held() == Some(inode)
    }

    pub fn renumber(&mut self, renumber: impl Fn(usize) -> Option<usize>) {
        if let Phase::Opened { inode, .. } = &mut self.phase {
            *inode = renumber(*inode).unwrap();
        }
    }
}

impl World {
    pub fn script_steps(&self, number: usize) -> Vec<Step> {
        let script = &self.scripts[number];
        if script.phase == Phase::Over {
            return Vec::new();
        }
        let mut steps: Vec<Step> = self.next_script_step(number).into_iter().collect();
        if self.budget.crashes > 0 && script.phase != Phase::Look {
            steps.push(self.step(format!("script {number}: dies"), |world| {
                world.budget.crashes -= 1;
                world.set_phase(number, Phase::Over);
                world.unlock(number);
            }));
        }
        steps
    }

    fn next_script_step(&self, number: usize) -> Option<Step> {
        let script = &self.scripts[number];
        match script.phase.clone() {
            Phase::Look => {
                let queue = self.readable(number)?;
                let job = queue.iter().find(|(_, status)| *status == Status::Pending)?.0;
                Some(self.step(format!("script {number}: reads, and wants job {job}"), |world| {
                    world.set_phase(number, Phase::Read { job, status: Status::Processing, queue });
                    world.lock_for(number);
                }))
            }
            Phase::Read { job, status, queue } if script.kind.renames => {
                Some(self.step(format!("script {number}: renames, job {job} {}", status.as_str()), |world| {
                    let inode = world.create(Content::Whole(with(&queue, job, status)));
                    world.status = Some(inode);
                    world.has_written(number, job, status);
                }))
            }
            Phase::Read { job, status, queue } => {
                Some(self.step(format!("script {number}: opens status.json and empties it"), |world| {
                    let inode = world.status.unwrap_or_else(|| world.create(Content::Half));
                    world.status = Some(inode);
                    world.write(inode, Content::Half);
                    world.set_phase(number, Phase::Opened { job, status, queue, inode });
                }))
            }
            Phase::Opened { job, status, queue, inode } => {
                Some(self.step(format!("script {number}: writes, job {job} {}", status.as_str()), |world| {
                    world.write(inode, Content::Whole(with(&queue, job, status)));
                    world.has_written(number, job, status);
                }))
            }
            // A program takes longer than the agent's way from one look to the next.
            Phase::Runs { .. } if !script.kind.locks && self.agent.is_publishing() => None,
            Phase::Runs { job } => Some(self.step(format!("script {number}: job {job} is over"), |world| {
                world.responses[job] = true;
                world.set_phase(number, Phase::Ran { job });
            })),
            Phase::Ran { job } => {
                let queue = self.readable(number)?;
                Some(self.step(format!("script {number}: reads again"), |world| {
                    world.set_phase(number, Phase::Read { job, status: Status::Done, queue });
                    world.lock_for(number);
                }))
            }
            Phase::Over => None,
        }
    }

    /// What the script reads now; nothing where it has to wait or try again.
    fn readable(&self, number: usize) -> Option<Queue> {
        let is_free = !self.scripts[number].kind.locks || (self.lock.is_none() && !self.agent.is_publishing());
        match &self.inodes[self.status?].content {
            Content::Whole(queue) if is_free => Some(queue.clone()),
            _ => None,
        }
    }

    /// Whether a script is about to write a queue in which it has read this job as waiting.
    pub fn has_been_read(&self, job: usize) -> bool {
        !self.is(Mutation::CancelAtOnce)
            && self.scripts.iter().any(|script| match &script.phase {
                Phase::Read { queue, .. } | Phase::Opened { queue, .. } => queue.contains(&(job, Status::Pending)),
                _ => false,
            })
    }

    fn has_written(&mut self, number: usize, job: usize, status: Status) {
        self.told[job] = self.told[job].max(status);
        self.unlock(number);
        if status == Status::Processing {
            self.runs[job] += 1;
            self.set_phase(number, Phase::Runs { job });
        } else {
            self.scripts[number].turns -= 1;
            let phase = if self.scripts[number].turns == 0 { Phase::Over } else { Phase::Look };
            self.set_phase(number, phase);
        }
    }

    fn set_phase(&mut self, number: usize, phase: Phase) {
        self.scripts[number].phase = phase;
    }

    fn lock_for(&mut self, number: usize) {
        if self.scripts[number].kind.locks {
            self.lock = Some(number);
        }
    }

    fn unlock(&mut self, number: usize) {
        if self.lock == Some(number) {
            self.lock = None;
        }
    }
}

fn with(queue: &Queue, job: usize, status: Status) -> Queue {
    queue.iter().map(|&(other, word)| (other, if other == job { status } else { word })).collect()
}
