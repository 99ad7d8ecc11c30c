//! The API's client: signs, sends, and reads the answers. The `bcrlapi` command is made of it.

mod answer;
mod client;
mod download;
mod error;
mod profile;
mod sign;

pub use client::{Client, FIRST_ANSWER_PATIENCE, ListQuery, Submitted, WAIT_PATIENCE};
pub use error::ClientError;
pub use sign::{Choices, Signer};
