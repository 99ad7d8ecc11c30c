//! The `bcrlapi-agent` command.

use std::path::PathBuf;
use std::time::Duration;

use bcrlapi_agent::Config;
use bcrlapi_cloud::JobStore;
use chrono::FixedOffset;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Mirrors the jobs in the cloud and a lab's shared directory.
///
/// Credentials, region and endpoints come from the environment, as every AWS SDK finds them.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Example:\n  bcrlapi-agent --shared /shared/bcrlapi --table bcrlapi --bucket bcrlapi-123456789012"
)]
struct Args {
    /// The directory that the APP server reads and writes too.
    #[arg(long, env = "BCRLAPI_SHARED", default_value = "/shared/bcrlapi", value_name = "DIR")]
    shared: PathBuf,
    /// The DynamoDB table (output of the deployment).
    #[arg(long, env = "BCRLAPI_TABLE", value_name = "NAME")]
    table: String,
    /// The S3 bucket (output of the deployment).
    #[arg(long, env = "BCRLAPI_BUCKET", value_name = "NAME")]
    bucket: String,
    /// The pause between two looks for new jobs.
    #[arg(long, env = "BCRLAPI_POLL", default_value = "2s", value_name = "TIME", value_parser = humantime::parse_duration)]
    poll: Duration,
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

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let config = Config { shared: args.shared, poll: args.poll, utc_offset: args.utc_offset };
    let store = JobStore::from_env(&args.table, &args.bucket).await;
    bcrlapi_agent::run(&config, store, stop_on_signal()?).await?;
    Ok(())
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
