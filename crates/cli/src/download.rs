//! A result on its way to where it is kept.

use std::io::Write;

use bcrlapi_api::content_digest::CONTENT_DIGEST;
use bcrlapi_api::{ContentDigest, ResultLink};
use http::HeaderMap;
use sha2::{Digest, Sha256};

use crate::ClientError;

/// Counts and digests what passes.
#[derive(Debug)]
pub(crate) struct Download {
    sha256: Sha256,
    size: u64,
    expected_size: Option<u64>,
    expected_digest: ContentDigest,
}

impl Download {
    /// Of an answer's body. The API sends a digest with every result: where there is none, something in between has
    /// changed the answer.
    pub(crate) fn of_answer(headers: &HeaderMap) -> Result<Self, ClientError> {
        let lines: Result<Vec<_>, _> = headers.get_all(CONTENT_DIGEST).iter().map(|line| line.to_str()).collect();
        let lines = lines.map_err(|_| ClientError::Corrupted("its Content-Digest is not text".to_owned()))?;
        if lines.is_empty() {
            return Err(ClientError::Corrupted("it has no Content-Digest to check it by".to_owned()));
        }
        Ok(Self::new(None, parse(&lines.join(","))?))
    }

    /// Of what a link leads to.
    pub(crate) fn of_link(link: &ResultLink) -> Result<Self, ClientError> {
        Ok(Self::new(Some(link.size), parse(&link.content_digest)?))
    }

    fn new(expected_size: Option<u64>, expected_digest: ContentDigest) -> Self {
        Self { sha256: Sha256::new(), size: 0, expected_size, expected_digest }
    }

    pub(crate) fn write(&mut self, bytes: &[u8], sink: &mut impl Write) -> Result<(), ClientError> {
        self.size += bytes.len() as u64;
        self.sha256.update(bytes);
        sink.write_all(bytes).map_err(ClientError::NotWritten)
    }

    /// Holds what has passed against what the API says; gives its size in bytes.
    pub(crate) fn finish(self) -> Result<u64, ClientError> {
        let Self { sha256, size, expected_size, expected_digest } = self;
        if let Some(expected_size) = expected_size.filter(|expected| *expected != size) {
            return Err(ClientError::Corrupted(format!("{size} bytes arrived of {expected_size}")));
        }

        let digest = ContentDigest::from_sha256(sha256.finalize().into());
        if digest != expected_digest {
            return Err(ClientError::Corrupted(format!("its digest is {digest}, and the API says {expected_digest}")));
        }
        Ok(size)
    }
}

fn parse(value: &str) -> Result<ContentDigest, ClientError> {
    value.parse().map_err(|error| ClientError::Corrupted(format!("its Content-Digest is {value:?}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_FOO: &str = "sha-256=:LCa0a2j/xo/5m0U8HTBBNBNCLXBkg7+g+YpeiGJm564=:";

    fn download(value: Option<&str>, body: &[u8]) -> Result<u64, ClientError> {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert(CONTENT_DIGEST, value.parse().unwrap());
        }
        let mut download = Download::of_answer(&headers)?;
        let mut sink = Vec::new();
        download.write(body, &mut sink)?;
        assert_eq!(sink, body);
        download.finish()
    }

    #[test]
    fn what_has_another_digest_or_none_is_not_trusted() {
        assert_eq!(download(Some(OF_FOO), b"foo").unwrap(), 3);
        let other_algorithm = "sha-512=:AAAA:";
        for (value, body) in
            [(Some(OF_FOO), b"fox"), (Some("sha-256=LCa0"), b"foo"), (Some(other_algorithm), b"foo"), (None, b"foo")]
        {
            assert!(matches!(download(value, body), Err(ClientError::Corrupted(_))), "{value:?}");
        }
    }

    #[test]
    fn a_sink_that_is_full_is_told() {
        let mut full: &mut [u8] = &mut [0; 2];
        let error = Download::new(None, OF_FOO.parse().unwrap()).write(b"foo", &mut full).unwrap_err();
        assert!(matches!(error, ClientError::NotWritten(_)));
    }
}
