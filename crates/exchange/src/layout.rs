//! The names of everything in the shared directory, and the only place that makes them.

use bcrlapi_domain::JobId;

/// The folder the agent writes requests to.
pub const REQUEST_DIR: &str = "request";
/// The folder the APP server writes responses to.
pub const RESPONSE_DIR: &str = "response";
/// The queue.
pub const STATUS: &str = "request/status.json";
/// Where a new queue is made ready before it takes the queue's place.
pub const STATUS_STAGED: &str = "request/.status.json.staged";
/// Where queues linger that were displaced by newer ones: a script that had one open may still write to it.
pub const DISPLACED_DIR: &str = "request/.displaced";
/// All folders, each after the one that it is in.
pub const FOLDERS: [&str; 3] = [REQUEST_DIR, DISPLACED_DIR, RESPONSE_DIR];
/// A file, in any folder, by which it is tried whether files can be written there.
pub const TRIAL: &str = ".trial";
/// The other file, where it takes two.
pub const TRIAL_OTHER: &str = ".trial.other";
/// The advisory lock (flock) that whoever rewrites the queue should hold meanwhile.
pub const STATUS_LOCK: &str = "request/.status.lock";

/// The advisory lock (flock) that an agent holds as long as it lives. Not in a folder that somebody might replace.
pub const AGENT_LOCK: &str = ".agent.lock";

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

/// The place of a displaced queue. An inode's number is no other file's as long as the file is there.
pub fn displaced(inode: u64) -> String {
    format!("{DISPLACED_DIR}/{inode}.json")
}

/// The inode's number in a name in [`DISPLACED_DIR`].
pub fn displaced_inode(file_name: &str) -> Option<u64> {
    file_name.strip_suffix(".json")?.parse().ok()
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
