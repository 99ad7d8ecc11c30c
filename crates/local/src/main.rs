//! The `bcrlapi-local` command.

mod args;
mod commands;

use std::io::{self, Write};
use std::process::ExitCode;

use args::{Args, Command};
use clap::Parser;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    if let Err(error) = bcrlapi_settings::check_environment() {
        let _ = writeln!(io::stderr(), "error: {error}");
        return ExitCode::FAILURE;
    }
    let args = Args::parse();
    // The embedded database warns of every question that is answered with no.
    let default_level = match args.command {
        Command::Up(_) => "warn,bcrlapi_agent=info,bcrlapi_worker=info,dynoxide=error",
        Command::Demo | Command::Load(_) => "warn,dynoxide=error",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_level));
    // A log that cannot be written is no reason to stop.
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(bcrlapi_settings::shows_colors(&io::stderr()));
    log.log_internal_errors(false).init();
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
