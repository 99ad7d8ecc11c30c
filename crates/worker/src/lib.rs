//! The APP server's duty, done under the lock: take the first pending job from the top, set it to processing, run your
//! program on it, set it to done. Knows files and programs, and nothing of AWS.

mod error;
mod program;
mod queue;
mod run;
mod stop;

pub use error::WorkerError;
pub use run::{Config, run};
pub use stop::Stop;
