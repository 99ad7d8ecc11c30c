//! A result on its way to where it is kept.

use std::io::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bcrlapi_api::{ResultLink, content_digest};
use http::HeaderMap;
use sha2::{Digest, Sha256};

use crate::ClientError;

/// What was fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// How many bytes.
    pub size: u64,
    /// Whether it was compared with the API's digest: whoever is in between may take the header away.
    pub has_digest: bool,
}

/// Counts and digests what passes.
#[derive(Debug)]
pub(crate) struct Download {
    digest: Sha256,
    size: u64,
    expected_size: Option<u64>,
    /// SHA-256 in base64.
    expected_digest: Option<String>,
}

impl Download {
    /// Of an answer's body.
    pub(crate) fn of_answer(headers: &HeaderMap) -> Result<Self, ClientError> {
        let Some(value) = headers.get(content_digest::CONTENT_DIGEST) else { return Ok(Self::new(None, None)) };
        let value = value.to_str().map_err(|_| malformed("what is no text"))?;
        Ok(Self::new(None, expected(value)?))
    }

    /// Of what a link leads to.
    pub(crate) fn of_link(link: &ResultLink) -> Result<Self, ClientError> {
        Ok(Self::new(Some(link.size), expected(&link.content_digest)?))
    }

    fn new(expected_size: Option<u64>, expected_digest: Option<String>) -> Self {
        Self { digest: Sha256::new(), size: 0, expected_size, expected_digest }
    }

    pub(crate) fn write(&mut self, bytes: &[u8], sink: &mut impl Write) -> Result<(), ClientError> {
        self.size += bytes.len() as u64;
        self.digest.update(bytes);
        sink.write_all(bytes).map_err(ClientError::NotWritten)
    }

    /// Holds what has passed against what the API says.
    pub(crate) fn finish(self) -> Result<Checked, ClientError> {
        let Self { digest, size, expected_size, expected_digest } = self;
        if let Some(expected_size) = expected_size.filter(|expected| *expected != size) {
            return Err(ClientError::Damaged(format!("{size} bytes arrived of {expected_size}")));
        }
        let digest = BASE64_STANDARD.encode(digest.finalize());
        if let Some(expected) = expected_digest.as_ref().filter(|expected| **expected != digest) {
            return Err(ClientError::Damaged(format!("its SHA-256 is {digest}, and the API says {expected}")));
        }
        Ok(Checked { size, has_digest: expected_digest.is_some() })
    }
}

/// The SHA-256 that the API names; `None` where it names only what we cannot compute.
fn expected(value: &str) -> Result<Option<String>, ClientError> {
    content_digest::parse(value).map_err(|_| malformed(value))
}

fn malformed(value: &str) -> ClientError {
    ClientError::Damaged(format!("its Content-Digest is {value:?}, which is no digest"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn download(value: Option<&str>, body: &[u8]) -> Result<Checked, ClientError> {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert(content_digest::CONTENT_DIGEST, value.parse().unwrap());
        }
        let mut download = Download::of_answer(&headers)?;
        let mut sink = Vec::new();
        download.write(body, &mut sink)?;
        assert_eq!(sink, body);
        download.finish()
    }

    #[test]
    fn what_has_another_digest_or_size_is_damaged() {
        let good = "sha-256=:LCa0a2j/xo/5m0U8HTBBNBNCLXBkg7+g+YpeiGJm564=:";
        assert_eq!(download(Some(good), b"foo").unwrap(), Checked { size: 3, has_digest: true });
        assert_eq!(download(None, b"foo").unwrap(), Checked { size: 3, has_digest: false });
        assert!(matches!(download(Some(good), b"fox"), Err(ClientError::Damaged(_))));
        assert!(
            matches!(download(Some("sha-256=LCa0"), b"foo"), Err(ClientError::Damaged(_))),
            "never unchecked in silence"
        );
    }

    #[test]
    fn a_sink_that_is_full_is_told() {
        let mut full: &mut [u8] = &mut [0; 2];
        let error = Download::new(None, None).write(b"foo", &mut full).unwrap_err();
        assert!(matches!(error, ClientError::NotWritten(_)));
    }
}
