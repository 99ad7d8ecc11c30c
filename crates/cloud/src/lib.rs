//! The jobs in the cloud: status in DynamoDB, bodies in S3. The only code that names the AWS SDKs.
//!
//! Guarantees: an object is written before the row that makes it visible; every change of a job's row is one
//! conditional write that can only move the job forward; a submit under a key is one transaction. Correctness rests on
//! the table's conditions alone, not on S3's.

mod cloud_date;
mod credentials;
mod error;
mod item;
mod keyed;
mod lab;
mod refusal;
mod schema;
mod store;

pub use credentials::FoundCredentials;
pub use error::StoreError;
pub use keyed::KeyedSubmit;
pub use lab::{AgentId, Beat, Heartbeat, Holder, Place};
pub use refusal::{Refusal, RefusalKind, Tried};
pub use schema::{Index, TABLE, TableSchema};
pub use store::{JobFilter, JobPage, JobStore, LastWords, LocalEndpoints, PART_BYTES, Trial};
