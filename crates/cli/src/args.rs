use std::path::PathBuf;

use bcrlapi_domain::{ApiName, JobId};
use clap::{Parser, Subcommand};

const EXAMPLE: &str = "Example:
  export BCRLAPI_URL=https://a1b2c3.execute-api.ap-northeast-1.amazonaws.com/prod
  bcrlapi submit soc --input request.json --wait

Exit codes:
  0  ok
  1  the job failed
  2  wrong usage, no credentials, or a file that cannot be read or written
  3  the API refused
  4  the API could not be reached";

/// Runs jobs on a lab's programs over its API, and fetches their results.
///
/// Requests are signed with the credentials that the AWS CLI would use.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLE)]
pub(crate) struct Args {
    /// The API's URL, stage included (output of the deployment).
    #[arg(long, env = "BCRLAPI_URL", global = true, value_name = "URL")]
    pub(crate) url: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Submit a job; prints its uuid, or with --wait its result.
    Submit {
        /// The lab's program that it is for, such as soc.
        api: ApiName,
        /// The program's input, a JSON file; - is standard input.
        #[arg(long, default_value = "-", value_name = "FILE|-")]
        input: PathBuf,
        /// Wait for the job's end and print its result.
        #[arg(long)]
        wait: bool,
    },
    /// Show how far a job is.
    Status {
        /// The job.
        uuid: JobId,
    },
    /// Wait until a job is done.
    Wait {
        /// The job.
        uuid: JobId,
    },
    /// Fetch a job's result.
    Result {
        /// The job.
        uuid: JobId,
        /// Write it to this file instead of standard output.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}
