//! What the three functions share where HTTP comes in and goes out: who is calling, and how an answer is written.

mod call;
mod etag;
mod respond;
mod settings;

pub use call::{Call, store_problem};
pub use etag::{Caching, etag_of, is_known, not_modified, tagged};
pub use respond::{Answer, json_response, problem_response, raw_json_response, respond};
pub use settings::{Deployment, optional};
