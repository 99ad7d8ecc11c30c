//! The sync agent: mirrors the jobs in the cloud and the lab's shared directory, over outbound connections only.
//!
//! It observes, plans, executes and sleeps. What to do next is [`bcrlapi_exchange::plan`]'s to say; what is here looks
//! and does. It may be killed at any instruction: whatever it knows is in the cloud or in the directory.

mod agent;
mod backoff;
mod check;
mod error;
mod execute;
mod measure;
mod metrics;
mod observe;
mod response;
mod resync;
mod run;
mod step;
mod wake;

pub use agent::{Agent, Clock, Look};
pub use check::{Finding, Verdict, check};
pub use error::AgentError;
pub use resync::{Resynced, resync};
pub use run::{Config, run};
