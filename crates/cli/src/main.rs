//! The `bcrlapi` command.

mod args;
mod commands;
mod printable;
mod progress;
mod table;
mod wait;

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    commands::run(args::Args::read()).await
}
