//! The `bcrlapi-agent` command.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use bcrlapi_agent::{Config, Resynced, Verdict};
use bcrlapi_cloud::JobStore;
use bcrlapi_exchange::Settings;
use chrono::{FixedOffset, TimeDelta, Utc};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// How long file work that is under way may hold up the end of the process.
const HUNG_WORK_LIMIT: Duration = Duration::from_secs(1);

/// Mirrors the jobs in the cloud and a lab's shared directory.
///
/// Credentials, region and endpoints come from the environment, as every AWS SDK finds them.
#[derive(Debug, Parser)]
#[command(
    version,
    subcommand_negates_reqs = true,
    args_conflicts_with_subcommands = true,
    after_help = "Example:\n  bcrlapi-agent --shared /shared/bcrlapi --table bcrlapi --bucket bcrlapi-123456789012"
)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    place: Option<Place>,
    #[command(flatten)]
    pace: Pace,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring back what the shared directory has lost: requests, responses and entries of the last week. Stop the agent first.
    Resync(Place),
    /// Try everything that the agent needs, change nothing, and say what is to be mended.
    #[command(after_help = CHECK_HELP)]
    Check(Place),
}

const CHECK_HELP: &str = "\
Prints a line each, beginning with ok, warn or FAIL:
  directory    it is there and can be written, and its folders are not somebody else's alone
  lock         whether an agent serves it already
  exchange     whether its file system lets two files change places in one step
  credentials  where they come from, and whether AWS takes them
  table        the table and its index inbox answer
  bucket       the bucket answers
  clock        how far this computer's clock is from AWS's
  permissions  every call that an agent makes is permitted

Exits with 0, or with 1 if there is a FAIL. May be run beside an agent.

Example:
  bcrlapi-agent check --shared /shared/bcrlapi --table bcrlapi --bucket bcrlapi-123456789012";

/// Where a lab is, and where its jobs are in the cloud.
#[derive(Debug, clap::Args)]
struct Place {
    /// The directory that the APP server reads and writes too.
    #[arg(long, env = "BCRLAPI_SHARED", default_value = "/shared/bcrlapi", value_name = "DIR")]
    shared: PathBuf,
    /// The DynamoDB table (output of the deployment).
    #[arg(long, env = "BCRLAPI_TABLE", value_name = "NAME")]
    table: String,
    /// The S3 bucket (output of the deployment).
    #[arg(long, env = "BCRLAPI_BUCKET", value_name = "NAME")]
    bucket: String,
    /// The lab's offset from UTC, for the dates in its files.
    #[arg(
        long,
        env = "BCRLAPI_UTC_OFFSET",
        default_value = "+09:00",
        value_name = "±HH:MM",
        allow_hyphen_values = true
    )]
    utc_offset: FixedOffset,
}

/// How often it looks, how long it waits, and who may see that it does.
#[derive(Debug, clap::Args)]
struct Pace {
    /// The pause between two looks for new jobs.
    #[arg(long, env = "BCRLAPI_POLL", default_value = "2s", value_name = "TIME", value_parser = parse_poll)]
    poll: Duration,
    /// Give up a job as lost once it has been processing for so long, as in 6h; without this it may run for ever.
    #[arg(long, env = "BCRLAPI_LOST_AFTER", value_name = "TIME", value_parser = parse_lost_after)]
    lost_after: Option<TimeDelta>,
    /// Serve metrics for Prometheus at this address, under /metrics, as in 127.0.0.1:9464. Anybody who reaches the address may
    /// read them, so keep to loopback or to a network of your own.
    #[arg(long, env = "BCRLAPI_METRICS", value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    // What a check has to say, it prints.
    let default_level = if matches!(args.command, Some(Command::Check(_))) { "off" } else { "info" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_level));
    // A log that cannot be written is no reason to stop.
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    log.log_internal_errors(false).init();
    // It waits more than it works, and what takes long has threads of its own: one thread is quicker here than two that
    // wake each other, and takes less memory.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(run(args));
    // A file system that hangs would hold up the stop for ever.
    runtime.shutdown_timeout(HUNG_WORK_LIMIT);
    ended
}

async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let stop = stop_on_signal()?;
    match (args.command, args.place) {
        (Some(Command::Resync(place)), _) => tokio::select! {
            ended = resync(place) => ended?,
            () = stop.cancelled() => bail!("stopped before everything was brought back; run it again to go on"),
        },
        (Some(Command::Check(place)), _) => tokio::select! {
            code = check(place) => return code,
            () = stop.cancelled() => bail!("stopped before everything was tried"),
        },
        (None, Some(place)) => bcrlapi_agent::run(&place.config(&args.pace), place.store().await, stop).await?,
        (None, None) => unreachable!("without a subcommand the place is required"),
    }
    Ok(ExitCode::SUCCESS)
}

async fn check(place: Place) -> anyhow::Result<ExitCode> {
    let findings = bcrlapi_agent::check(&place.shared, &place.store().await).await;
    for finding in &findings {
        writeln!(io::stdout(), "{finding}")?;
    }
    let has_failed = findings.iter().any(|finding| finding.verdict == Verdict::Fail);
    Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn resync(place: Place) -> anyhow::Result<()> {
    let settings = Settings { offset: place.utc_offset, lost_after: None };
    let Resynced { requests, responses, entries } =
        bcrlapi_agent::resync(&place.shared, settings, place.store().await, Utc::now).await?;
    let brought = format!("{requests} requests, {responses} responses, {entries} entries of status.json");
    writeln!(io::stdout(), "brought back: {brought}\nnext: start the agent again")?;
    Ok(())
}

impl Place {
    fn config(&self, pace: &Pace) -> Config {
        let (shared, utc_offset) = (self.shared.clone(), self.utc_offset);
        Config { shared, poll: pace.poll, utc_offset, metrics: pace.metrics, lost_after: pace.lost_after }
    }

    async fn store(&self) -> JobStore {
        JobStore::from_lab_env(&self.table, &self.bucket).await
    }
}

fn parse_lost_after(text: &str) -> Result<TimeDelta, String> {
    let limit = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let limit = TimeDelta::from_std(limit).map_err(|error| error.to_string())?;
    if limit >= TimeDelta::seconds(1) { Ok(limit) } else { Err("it must be at least 1s".to_owned()) }
}

/// Shorter would only cost money; longer, and the lab looks dead and responses are judged late.
fn parse_poll(text: &str) -> Result<Duration, String> {
    const RANGE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_mins(1);
    let poll = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if RANGE.contains(&poll) { Ok(poll) } else { Err("it must be between 100ms and 1m".to_owned()) }
}

/// A token that SIGTERM and SIGINT cancel.
fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let cancel = stop.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
        cancel.cancel();
    });
    Ok(stop)
}
