//! The API's client: signs, sends, and reads the answers. The `bcrlapi` command is made of it.

mod answer;
mod client;
mod download;
mod error;
mod profile;
mod sign;

pub use client::{Client, ListQuery, Submitted};
pub use error::ClientError;
pub use sign::{Choices, Signer};
