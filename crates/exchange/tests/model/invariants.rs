//! What must hold in every world, each rule a sentence; and what must hold when all is at rest.

use bcrlapi_domain::Status;

use crate::world::{Content, Queue, World};

type Rule = (&'static str, fn(&World) -> bool);

/// The rules for every world.
pub const ALWAYS: [Rule; 4] = [
    ("a pending entry has its request file", a_pending_entry_has_its_request_file),
    ("a done row has its response", a_done_row_has_its_response),
    ("a canceled job never runs", a_canceled_job_never_runs),
    ("an entry is in the queue once", an_entry_is_in_the_queue_once),
];

/// The rule that needs a promise of the scripts: one at a time, or all with the lock.
pub const NO_PROGRAM_RUNS_TWICE: Rule = ("no program runs twice", |world| world.runs.iter().all(|runs| *runs <= 1));

/// The rules for a world in which nobody has anything left to do.
pub const AT_REST: [Rule; 2] = [
    ("a job that is not done is in the queue", an_open_job_is_in_the_queue),
    ("what a script has written is told", what_a_script_has_written_is_told),
];

fn queue(world: &World) -> Option<&Queue> {
    match &world.inodes[world.status?].content {
        Content::Whole(queue) => Some(queue),
        Content::Half => None,
    }
}

fn a_pending_entry_has_its_request_file(world: &World) -> bool {
    queue(world).into_iter().flatten().all(|(job, status)| *status != Status::Pending || world.requests[*job])
}

fn a_done_row_has_its_response(world: &World) -> bool {
    world.rows.iter().all(|row| row.status != Status::Done || row.is_canceled || row.has_response)
}

fn a_canceled_job_never_runs(world: &World) -> bool {
    world.rows.iter().zip(&world.runs).all(|(row, runs)| !row.is_canceled || *runs == 0)
}

fn an_entry_is_in_the_queue_once(world: &World) -> bool {
    let Some(queue) = queue(world) else { return true };
    (0..world.requests.len()).all(|job| queue.iter().filter(|(other, _)| *other == job).count() <= 1)
}

fn an_open_job_is_in_the_queue(world: &World) -> bool {
    let Some(queue) = queue(world) else { return world.rows.is_empty() };
    let is_there = |job| queue.iter().any(|(other, _)| *other == job);
    world.rows.iter().enumerate().all(|(job, row)| row.status == Status::Done || is_there(job))
}

fn what_a_script_has_written_is_told(world: &World) -> bool {
    let Some(queue) = queue(world) else { return world.rows.is_empty() };
    let written = |job| queue.iter().find(|(other, _)| *other == job).map(|(_, status)| *status);
    let told = |(job, status): (usize, &Status)| {
        world.rows.get(job).is_none_or(|row| row.status >= *status) && written(job).is_none_or(|word| word >= *status)
    };
    world.told.iter().enumerate().all(told)
}
