//! The sync agent: mirrors the jobs in the cloud and the lab's shared directory, over outbound connections only.
//!
//! It observes, plans, executes and sleeps. What to do next is [`bcrlapi_exchange::plan`]'s to say; what is here looks
//! and does. It may be killed at any instruction: whatever it knows is in the cloud or in the directory.

mod agent;
mod audit;
mod backoff;
mod check;
mod clock;
mod error;
mod execute;
mod health;
mod journal;
mod lease;
mod measure;
mod metrics;
mod observe;
mod page;
mod response;
mod resync;
mod run;
mod step;
mod systemd;
mod wake;

pub use agent::{Agent, Look};
pub use audit::Audit;
pub use check::{Finding, Verdict, check};
pub use clock::Clock;
pub use error::AgentError;
pub use health::health;
pub use lease::Lease;
pub use page::refuse_page;
pub use resync::{Resynced, resync};
pub use run::{Config, LOST_AFTER, run};
