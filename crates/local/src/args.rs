use std::path::PathBuf;
use std::time::Duration;

use bcrlapi_domain::{ApiName, OwnerScope};
use clap::{Parser, Subcommand};

/// The whole of bcrlapi on this computer: the API, DynamoDB and S3 on loopback, the agent and a worker.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one job from end to end and show every step; leaves nothing behind.
    Demo,
    /// Stay up, with data that is kept, for your own client, agent or worker.
    Up(Up),
    /// Be a client: submit jobs to the api `mock`, follow and check every one, print a summary.
    Load(Load),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    /// Where the API listens; the two ports after it are DynamoDB's and S3's. 0 takes free ones.
    #[arg(long, default_value_t = 9000)]
    pub(crate) port: u16,
    /// Where data and keys are kept.
    #[arg(long, default_value = ".bcrlapi", value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The apis that are offered, separated by commas.
    #[arg(long, default_value = "soc,mock", value_delimiter = ',', value_name = "NAMES")]
    pub(crate) apis: Vec<ApiName>,
    /// Whose jobs a caller sees: `principal`, `account` or `session`.
    #[arg(long, default_value = OwnerScope::default().as_str(), value_name = "SCOPE")]
    pub(crate) owner_scope: OwnerScope,
    /// How many jobs may be open before more are refused; any number without this.
    #[arg(long, value_name = "N")]
    pub(crate) queue_limit: Option<usize>,
    /// Start no worker: run your own, or examples/app-server/cron.py.
    #[arg(long)]
    pub(crate) no_worker: bool,
    /// Start no agent: run your own bcrlapi-agent.
    #[arg(long)]
    pub(crate) no_agent: bool,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  . .bcrlapi/env && bcrlapi-local load --jobs 20 --every 1s --seconds 3 --fail-rate 0.1"
)]
pub(crate) struct Load {
    /// The API's URL.
    #[arg(long, env = "BCRLAPI_URL", value_name = "URL")]
    pub(crate) url: String,
    /// How many jobs to submit.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub(crate) jobs: u32,
    /// The pause between two submits.
    #[arg(long, default_value = "5m", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) every: Duration,
    /// How long each job takes in the lab, in seconds.
    #[arg(long, default_value_t = 0.0, value_name = "S")]
    pub(crate) seconds: f64,
    /// How many of the jobs fail in the lab, 0 to 1.
    #[arg(long, default_value_t = 0.0, value_name = "RATE")]
    pub(crate) fail_rate: f64,
    /// How large each result is at the least, in bytes.
    #[arg(long, default_value_t = 0, value_name = "BYTES")]
    pub(crate) size_bytes: u32,
    /// How long a job may take from submit to result.
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
}
