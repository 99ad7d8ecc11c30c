//! The whole system on this computer: embedded DynamoDB and S3, a gateway that checks signatures, the three functions
//! as they are deployed, the agent and a worker. For development, for trying things out and for tests.

mod lab;
pub mod programs;
mod stack;
mod until;

pub use lab::Lab;
pub use stack::{Authorizer, FREE_PORTS, Principal, REGION, Settings, Stack, Unauthorized};
pub use until::{until, until_within};
