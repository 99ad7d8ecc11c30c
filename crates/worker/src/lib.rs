//! The APP server's duty, done under the lock: take the first pending job from the top, set it to processing, run your
//! program on it, set it to done. Knows files and programs, and nothing of AWS.

mod check;
mod command;
mod desk;
mod error;
mod failure;
mod output;
mod process;
mod program;
mod response;
mod run;
mod stop;
mod trouble;

pub use check::check;
pub use command::NotStartable;
pub use error::WorkerError;
pub use process::ignores_hang_up;
pub use run::{Config, run};
pub use stop::Stop;
