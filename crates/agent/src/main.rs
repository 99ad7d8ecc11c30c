//! The `bcrlapi-agent` command.

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use bcrlapi_agent::{Audit, Clock, Config, LOST_AFTER, Resynced, Verdict};
use bcrlapi_cloud::{JobStore, StoreError};
use bcrlapi_exchange::audit::Finding;
use bcrlapi_exchange::{RESPONSE_GRACE, Settings};
use chrono::{FixedOffset, TimeDelta};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_appender::non_blocking::NonBlockingBuilder;
use tracing_subscriber::EnvFilter;

/// How long file work that is under way may hold up the end of the process.
const HUNG_WORK_LIMIT: Duration = Duration::from_secs(1);
/// The exit code of a command that was called wrongly, as clap has it.
const USAGE: u8 = 2;
/// What the log has if `RUST_LOG` says nothing else. What the SDK finds on its way to credentials is in the agent's own
/// words, where there are none in the end.
const LOG_LEVELS: &str = "info,aws_config=off,aws_runtime=off";
/// How many lines of the log may wait for whoever reads it; what comes then is dropped.
const LOG_LINES_WAITING: usize = 10_000;

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
    /// Try everything that the agent needs, change nothing, and say what to fix.
    #[command(after_help = CHECK_HELP)]
    Check(Place),
    /// Ask the agent on this computer whether it works, through its metrics: for the health check of a container. Costs no
    /// call to AWS.
    #[command(after_help = HEALTH_HELP)]
    Health {
        /// Where that agent serves its metrics.
        #[arg(long, env = "BCRLAPI_METRICS", value_name = "ADDRESS")]
        metrics: SocketAddr,
    },
    /// Hold rows and directory against what is promised, change nothing, and say what is wrong and
    /// what to do.
    #[command(after_help = AUDIT_HELP)]
    Audit {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        limits: Limits,
        /// The time between the two looks, where there are two.
        #[arg(long, default_value = "20s", value_name = "TIME", value_parser = humantime::parse_duration)]
        pause: Duration,
    },
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

const HEALTH_HELP: &str = "\
Exits with 0 if the agent has looked at cloud and directory within 3 minutes, else with 1, and says which. The same under
/health for who asks by HTTP: 200 or 503.

Example:
  bcrlapi-agent health --metrics 127.0.0.1:9464";

const AUDIT_HELP: &str = "\
Prints a line for each rule, beginning with ok, warn or FAIL, then the jobs or files that break it and what to do. What is
wrong for a moment only is no finding: where something is, it looks again after --pause, and tells what stood in both looks.

Exits with 0, or with 1 if there is a FAIL. May be run beside an agent, as the agent's user. It looks at every job of the
week with the permissions of a resync, else at those that are open and at 50,000 of the queue.

Example:
  bcrlapi-agent audit --shared /shared/bcrlapi --table bcrlapi --bucket bcrlapi-123456789012";

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
    #[command(flatten)]
    limits: Limits,
    /// Serve metrics for Prometheus at this address, under /metrics, as in 127.0.0.1:9464. Anybody who reaches the address
    /// may read them: keep to loopback, where web pages are refused, or to a network of your own. On loopback, call it by
    /// its address or as localhost.
    #[arg(long, env = "BCRLAPI_METRICS", value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,
}

/// What a lab's jobs are held to.
#[derive(Debug, clap::Args)]
struct Limits {
    /// Give up a job as lost once it has been processing for so long, as in 2h; with off it may run
    /// for its whole week.
    #[arg(
        long,
        env = "BCRLAPI_LOST_AFTER",
        default_value_t = Deadline::DEFAULT,
        value_name = "TIME|off",
        value_parser = parse_deadline
    )]
    lost_after: Deadline,
}

/// How long a job may be processing; for its whole week, if `None`. A type of its own: an optional
/// flag is another thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Deadline(Option<TimeDelta>);

impl Deadline {
    const DEFAULT: Self = Self(Some(LOST_AFTER));
    /// The word for none.
    const OFF: &str = "off";
}

/// As it is written on the command line.
impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(limit) => humantime::format_duration(limit.to_std().unwrap_or_default()).fmt(f),
            None => f.write_str(Self::OFF),
        }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    if let Err(error) = bcrlapi_settings::check_environment() {
        writeln!(io::stderr(), "error: {error}")?;
        return Ok(ExitCode::from(USAGE));
    }
    let args = Args::parse();
    if let Some(Command::Health { metrics }) = args.command {
        return health(metrics);
    }
    // What a check or an audit has to say, it prints.
    let prints = matches!(args.command, Some(Command::Check(_) | Command::Audit { .. }));
    let default_level = if prints { "off" } else { LOG_LEVELS };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_level));
    // A log that cannot be written, or that nobody reads any more, is no reason to stop.
    let (log, _log_guard) = NonBlockingBuilder::default().buffered_lines_limit(LOG_LINES_WAITING).finish(io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(log)
        .with_ansi(bcrlapi_settings::shows_colors(&io::stderr()))
        .log_internal_errors(false)
        .init();
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
        (Some(Command::Audit { place, limits, pause }), _) => tokio::select! {
            code = audit(place, limits, pause) => return code,
            () = stop.cancelled() => bail!("stopped before everything was looked at"),
        },
        (Some(Command::Health { .. }), _) => unreachable!("it has no need of the cloud"),
        (None, Some(place)) => bcrlapi_agent::run(&place.config(&args.pace), place.store().await?, stop).await?,
        (None, None) => unreachable!("without a subcommand the place is required"),
    }
    Ok(ExitCode::SUCCESS)
}

fn health(metrics: SocketAddr) -> anyhow::Result<ExitCode> {
    let (is_healthy, words) = bcrlapi_agent::health(metrics)
        .with_context(|| format!("no agent answers on {metrics}; does it run with --metrics {metrics}?"))?;
    writeln!(io::stdout(), "{words}")?;
    Ok(if is_healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn check(place: Place) -> anyhow::Result<ExitCode> {
    let findings = bcrlapi_agent::check(&place.shared, &place.store().await?).await;
    for finding in &findings {
        writeln!(io::stdout(), "{finding}")?;
    }
    let has_failed = findings.iter().any(|finding| finding.verdict == Verdict::Fail);
    Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn audit(place: Place, limits: Limits, pause: Duration) -> anyhow::Result<ExitCode> {
    let store = place.store().await?;
    let audit = Audit {
        shared: place.shared,
        lost_after: limits.lost_after.0,
        grace: Audit::GRACE,
        pause,
        clock: Clock::SYSTEM,
    };

    let findings = audit.run(&store).await?;
    for finding in &findings {
        writeln!(io::stdout(), "{finding}")?;
    }

    let has_failed = findings.iter().any(Finding::is_failure);
    Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn resync(place: Place) -> anyhow::Result<()> {
    let settings = Settings { offset: place.utc_offset, lost_after: None, response_grace: RESPONSE_GRACE };
    let Resynced { requests, responses, entries } =
        bcrlapi_agent::resync(&place.shared, settings, place.store().await?, Clock::SYSTEM).await?;
    let brought = format!("{requests} requests, {responses} responses, {entries} entries of status.json");
    writeln!(io::stdout(), "brought back: {brought}\nnext: start the agent again")?;
    Ok(())
}

impl Place {
    fn config(&self, pace: &Pace) -> Config {
        let (shared, utc_offset) = (self.shared.clone(), self.utc_offset);
        Config { shared, poll: pace.poll, utc_offset, metrics: pace.metrics, lost_after: pace.limits.lost_after.0 }
    }

    async fn store(&self) -> Result<JobStore, StoreError> {
        JobStore::from_lab_env(&self.table, &self.bucket).await
    }
}

/// No time at all is no deadline, and is said by a word: a 0 might be a slip.
fn parse_deadline(text: &str) -> Result<Deadline, String> {
    if text == Deadline::OFF {
        return Ok(Deadline(None));
    }

    let limit = humantime::parse_duration(text).map_err(|error| format!("{error}; give a time such as 6h, or off"))?;
    let limit = TimeDelta::from_std(limit).map_err(|error| error.to_string())?;

    if limit < TimeDelta::seconds(1) {
        return Err("it must be at least 1s, or off".to_owned());
    }

    Ok(Deadline(Some(limit)))
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn a_deadline_reads_as_it_is_written() {
        for text in ["6h", "1h 30m", "1s", "off"] {
            assert_eq!(parse_deadline(text).map(|deadline| deadline.to_string()), Ok(text.to_owned()));
        }

        assert_eq!(parse_deadline("6h"), Ok(Deadline::DEFAULT));
    }

    #[test]
    fn a_deadline_that_is_none_is_said_by_its_word_alone() {
        for text in ["", "0", "0s", "999ms", "never", "OFF", "-1h", "6"] {
            let error = parse_deadline(text).unwrap_err();
            assert!(error.contains("off"), "{text}: {error}");
        }
    }

    #[test]
    fn the_help_names_the_default_and_the_word() {
        let help = Args::command().render_long_help().to_string();
        assert!(help.contains("--lost-after <TIME|off>"), "{help}");
        assert!(help.contains("[default: 6h]"), "{help}");
    }
}
