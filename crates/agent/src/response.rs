//! A response's way back: is the file one whole JSON document, then upload it, then the job is done.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::str;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bcrlapi_cloud::JobStore;
use bcrlapi_directory::{DirectoryError, SharedDir};
use bcrlapi_domain::{JobId, Payload};
use chrono::Utc;
use serde::Deserialize;
use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

use crate::AgentError;
use crate::execute::Effect;

/// The largest response that is taken: what S3 accepts in one piece.
const RESPONSE_MAX_BYTES: u64 = 5 * 1024 * 1024 * 1024;
const READ_BYTES: usize = 64 * 1024;

/// What a look at a response file gave.
pub(crate) enum Checked {
    /// One whole JSON document; the file is at its start.
    Whole(File, Payload),
    /// Nothing that can be taken, and that is the program's doing.
    Unusable(Unusable),
}

/// Why a response file cannot be taken; text for the caller.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("the program set the job to done but wrote no response file")]
    Missing,
    #[error("the response file is not valid JSON: {0}")]
    NotJson(serde_json::Error),
    #[error("the response file is not UTF-8")]
    NotUtf8,
    #[error("the response file has {0} bytes; at most {RESPONSE_MAX_BYTES} are taken")]
    TooLarge(u64),
    #[error("the response is not a regular file")]
    NotAFile,
}

/// Uploads the job's response and records that it has succeeded. Without a whole response nothing happens, or on the last
/// try the job fails.
pub(crate) async fn give_back(
    store: &JobStore,
    directory: SharedDir,
    id: JobId,
    is_last_try: bool,
) -> Result<Effect, AgentError> {
    let checked = spawn_blocking(move || check(&directory, id)).await.expect("file work does not panic")?;
    let job = match checked {
        Checked::Whole(file, payload) => {
            store.put_response(id, &file, &payload).await?;
            tracing::info!(uuid = %id, bytes = payload.size_bytes, "done");
            store.succeed(id, &payload, Utc::now()).await?
        }
        Checked::Unusable(reason) if is_last_try => {
            tracing::warn!(uuid = %id, %reason, "failed");
            store.fail(id, &reason.to_string(), Utc::now()).await?
        }
        Checked::Unusable(reason) => {
            tracing::debug!(uuid = %id, %reason, "no whole response yet");
            return Ok(Effect::NoResponseYet);
        }
    };
    Ok(Effect::learned(id, job))
}

/// Reads the job's response file once, in memory that grows with its nesting alone.
fn check(directory: &SharedDir, id: JobId) -> Result<Checked, AgentError> {
    let mut file = match directory.open_response(id) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(Checked::Unusable(Unusable::Missing)),
        Err(DirectoryError::NotAFile(_)) => return Ok(Checked::Unusable(Unusable::NotAFile)),
        Err(error) => return Err(error.into()),
    };
    let unreadable = |source| AgentError::Response { id, source };
    let size_bytes = file.metadata().map_err(unreadable)?.len();
    if size_bytes > RESPONSE_MAX_BYTES {
        return Ok(Checked::Unusable(Unusable::TooLarge(size_bytes)));
    }
    match measure(&file) {
        Ok(payload) => {
            file.rewind().map_err(unreadable)?;
            Ok(Checked::Whole(file, payload))
        }
        Err(error) => match error.io_error_kind() {
            None => Ok(Checked::Unusable(Unusable::NotJson(error))),
            Some(io::ErrorKind::InvalidData) => Ok(Checked::Unusable(Unusable::NotUtf8)),
            Some(_) => Err(unreadable(error.into())),
        },
    }
}

/// Size and digest of one whole JSON document.
fn measure(file: &File) -> Result<Payload, serde_json::Error> {
    let mut watched = Watched { inner: file, hasher: Sha256::new(), size_bytes: 0, unfinished: Vec::new() };
    let mut json = serde_json::Deserializer::from_reader(BufReader::with_capacity(READ_BYTES, &mut watched));
    IgnoredAny::deserialize(&mut json)?;
    json.end()?;
    drop(json);
    Ok(watched.into_payload())
}

/// Hashes and counts what passes, and lets through nothing but UTF-8, which a JSON reader that skips values
/// does not look at.
struct Watched<R> {
    inner: R,
    hasher: Sha256,
    size_bytes: u64,
    /// The beginning of a character whose rest has not come yet: 3 bytes at most.
    unfinished: Vec<u8>,
}

impl<R> Watched<R> {
    /// JSON ends in ASCII, so nothing is unfinished once a whole document has passed.
    fn into_payload(self) -> Payload {
        Payload { size_bytes: self.size_bytes, sha256: BASE64_STANDARD.encode(self.hasher.finalize()) }
    }

    fn check_utf8(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.unfinished.extend_from_slice(bytes);
        let valid = match str::from_utf8(&self.unfinished) {
            Ok(text) => text.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => return Err(not_utf8()),
        };
        self.unfinished.drain(..valid);
        Ok(())
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        self.size_bytes += length as u64;
        self.check_utf8(&buffer[..length])?;
        Ok(length)
    }
}

fn not_utf8() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ID: &str = "018aef2c-7a00-7000-8000-000000000001";

    fn check_content(content: &[u8]) -> Result<Payload, String> {
        let root = tempfile::tempdir().unwrap();
        let directory = SharedDir::open(root.path()).unwrap();
        let id = ID.parse().unwrap();
        fs::write(directory.path(&bcrlapi_exchange::layout::response(id)), content).unwrap();
        match check(&directory, id).unwrap() {
            Checked::Whole(_, payload) => Ok(payload),
            Checked::Unusable(reason) => Err(reason.to_string()),
        }
    }

    #[test]
    fn one_whole_json_document_is_taken_and_measured() {
        let payload = check_content(b"{\"soc\": 92.5}\n").unwrap();
        assert_eq!(payload.size_bytes, 14);
        assert_eq!(payload.sha256, BASE64_STANDARD.encode(Sha256::digest(b"{\"soc\": 92.5}\n")));
    }

    #[test]
    fn characters_may_be_cut_by_the_buffer() {
        let text = format!("\"{}\"", "充電率é".repeat(10_000));
        assert_eq!(check_content(text.as_bytes()).unwrap().size_bytes, text.len() as u64);
    }

    #[test]
    fn anything_else_is_refused_with_its_reason() {
        for (content, reason) in [
            (&b""[..], "EOF"),
            (b"{\"soc\": 9", "EOF"),
            (b"{} {}", "trailing"),
            (b"\"\xff\"", "UTF-8"),
            (b"{}\xe5", "trailing"),
            (b"NaN", "expected"),
        ] {
            let trouble = check_content(content).unwrap_err();
            assert!(trouble.contains(reason), "{trouble}");
        }
    }
}
