//! The `bcrlapi-worker` command.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use bcrlapi_worker::{Config, Stop};
use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing_subscriber::EnvFilter;

const EXAMPLE: &str =
    "COMMAND is called with two more arguments: the request file to read and the response file to write.
A non-zero exit ends the job as failed, with the end of stderr as its error.

Example:
  bcrlapi-worker --shared /shared/bcrlapi -- python3 main.py

The first SIGTERM or Ctrl-C lets running programs finish; the second one ends them.";

/// Serves the queue of a shared directory: takes the first pending job, runs your program on it, sets it to done.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLE)]
struct Args {
    /// The shared directory.
    #[arg(long, env = "BCRLAPI_SHARED", default_value = "/shared/bcrlapi", value_name = "DIR")]
    shared: PathBuf,
    /// Claim up to --jobs jobs once, run them, exit; for cron.
    #[arg(long)]
    once: bool,
    /// How many jobs may run at the same time, at most 256.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// Your program and its first arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // A log that cannot be written is no reason to stop.
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    log.log_internal_errors(false).init();
    let stop = Arc::new(Stop::default());
    ask_on_signals(Arc::clone(&stop))?;
    let config = Config { shared: args.shared, once: args.once, jobs: args.jobs.into(), command: args.command };
    let jobs_run = bcrlapi_worker::run(&config, &stop)?;
    writeln!(io::stdout(), "ran {jobs_run} job(s)")?;
    Ok(())
}

fn ask_on_signals(stop: Arc<Stop>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    thread::spawn(move || {
        for _ in signals.forever() {
            stop.ask();
            tracing::info!("{}", if stop.is_urgent() { "ending what runs" } else { "finishing what runs" });
        }
    });
    Ok(())
}
