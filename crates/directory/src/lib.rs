//! The shared directory on disk: what the agent and the worker may do to it, and nothing else.
//!
//! Guarantees: a file of ours appears whole or not at all, and survives a power cut once a call has returned;
//! no symbolic link is followed and nothing but a regular file is read; status.json is replaced only while
//! the lock is held, only if it still is the file that was read, and so that what it held until then is not lost.

mod displaced;
mod durable;
mod error;
mod fingerprint;
mod lock;
mod shared;
mod status;
mod trial;

pub use error::DirectoryError;
pub use fingerprint::Fingerprint;
pub use lock::Lock;
pub use shared::SharedDir;
pub use status::{Published, SeenStatus};
pub use trial::{DirectoryTrial, Stranger};
