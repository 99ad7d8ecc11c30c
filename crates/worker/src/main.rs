//! The `bcrlapi-worker` command.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bcrlapi_directory::Verdict;
use bcrlapi_worker::{Config, Stop};
use clap::{Parser, Subcommand};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use tracing_appender::non_blocking::NonBlockingBuilder;
use tracing_subscriber::EnvFilter;

/// The exit code of a command that was called wrongly, as clap has it.
const USAGE: u8 = 2;
/// How many lines of the log may wait for whoever reads it; what comes then is dropped.
const LOG_LINES_WAITING: usize = 10_000;

const EXAMPLE: &str =
    "COMMAND is called with two more arguments: the request file to read and the response file to write.
A non-zero exit ends the job as failed, with the end of stderr as its error. A response that is not one
whole JSON document does so too, with what is wrong with it.

Examples:
  bcrlapi-worker --shared /shared/bcrlapi -- python3 main.py
  bcrlapi-worker check --shared /shared/bcrlapi -- python3 main.py

The first SIGTERM, SIGHUP or Ctrl-C lets running programs finish; a second SIGTERM or Ctrl-C
kills them.";

const CHECK_HELP: &str = "\
Prints a line each, beginning with ok, warn or FAIL:
  directory    it is there and can be written, and its folders are not somebody else's alone
  lock         the queue can be locked, and whether that reaches other hosts
  exchange     whether its file system lets two files change places in one step
  command      the program is there and can be started
  queue        how many jobs wait and run

Exits with 0, or with 1 if there is a FAIL. May be run beside a worker.

Example:
  bcrlapi-worker check --shared /shared/bcrlapi -- python3 main.py";

/// Serves the queue of a shared directory: takes the first pending job, runs your program on it, sets it to done.
#[derive(Debug, Parser)]
#[command(version, subcommand_negates_reqs = true, args_conflicts_with_subcommands = true, after_help = EXAMPLE)]
struct Args {
    #[command(subcommand)]
    subcommand: Option<Command>,
    #[command(flatten)]
    work: Option<Work>,
    #[command(flatten)]
    pace: Pace,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try everything that the worker needs, change nothing, and say what to fix.
    #[command(after_help = CHECK_HELP)]
    Check(Work),
}

/// Where the jobs are, and what runs them.
#[derive(Debug, clap::Args)]
struct Work {
    /// The shared directory.
    #[arg(long, env = "BCRLAPI_SHARED", default_value = "/shared/bcrlapi", value_name = "DIR")]
    shared: PathBuf,
    /// Your program and its first arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// How many jobs, and for how long.
#[derive(Debug, clap::Args)]
struct Pace {
    /// Claim up to --jobs jobs once, run them, exit; for cron.
    #[arg(long)]
    once: bool,
    /// How many jobs may run at the same time, at most 256.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// End a program that has run for so long, as in 2h, and fail its job; without this it may run
    /// for ever.
    #[arg(long, env = "BCRLAPI_TIMEOUT", value_name = "TIME", value_parser = parse_timeout)]
    timeout: Option<Duration>,
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(timeout) if timeout >= Duration::from_secs(1) => Ok(timeout),
        Ok(_) => Err("must be at least 1s".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn main() -> anyhow::Result<ExitCode> {
    if let Err(error) = bcrlapi_settings::check_environment() {
        writeln!(io::stderr(), "error: {error}")?;
        return Ok(ExitCode::from(USAGE));
    }
    let args = Args::parse();
    if let Some(Command::Check(work)) = args.subcommand {
        return check(&work);
    }
    let work = args.work.expect("without a subcommand, a command is required");

    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // A log that cannot be written, or that nobody reads any more, is no reason to stop.
    let (log, _log_guard) = NonBlockingBuilder::default().buffered_lines_limit(LOG_LINES_WAITING).finish(io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(log)
        .with_ansi(bcrlapi_settings::shows_colors(&io::stderr()))
        .log_internal_errors(false)
        .init();

    take_signals_of_the_system()?;
    let stop = Arc::new(Stop::default());
    ask_on_signals(Arc::clone(&stop))?;
    let config = Config {
        shared: work.shared,
        once: args.pace.once,
        jobs: args.pace.jobs.into(),
        timeout: args.pace.timeout,
        command: work.command,
    };
    let jobs_run = bcrlapi_worker::run(&config, &stop)?;
    // After a hang-up there is nobody to be told, and the work was done.
    let _ = writeln!(io::stdout(), "ran {jobs_run} job(s)");
    Ok(ExitCode::SUCCESS)
}

fn check(work: &Work) -> anyhow::Result<ExitCode> {
    let findings = bcrlapi_worker::check(&work.shared, &work.command);
    let mut stdout = io::stdout();
    for finding in &findings {
        writeln!(stdout, "{finding}")?;
    }
    let has_failed = findings.iter().any(|finding| finding.verdict == Verdict::Fail);
    Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A write over the limit on a file's size (ulimit -f) is to fail, not to end the worker; and whoever
/// has started it may not care how its children end (SIGCHLD ignored), but it does.
fn take_signals_of_the_system() -> io::Result<()> {
    for signal in [SIGXFSZ, SIGCHLD] {
        signal_hook::flag::register(signal, Arc::default())?;
    }
    Ok(())
}

/// SIGHUP is what a worker gets whose terminal or ssh connection goes away: its jobs should not go
/// with it.
fn ask_on_signals(stop: Arc<Stop>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    if !bcrlapi_worker::ignores_hang_up() {
        signals.add_signal(SIGHUP)?;
    }
    thread::spawn(move || {
        for signal in signals.forever() {
            match signal {
                SIGHUP => stop.hang_up(),
                _ => stop.ask(),
            }
            tracing::info!("{}", stop.describe());
        }
    });
    Ok(())
}
