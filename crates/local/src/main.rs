//! The `bcrlapi-local` command.

mod args;
mod commands;

use std::process::ExitCode;

use args::{Args, Command};
use clap::Parser;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let default_level =
        if matches!(args.command, Command::Up(_)) { "warn,bcrlapi_agent=info,bcrlapi_worker=info" } else { "warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_level));
    // A log that cannot be written is no reason to stop.
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false).init();
    let done = match args.command {
        Command::Demo => commands::demo::run().await,
        Command::Up(up) => commands::up::run(up).await,
        Command::Load(load) => commands::load::run(load).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            commands::complain(&error);
            ExitCode::FAILURE
        }
    }
}
