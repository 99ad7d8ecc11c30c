//! A body from S3, held against what its row says while it is read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, ReadBuf};

/// Reads to the end only if all that was read has the expected digest. Its errors name S3: whoever copies the body
/// elsewhere would take them for that place's.
pub(super) struct Verified<R> {
    body: R,
    digest: Sha256,
    expected_sha256: String,
}

impl<R> Verified<R> {
    pub(super) fn new(body: R, expected_sha256: &str) -> Self {
        Self { body, digest: Sha256::new(), expected_sha256: expected_sha256.to_owned() }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Verified<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buffer.filled().len();
        if let Err(error) = ready!(Pin::new(&mut self.body).poll_read(context, buffer)) {
            return Poll::Ready(Err(io::Error::new(error.kind(), format!("reading it from S3: {error}"))));
        }
        let read = &buffer.filled()[filled..];
        self.digest.update(read);
        let is_over = read.is_empty() && buffer.remaining() > 0;
        let is_good = || BASE64_STANDARD.encode(self.digest.clone().finalize()) == self.expected_sha256;
        if is_over && !is_good() {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "what S3 has is not what the job's row says: its SHA-256 is another",
            )));
        }
        Poll::Ready(Ok(()))
    }
}
