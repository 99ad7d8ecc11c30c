use std::fmt;
use std::io::{self, Read, Write};

use bcrlapi_exchange::Queue;
use sha2::{Digest as _, Sha256};

/// So many bytes of a digest tell two queues apart in a log line or in a file's name.
const SHORT_BYTES: usize = 8;

/// The SHA-256 of a file's bytes: tells what a file holds apart where sizes and times do not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of the bytes that a reader gives to its end.
    pub(crate) fn of_all(mut bytes: impl Read) -> io::Result<Self> {
        let mut hasher = Hasher(Sha256::new());
        io::copy(&mut bytes, &mut hasher)?;
        Ok(Self(hasher.0.finalize().into()))
    }

    /// The digest of what the queue is written as.
    pub(crate) fn of_queue(queue: &Queue) -> Self {
        let mut hasher = Hasher(Sha256::new());
        queue.write_to(&mut hasher).expect("to hash what is in memory does not fail");
        Self(hasher.0.finalize().into())
    }

    /// The first 16 hexadecimal digits.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..SHORT_BYTES])
    }
}

/// The first 16 hexadecimal digits.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

/// Hashes what is written to it.
struct Hasher(Sha256);

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
