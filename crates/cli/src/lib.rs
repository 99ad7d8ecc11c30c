//! The API's client: signs, sends, and reads the answers. The `bcrlapi` command is made of it.

mod client;
mod error;
mod sign;

pub use client::{Client, ListQuery, Submitted, WAIT_FAILURE_LIMIT};
pub use error::ClientError;
pub use sign::Signer;
