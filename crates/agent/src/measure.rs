//! One pass over a response file, in bounded memory: is it one whole JSON document, how large, and with which digests.

use std::fs::File;
use std::io::{self, Read};
use std::mem;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bcrlapi_cloud::PART_BYTES;
use bcrlapi_domain::Payload;
use bcrlapi_exchange::document::{self, DocumentFault};
use sha2::{Digest, Sha256};

/// Size and digests of one whole JSON document.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) payload: Payload,
    /// The SHA-256 of each of its parts of [`PART_BYTES`], in base64.
    pub(crate) part_sha256s: Vec<String>,
}

/// Reads all of a file that is one whole JSON document.
pub(crate) fn measure(file: &File) -> Result<Measured, DocumentFault> {
    let mut hashed = Hashed::new(file);
    document::check(&mut hashed)?;
    Ok(hashed.into_measured())
}

/// Hashes and counts what passes.
struct Hashed<R> {
    inner: R,
    size_bytes: u64,
    whole: Sha256,
    part: Sha256,
    part_sha256s: Vec<String>,
}

impl<R> Hashed<R> {
    fn new(inner: R) -> Self {
        Self { inner, size_bytes: 0, whole: Sha256::new(), part: Sha256::new(), part_sha256s: Vec::new() }
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

    fn into_measured(mut self) -> Measured {
        if !self.size_bytes.is_multiple_of(PART_BYTES) {
            self.part_sha256s.push(encode(self.part));
        }
        let payload = Payload { size_bytes: self.size_bytes, sha256: encode(self.whole) };
        Measured { payload, part_sha256s: self.part_sha256s }
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.whole.update(&buffer[..length]);
        self.hash_parts(&buffer[..length]);
        Ok(length)
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
        for (content, reason) in [(&b""[..], "empty"), (b"{} {}", "more follows"), (b"\"\xff\"", "UTF-8")] {
            let trouble = measure_content(content).unwrap_err();
            assert!(trouble.contains(reason), "{trouble}");
        }
    }
}
