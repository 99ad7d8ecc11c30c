//! One pass over a response file, in bounded memory: is it one whole JSON document, how large, and with which digests.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::{mem, str};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bcrlapi_cloud::PART_BYTES;
use bcrlapi_domain::Payload;
use serde::Deserialize;
use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};

const READ_BYTES: usize = 64 * 1024;
/// How deep a response may be nested: the JSON reader remembers every level.
pub(crate) const NESTING_MAX: usize = 10_000;

/// Size and digests of one whole JSON document.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) payload: Payload,
    /// The SHA-256 of each of its parts of [`PART_BYTES`], in base64.
    pub(crate) part_sha256s: Vec<String>,
}

/// Why there is nothing to measure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotMeasured {
    #[error("it is not valid JSON: {0}")]
    NotJson(serde_json::Error),
    #[error("it is not UTF-8")]
    NotUtf8,
    #[error("it is nested deeper than {NESTING_MAX} levels")]
    TooDeep,
    /// The system did not let it be read.
    #[error(transparent)]
    Unreadable(io::Error),
}

pub(crate) fn measure(file: &File) -> Result<Measured, NotMeasured> {
    let mut watched = Watched::new(file);
    let mut json = serde_json::Deserializer::from_reader(BufReader::with_capacity(READ_BYTES, &mut watched));
    let parsed = IgnoredAny::deserialize(&mut json).and_then(|_| json.end());
    drop(json);
    match (watched.refused.take(), parsed) {
        (Some(refused), _) => Err(refused),
        (None, Err(error)) if error.is_io() => Err(NotMeasured::Unreadable(error.into())),
        (None, Err(error)) => Err(NotMeasured::NotJson(error)),
        (None, Ok(())) => Ok(watched.into_measured()),
    }
}

/// Hashes and counts what passes, and ends it where a JSON reader that skips values would not: at what is not UTF-8,
/// and below too many levels.
struct Watched<R> {
    inner: R,
    size_bytes: u64,
    whole: Sha256,
    part: Sha256,
    part_sha256s: Vec<String>,
    /// The beginning of a character whose rest has not come yet: 3 bytes at most.
    unfinished: Vec<u8>,
    nesting: Nesting,
    refused: Option<NotMeasured>,
}

impl<R> Watched<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            size_bytes: 0,
            whole: Sha256::new(),
            part: Sha256::new(),
            part_sha256s: Vec::new(),
            unfinished: Vec::new(),
            nesting: Nesting::default(),
            refused: None,
        }
    }

    fn look_at(&mut self, bytes: &[u8]) -> Result<(), NotMeasured> {
        self.whole.update(bytes);
        self.hash_parts(bytes);
        self.nesting.follow(bytes);
        if self.nesting.depth > NESTING_MAX { Err(NotMeasured::TooDeep) } else { self.check_utf8(bytes) }
    }

    fn hash_parts(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = PART_BYTES - self.size_bytes % PART_BYTES;
            let (now, later) = bytes.split_at(bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
            self.part.update(now);
            self.size_bytes += now.len() as u64;
            if self.size_bytes.is_multiple_of(PART_BYTES) {
                self.part_sha256s.push(encode(mem::take(&mut self.part)));
            }
            bytes = later;
        }
    }

    fn check_utf8(&mut self, bytes: &[u8]) -> Result<(), NotMeasured> {
        self.unfinished.extend_from_slice(bytes);
        let valid = match str::from_utf8(&self.unfinished) {
            Ok(text) => text.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => return Err(NotMeasured::NotUtf8),
        };
        self.unfinished.drain(..valid);
        Ok(())
    }

    /// JSON ends in ASCII, so nothing is unfinished once a whole document has passed.
    fn into_measured(mut self) -> Measured {
        if !self.size_bytes.is_multiple_of(PART_BYTES) {
            self.part_sha256s.push(encode(self.part));
        }
        let payload = Payload { size_bytes: self.size_bytes, sha256: encode(self.whole) };
        Measured { payload, part_sha256s: self.part_sha256s }
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        match self.look_at(&buffer[..length]) {
            Ok(()) => Ok(length),
            Err(refused) => {
                self.refused = Some(refused);
                Err(io::ErrorKind::InvalidData.into())
            }
        }
    }
}

/// How many brackets are open. Knows strings, and nothing else of JSON.
#[derive(Default)]
struct Nesting {
    depth: usize,
    is_in_string: bool,
    is_escaped: bool,
}

impl Nesting {
    /// Stops where it is too deep.
    fn follow(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                _ if mem::take(&mut self.is_escaped) => {}
                b'\\' if self.is_in_string => self.is_escaped = true,
                b'"' => self.is_in_string = !self.is_in_string,
                _ if self.is_in_string => {}
                b'[' | b'{' => self.depth += 1,
                b']' | b'}' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            if self.depth > NESTING_MAX {
                return;
            }
        }
    }
}

fn encode(hasher: Sha256) -> String {
    BASE64_STANDARD.encode(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    fn measure_content(content: &[u8]) -> Result<Measured, String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file.rewind().unwrap();
        measure(&file).map_err(|error| error.to_string())
    }

    #[test]
    fn one_whole_json_document_is_measured() {
        let measured = measure_content(b"{\"soc\": 92.5}\n").unwrap();
        let sha256 = encode(Sha256::new_with_prefix(b"{\"soc\": 92.5}\n"));
        assert_eq!(measured.payload, Payload { size_bytes: 14, sha256: sha256.clone() });
        assert_eq!(measured.part_sha256s, [sha256]);
    }

    #[test]
    fn characters_may_be_cut_by_the_buffer() {
        let text = format!("\"{}\"", "充電率é".repeat(10_000));
        assert_eq!(measure_content(text.as_bytes()).unwrap().payload.size_bytes, text.len() as u64);
    }

    #[test]
    fn parts_are_hashed_at_their_borders() {
        let part = usize::try_from(PART_BYTES).unwrap();
        for (size_bytes, parts) in [(part - 1, 1), (part, 1), (part + 1, 2), (2 * part, 2)] {
            let text = format!("\"{}\"", "x".repeat(size_bytes - 2));
            let expected: Vec<_> =
                text.as_bytes().chunks(part).map(|part| encode(Sha256::new_with_prefix(part))).collect();
            assert_eq!(expected.len(), parts);
            assert_eq!(measure_content(text.as_bytes()).unwrap().part_sha256s, expected, "{size_bytes} bytes");
        }
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
            let trouble = measure_content(content).unwrap_err();
            assert!(trouble.contains(reason), "{trouble}");
        }
    }

    #[test]
    fn nesting_has_a_limit_and_brackets_in_strings_are_none() {
        let nested = |levels| ["[".repeat(levels), "]".repeat(levels)].concat();
        assert!(measure_content(nested(NESTING_MAX).as_bytes()).is_ok());
        assert!(measure_content(nested(NESTING_MAX + 1).as_bytes()).unwrap_err().contains("nested"));
        let brackets = format!("[\"{}\\\"{}\"]", "[".repeat(NESTING_MAX), "{".repeat(NESTING_MAX));
        assert!(measure_content(brackets.as_bytes()).is_ok());
    }
}
