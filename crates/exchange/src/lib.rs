//! The shared-directory protocol: two parties who share nothing but files, and one of them is somebody's cron script.
//!
//! ```text
//! request/{uuid}.json     the agent writes it once, before the job appears in status.json
//! request/status.json     the queue, oldest first; both sides rewrite it
//! response/{uuid}.json    the APP server writes it, before it sets the job to done
//! ```
//!
//! [`plan`] makes every decision of the agent from what was seen; [`Queue`] is the queue as a value, for
//! both sides. Pure: no I/O, no clock, no randomness, which `clippy.toml` beside this crate enforces.

mod action;
pub mod audit;
pub mod document;
mod entry;
mod fields;
mod jobs;
mod lab_date;
pub mod layout;
mod line;
mod next_queue;
mod plan;
pub mod promise;
mod queue;
mod repair;
mod request_file;
mod salvage;
mod spaced_json;
mod text;
mod view;
mod words;
mod worker_mark;

pub use action::{Action, Due};
pub use entry::Entry;
pub use plan::{REMOTE_RESPONSE_GRACE, RESPONSE_GRACE, Settings, plan};
pub use queue::{BrokenQueue, Queue};
pub use request_file::render_request;
pub use view::{Displaced, LabJob, QueueSeen, ResponseSeen, View, Workload};
pub use worker_mark::{Orphaned, WorkerMark};
