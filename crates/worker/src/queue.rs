//! The worker's two changes to status.json.

use std::thread;
use std::time::Duration;

use bcrlapi_directory::{DirectoryError, SharedDir};
use bcrlapi_domain::{JobId, Outcome, State};

use crate::Stop;

/// How often and how long an ended job's entry is looked for, should somebody's script have just thrown it out:
/// the agent puts it back.
const FINISH_TRIES: u32 = 60;
const FINISH_PAUSE: Duration = Duration::from_secs(1);

/// Takes the first pending job from the top: it is `processing` when this returns.
pub(crate) fn claim(directory: &SharedDir) -> Result<Option<JobId>, DirectoryError> {
    directory.update_status(|queue| {
        let id = queue.first_pending()?;
        queue.advance(id, State::Processing, None);
        Some(id)
    })
}

/// Sets the job to `done`. Tries for a minute, or until a second stop signal: the program's work is not to be lost to a
/// directory that is away for a moment.
pub(crate) fn finish(directory: &SharedDir, id: JobId, failure: Option<&str>, stop: &Stop) {
    let state = State::Done(if failure.is_some() { Outcome::Failed } else { Outcome::Succeeded });
    for _ in 0..FINISH_TRIES {
        let mut is_done = false;
        let finished = directory.update_status(|queue| {
            is_done = queue.entry(id)?.state().is_some_and(State::is_done);
            queue.advance(id, state, failure).then_some(())
        });
        match finished {
            Ok(Some(())) => return,
            Ok(None) if is_done => return,
            Ok(None) => tracing::warn!(uuid = %id, "the job is missing in status.json; trying again"),
            Err(error) => tracing::warn!(uuid = %id, %error, "cannot set the job to done; trying again"),
        }
        if stop.is_urgent() {
            break;
        }
        thread::sleep(FINISH_PAUSE);
    }
    tracing::error!(uuid = %id, "giving up: the job is over, but its entry was not set to done");
}
