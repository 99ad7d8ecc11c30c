//! What the system's tests stand on: a whole bcrlapi of their own, real processes, and requests of any form.
#![allow(clippy::print_stderr, reason = "the test harness shows it where a test fails")]

mod announce;
mod audit;
mod binaries;
mod document;
mod faults;
mod process;
mod proxy;
mod request;
mod settings;
mod system;

pub use announce::announce;
pub use audit::assert_audit_is_clean;
pub use binaries::binary;
pub use document::Document;
pub use faults::{Fate, Faults};
pub use process::Process;
pub use proxy::{Cut, cuttable_proxy, slow_proxy};
pub use request::{Reply, Request, sha256};
pub use settings::{seed, setting};
pub use system::{DYNAMODB_URL, S3_URL, System, payload};
