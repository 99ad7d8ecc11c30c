//! The shared directory on disk: what the agent and the worker may do to it, and nothing else.
//!
//! Guarantees: a file of ours appears whole or not at all, and survives a power cut once a call has
//! returned; no symbolic link is followed, whoever swaps a folder for one meanwhile, and nothing
//! but a regular file is read; status.json is replaced only while the lock is held, only if it
//! still holds what was read, and so that what it held until then is not lost. What a file system
//! cannot do (modes, owners, fsync of a folder, exchange) is done without where it can be, and what
//! it refuses after status.json has been replaced is told beside the success.

mod digest;
mod displaced;
mod durable;
mod error;
mod facts;
mod file_system;
mod finding;
mod fingerprint;
mod folder;
mod journal;
mod lock;
mod memory;
mod responses;
mod shared;
mod status;
mod sweep;
mod trial;
mod watch;
mod worker_lock;

pub use digest::Digest;
pub use error::DirectoryError;
pub use file_system::FileSystem;
pub use finding::{Finding, Verdict};
pub use fingerprint::Fingerprint;
pub use journal::MAX_BYTES as JOURNAL_MAX_BYTES;
pub use lock::Lock;
pub use shared::SharedDir;
pub use status::{Published, SeenStatus};
pub use trial::{DirectoryTrial, UnsharedFolder};
pub use watch::StatusWatch;
