//! The names of everything in the shared directory, and the only place that makes them.

use bcrlapi_domain::JobId;

use crate::WorkerMark;

/// The folder the agent writes requests to.
pub const REQUEST_DIR: &str = "request";
/// The folder the APP server writes responses to.
pub const RESPONSE_DIR: &str = "response";
/// The queue.
pub const STATUS: &str = "request/status.json";
/// Where version 0.1.0 made a new queue ready. Still used where a file cannot be moved out of
/// [`DISPLACED_DIR`].
pub const STATUS_STAGED: &str = "request/.status.json.staged";
/// Where a new queue is made ready, and where the one that it displaces lingers: a script that had
/// that one open may still write to it.
pub const DISPLACED_DIR: &str = "request/.displaced";
/// Where a program writes its response before the worker gives it its name.
pub const RUNNING_DIR: &str = "response/.running";
/// How far the agent has seen jobs go, an entry a line.
pub const JOURNAL: &str = "request/.journal";
/// Where a shorter journal is made ready before it takes the journal's place.
pub const JOURNAL_STAGED: &str = "request/.journal.staged";
/// All folders, each after the one that it is in.
pub const FOLDERS: [&str; 4] = [REQUEST_DIR, DISPLACED_DIR, RESPONSE_DIR, RUNNING_DIR];
/// The folders in which a change is news for the agent.
pub const WATCHED: [&str; 3] = [REQUEST_DIR, DISPLACED_DIR, RESPONSE_DIR];
/// A file, in any folder, by which it is tried whether files can be written there.
pub const TRIAL: &str = ".trial";
/// The other file, where it takes two.
pub const TRIAL_OTHER: &str = ".trial.other";
/// The advisory lock (flock) that whoever rewrites the queue should hold meanwhile.
pub const STATUS_LOCK: &str = "request/.status.lock";

/// The advisory lock (flock) that an agent holds as long as it lives. Not in a folder that somebody might replace.
pub const AGENT_LOCK: &str = ".agent.lock";
/// How the names of the locks begin that workers hold.
const WORKER_LOCK_PREFIX: &str = ".worker.lock-";
/// How much of a boot's id tells it from the others of a lab.
const BOOT_DIGITS: usize = 8;

/// The request file of a job.
pub fn request(id: JobId) -> String {
    format!("{REQUEST_DIR}/{id}.json")
}

/// Where a request file is made ready before it gets its name.
pub fn request_staged(id: JobId) -> String {
    format!("{REQUEST_DIR}/.{id}.json.staged")
}

/// The response file of a job.
pub fn response(id: JobId) -> String {
    format!("{RESPONSE_DIR}/{id}.json")
}

/// Where a response that the lab has lost is made ready before it gets its name again.
pub fn response_staged(id: JobId) -> String {
    format!("{RESPONSE_DIR}/.{id}.json.staged")
}

/// Where a queue that nobody can read is kept for people to look at; `time` as in `20261122T093000Z`.
pub fn status_corrupt(time: &str) -> String {
    format!("{STATUS}.corrupt-{time}")
}

/// Where the program of a job writes its response, until the worker gives it its name.
pub fn running(id: JobId) -> String {
    format!("{RUNNING_DIR}/{id}.json")
}

/// The place of a displaced queue as version 0.1.0 called it.
pub fn displaced(number: u64) -> String {
    format!("{DISPLACED_DIR}/{number}.json")
}

/// The place where a queue is staged whose content has a digest that begins so; after the exchange,
/// the place of the one that it has displaced.
pub fn displaced_by(number: u64, digest_start: &str) -> String {
    format!("{DISPLACED_DIR}/{number}.{digest_start}.json")
}

/// The number in a name in [`DISPLACED_DIR`], and with what the digest of the queue begins that was
/// staged there.
pub fn displaced_number(file_name: &str) -> Option<(u64, Option<&str>)> {
    let name = file_name.strip_suffix(".json")?;
    let (number, digest_start) = match name.split_once('.') {
        Some((number, digest_start)) => (number, Some(digest_start)),
        None => (name, None),
    };
    Some((number.parse().ok()?, digest_start))
}

/// The advisory lock (flock) that a worker holds as long as it lives. Anybody may have written the
/// mark: nothing of it gets into the name but digits.
pub fn worker_lock(mark: &WorkerMark) -> String {
    let WorkerMark { boot, pid, start, .. } = mark;
    let boot: String = boot.chars().filter(char::is_ascii_hexdigit).take(BOOT_DIGITS).collect();
    let namespace = mark.pid_namespace.unwrap_or_default();
    format!("{RUNNING_DIR}/{WORKER_LOCK_PREFIX}{boot}-{namespace}-{pid}-{start}")
}

/// Whether a file in [`RUNNING_DIR`] is the lock of a worker.
pub fn is_worker_lock(file_name: &str) -> bool {
    file_name.starts_with(WORKER_LOCK_PREFIX)
}

/// The job to which a file in [`RUNNING_DIR`] belongs: its name begins with the job's id.
pub fn job_of_running(file_name: &str) -> Option<JobId> {
    const ID_LENGTH: usize = 36;
    file_name.get(..ID_LENGTH)?.parse().ok()
}

/// The job whose request or response file is called this.
pub fn job_named(file_name: &str) -> Option<JobId> {
    file_name.strip_suffix(".json")?.parse().ok()
}

/// The job whose request or response file, ready or staged, is called this.
pub fn job_of_file(file_name: &str) -> Option<JobId> {
    let staged = file_name.strip_prefix('.').and_then(|name| name.strip_suffix(".staged"));
    job_named(staged.unwrap_or(file_name))
}

/// Whether a file of this name is a queue that was put aside.
pub fn is_corrupt_status(file_name: &str) -> bool {
    file_name.starts_with("status.json.corrupt-")
}
