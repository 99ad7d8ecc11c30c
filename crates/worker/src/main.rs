//! The `bcrlapi-worker` command.

use std::io::{self, Write};
use std::num::NonZeroUsize;
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
    #[arg(long, env = "BCRLAPI_SHARED", value_name = "DIR")]
    shared: PathBuf,
    /// Look once, run what is there (up to --jobs), and go; for cron.
    #[arg(long)]
    once: bool,
    /// How many jobs may run at the same time.
    #[arg(long, default_value = "1", value_name = "N")]
    jobs: NonZeroUsize,
    /// Your program and its first arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
    let stop = Arc::new(Stop::default());
    ask_on_signals(Arc::clone(&stop))?;
    let config = Config { shared: args.shared, once: args.once, jobs: args.jobs, command: args.command };
    let jobs_run = bcrlapi_worker::run(&config, &stop)?;
    writeln!(io::stdout(), "{jobs_run} jobs run")?;
    Ok(())
}

fn ask_on_signals(stop: Arc<Stop>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    thread::spawn(move || signals.forever().for_each(|_| stop.ask()));
    Ok(())
}
