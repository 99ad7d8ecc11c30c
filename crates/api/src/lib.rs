//! What goes over the wire between a client and the API: the routes, the job, the problems.
//!
//! The functions write these types and the client command reads them, so that the two cannot drift apart.

pub mod content_digest;
mod job_list;
mod job_resource;
mod json_fault;
mod lab_state;
mod problem;
mod result_link;
pub mod routes;

pub use content_digest::{ContentDigest, InvalidContentDigest};
pub use job_list::JobList;
pub use job_resource::{JobLinks, JobResource};
pub use json_fault::{JsonFault, check_json};
pub use lab_state::{LabPresence, LabState};
pub use problem::{Problem, ProblemBody, ProblemKind};
pub use result_link::ResultLink;
pub use routes::{Function, Route};
