use std::fmt;

use sha2::{Digest as _, Sha256};

/// So many characters of a digest tell two queues apart in a log line or in a file's name.
const SHORT_BYTES: usize = 8;

/// The SHA-256 of a file's bytes: tells what a file holds apart where sizes and times do not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The first 16 hexadecimal digits.
    pub(crate) fn short(&self) -> String {
        self.0[..SHORT_BYTES].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The first 16 hexadecimal digits.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}
