//! Whether a response file is one whole JSON document, and what S3 is to be told of it.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::str;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bcrlapi_directory::{DirectoryError, SharedDir};
use bcrlapi_domain::{JobId, Payload};
use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};

/// The largest response that is taken: what S3 accepts in one piece.
const RESPONSE_MAX_BYTES: u64 = 5 * 1024 * 1024 * 1024;

/// Why a response file cannot be taken; text for the caller.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResponseTrouble {
    #[error("the program set the job to done but wrote no response file")]
    Missing,
    #[error("the response file is not valid JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    #[error("the response file has {0} bytes; at most {RESPONSE_MAX_BYTES} are taken")]
    TooLarge(u64),
    #[error("the response is not a regular file")]
    NotAFile,
    #[error("the response file could not be read: {0}")]
    Unreadable(String),
}

/// Reads the job's response file once, in bounded memory; gives it back at its start.
pub(crate) fn check(directory: &SharedDir, id: JobId) -> Result<(File, Payload), ResponseTrouble> {
    let mut file = directory.open_response(id)?.ok_or(ResponseTrouble::Missing)?;
    let size_bytes = file.metadata()?.len();
    if size_bytes > RESPONSE_MAX_BYTES {
        return Err(ResponseTrouble::TooLarge(size_bytes));
    }
    let mut watched =
        Watched { inner: BufReader::new(&file), hasher: Sha256::new(), size_bytes: 0, unfinished: Vec::new() };
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(&mut watched));
    serde::Deserialize::deserialize(&mut json).map(|IgnoredAny| ())?;
    json.end()?;
    drop(json);
    let payload = watched.into_payload();
    file.rewind()?;
    Ok((file, payload))
}

impl From<DirectoryError> for ResponseTrouble {
    fn from(error: DirectoryError) -> Self {
        match error {
            DirectoryError::NotAFile(_) => Self::NotAFile,
            other => Self::Unreadable(other.to_string()),
        }
    }
}

impl From<io::Error> for ResponseTrouble {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
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
        check(&directory, id).map(|(_, payload)| payload).map_err(|trouble| trouble.to_string())
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
