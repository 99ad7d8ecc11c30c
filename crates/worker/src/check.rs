//! Whether everything is there that the worker needs: tries it, changes nothing, and says what to
//! fix.

use std::path::Path;

use bcrlapi_directory::{DirectoryError, DirectoryTrial, FileSystem, Finding};

use crate::command;

const DIRECTORY: &str = "directory";
const LOCK: &str = "lock";
const EXCHANGE: &str = "exchange";
const COMMAND: &str = "command";
const QUEUE: &str = "queue";
const NOT_TRIED: &str = "not tried: fix the directory first";

/// Tries it all, in the order in which it should be fixed.
pub fn check(shared: &Path, command: &[String]) -> Vec<Finding> {
    let tried = DirectoryTrial::of(shared).and_then(|trial| trial.write().map(|()| trial));
    match tried {
        Ok(trial) => vec![
            of_directory(shared, &trial),
            of_lock(trial.lock(), trial.file_system()),
            Finding::of_exchange(EXCHANGE, trial.can_exchange()),
            of_command(command),
            of_queue(&trial),
        ],
        Err(error) => {
            let advice = "make it or mount it, let the worker's user write there, or name another with --shared";
            vec![
                Finding::fail(DIRECTORY, format!("{error}; {advice}")),
                Finding::fail(LOCK, NOT_TRIED),
                Finding::fail(EXCHANGE, NOT_TRIED),
                of_command(command),
                Finding::fail(QUEUE, NOT_TRIED),
            ]
        }
    }
}

fn of_directory(shared: &Path, trial: &DirectoryTrial) -> Finding {
    let shared = shared.display();
    let missing = trial.missing_folders();
    let folders = if missing.is_empty() { String::new() } else { format!("; the worker makes {}", missing.join(", ")) };
    match trial.unshared_folders() {
        Ok(unshared) => match unshared.first() {
            None => Finding::ok(DIRECTORY, format!("{shared} can be written{folders}")),
            Some(folder) => Finding::warn(DIRECTORY, folder.to_string()),
        },
        Err(error) => Finding::fail(DIRECTORY, error.to_string()),
    }
}

fn of_lock(locked: Result<(), DirectoryError>, file_system: Result<FileSystem, DirectoryError>) -> Finding {
    if let Err(error) = locked {
        return Finding::fail(LOCK, format!("{error}; the file system must have flock"));
    }
    match file_system {
        Ok(FileSystem { name, is_network_or_fuse: true }) => Finding::warn(
            LOCK,
            format!(
                "this is {name}, where a lock may not reach other hosts or other mounts; run the agent and all \
                 workers on one host and one mount, or make sure that the server shares its locks (NFS 4 does)"
            ),
        ),
        Ok(_) => Finding::ok(LOCK, "the queue can be locked"),
        Err(error) => Finding::fail(LOCK, error.to_string()),
    }
}

fn of_command(command: &[String]) -> Finding {
    match command::find(command) {
        Ok(path) => Finding::ok(COMMAND, path.display().to_string()),
        Err(reason) => {
            let name = command.first().map(String::as_str).unwrap_or_default();
            Finding::fail(COMMAND, format!("cannot start {name:?}: {reason}"))
        }
    }
}

fn of_queue(trial: &DirectoryTrial) -> Finding {
    match trial.read_status() {
        Ok(seen) => match seen.queue {
            Ok(Some(queue)) => {
                let (waiting, running) = queue.waiting_and_running();
                Finding::ok(QUEUE, format!("{waiting} waiting, {running} running"))
            }
            Ok(None) => Finding::warn(QUEUE, "no status.json yet: is an agent running on this directory?"),
            Err(broken) => Finding::warn(QUEUE, format!("{broken}; the agent puts it aside and makes it anew")),
        },
        Err(error) => Finding::fail(QUEUE, error.to_string()),
    }
}
