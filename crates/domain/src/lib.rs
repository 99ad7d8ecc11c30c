//! The words of bcrlapi and its rules: what a job is, who owns it, how it may change.
//!
//! Pure: no I/O, no clock, no randomness. Time comes in as an argument.

mod api_name;
mod id;
mod idempotency_key;
mod job;
pub mod limits;
mod owner;
mod state;

pub use api_name::{ApiName, InvalidApiName};
pub use id::{InvalidJobId, JobId};
pub use idempotency_key::{IdempotencyKey, InvalidIdempotencyKey};
pub use job::{Job, Payload};
pub use owner::{Owner, OwnerScope};
pub use state::{Outcome, State, Status, UnknownWord};
