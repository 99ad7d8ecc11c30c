//! A response's way back: is the file one whole JSON document, then upload it, then the job is done.

use std::fs::File;

use bcrlapi_cloud::JobStore;
use bcrlapi_directory::{DirectoryError, SharedDir};
use bcrlapi_domain::JobId;
use bcrlapi_exchange::Due;
use bcrlapi_exchange::document::DocumentFault;
use chrono::{DateTime, Utc};
use tokio::task::spawn_blocking;

use crate::AgentError;
use crate::execute::{Effect, SaidLast};
use crate::measure::{Measured, measure};

/// The largest response that is taken.
const RESPONSE_MAX_BYTES: u64 = 5 * 1024 * 1024 * 1024;

/// What a look at a response file gave.
enum Checked {
    /// One whole JSON document.
    Whole(File, Measured),
    /// Nothing that can be taken, and that is the program's doing.
    Unusable(Unusable),
}

/// Why a response file cannot be taken; text for the caller.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("the program set the job to done but wrote no response file")]
    Missing,
    #[error("the response file cannot be taken: {0}")]
    Faulty(DocumentFault),
    #[error("the response file has {0} bytes; at most {RESPONSE_MAX_BYTES} are taken")]
    TooLarge(u64),
    #[error(
        "the lab's agent cannot read the response: {0}; a program that uses mkstemp, or the umask 077, has to widen the \
         file's permissions"
    )]
    Unreadable(String),
    #[error("the response is not a regular file")]
    NotAFile,
    #[error("the response is a hard link to another file; write a file of its own")]
    HardLinked,
}

/// Uploads the job's response and records that it has succeeded. Without a whole response nothing happens, or on the
/// last try the job fails. One that the system does not let the agent read is tried again, until the job is overdue.
pub(crate) async fn give_back(
    store: &JobStore,
    directory: SharedDir,
    id: JobId,
    due: Due,
    is_overdue: bool,
    said_last: SaidLast,
    now: impl Fn() -> DateTime<Utc>,
) -> Result<Effect, AgentError> {
    let checked = spawn_blocking(move || check(&directory, id)).await.expect("file work does not panic");
    let checked = match checked {
        // Nobody has made it readable in all that time, and the job must come to its end.
        Err(error) if due == Due::LastTry && is_overdue => Checked::Unusable(Unusable::Unreadable(cause(&error))),
        checked => checked?,
    };
    let job = match checked {
        Checked::Whole(file, Measured { payload, part_sha256s }) => {
            store.put_response(id, &file, &payload, &part_sha256s).await?;
            tracing::info!(uuid = %id, bytes = payload.size_bytes, "done");
            store.succeed(id, &payload, Some(said_last.words()), now()).await?
        }
        Checked::Unusable(reason) if due == Due::LastTry => {
            tracing::warn!(uuid = %id, %reason, "failed");
            store.fail(id, &reason.to_string(), Some(said_last.words()), now()).await?
        }
        Checked::Unusable(reason) => {
            tracing::debug!(uuid = %id, %reason, "no whole response yet");
            return Ok(Effect::NoResponseYet(due));
        }
    };
    Ok(Effect::learned(id, job))
}

/// What the system has said, without the lab's paths, which are none of the caller's business.
fn cause(error: &AgentError) -> String {
    let system = match error {
        AgentError::Directory(DirectoryError::Io { source, .. }) | AgentError::Response { source, .. } => Some(source),
        _ => None,
    };
    system.map_or_else(|| error.to_string(), ToString::to_string)
}

fn check(directory: &SharedDir, id: JobId) -> Result<Checked, AgentError> {
    let file = match directory.open_response(id) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(Checked::Unusable(Unusable::Missing)),
        Err(DirectoryError::NotAFile(_)) => return Ok(Checked::Unusable(Unusable::NotAFile)),
        Err(DirectoryError::HardLinked(_)) => return Ok(Checked::Unusable(Unusable::HardLinked)),
        Err(error) => return Err(error.into()),
    };
    let unreadable = |source| AgentError::Response { id, source };
    let size_bytes = file.metadata().map_err(unreadable)?.len();
    if size_bytes > RESPONSE_MAX_BYTES {
        return Ok(Checked::Unusable(Unusable::TooLarge(size_bytes)));
    }
    match measure(&file) {
        Ok(measured) => {
            directory.sync_response(id, &file)?;
            Ok(Checked::Whole(file, measured))
        }
        Err(DocumentFault::Unreadable(source)) => Err(unreadable(source)),
        Err(fault) => Ok(Checked::Unusable(Unusable::Faulty(fault))),
    }
}
