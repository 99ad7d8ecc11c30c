//! The `bcrlapi` command.

mod args;
mod commands;
mod progress;
mod table;
mod wait;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    commands::run(args::Args::parse()).await
}
