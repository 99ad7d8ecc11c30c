//! What the system's tests stand on: a whole bcrlapi of their own, real processes, and requests of any form.
#![allow(clippy::print_stderr, reason = "the test harness shows it where a test fails")]

mod binaries;
mod document;
mod process;
mod proxy;
mod request;
mod system;

pub use binaries::binary;
pub use document::Document;
pub use process::Process;
pub use proxy::{Cut, cuttable_proxy, slow_proxy};
pub use request::{Reply, Request};
pub use system::{System, payload};
