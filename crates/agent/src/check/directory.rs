//! The lab's side: the directory, its lock, and whether files can change places there.

use std::path::Path;

use bcrlapi_directory::{DirectoryTrial, FileSystem};

use super::Finding;

const DIRECTORY: &str = "directory";
const LOCK: &str = "lock";
const EXCHANGE: &str = "exchange";
const NOT_TRIED: &str = "not tried: fix the directory first";

pub(super) fn check(shared: &Path) -> [Finding; 3] {
    let tried = DirectoryTrial::of(shared).and_then(|trial| trial.write().map(|()| trial));
    match tried {
        Ok(trial) => [directory(shared, &trial), lock(&trial), Finding::of_exchange(EXCHANGE, trial.can_exchange())],
        Err(error) => {
            let fix = "make it or mount it, let the agent's user write there, or name another with --shared";
            let failed = Finding::fail(DIRECTORY, format!("{error}; {fix}"));
            [failed, Finding::fail(LOCK, NOT_TRIED), Finding::fail(EXCHANGE, NOT_TRIED)]
        }
    }
}

fn directory(shared: &Path, trial: &DirectoryTrial) -> Finding {
    let shared = shared.display();
    let missing = trial.missing_folders();
    let folders = if missing.is_empty() { String::new() } else { format!("; the agent makes {}", missing.join(", ")) };
    match trial.unshared_folders() {
        Ok(unshared) => match unshared.first() {
            None => Finding::ok(DIRECTORY, format!("{shared} can be written{folders}")),
            Some(folder) => Finding::warn(DIRECTORY, folder.to_string()),
        },
        Err(error) => Finding::fail(DIRECTORY, error.to_string()),
    }
}

fn lock(trial: &DirectoryTrial) -> Finding {
    let tried = trial.lock().and_then(|()| Ok((trial.has_agent()?, trial.file_system()?)));
    match tried {
        Ok((true, _)) => {
            Finding::warn(LOCK, "an agent serves the directory now; a second one will be refused: stop it first")
        }
        Ok((false, file_system)) if file_system.is_network_or_fuse => Finding::warn(LOCK, lock_of_others(&file_system)),
        Ok((false, _)) => Finding::ok(LOCK, "no agent serves the directory now"),
        Err(error) => Finding::fail(LOCK, format!("{error}; the file system must have flock")),
    }
}

/// One computer cannot try whether a lock reaches another one.
fn lock_of_others(file_system: &FileSystem) -> String {
    format!(
        "this is {}: a lock (flock) may not reach other hosts, or other mounts of the same files, and a program may then \
         run twice; run agent, worker and scripts on one mount of one host, or use NFS 4 mounted without local_lock",
        file_system.name
    )
}
