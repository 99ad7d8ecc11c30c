use std::path::PathBuf;
use std::time::Duration;

use bcrlapi_domain::{ApiName, IdempotencyKey, JobId, Status};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{ArgGroup, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

const EXAMPLE: &str = "Examples:
  export BCRLAPI_URL=https://a1b2c3.execute-api.ap-northeast-1.amazonaws.com/prod
  bcrlapi submit soc request.json --wait
  bcrlapi submit soc request.json -o result.json
  echo '{\"capacity_ah\": 2.5}' | bcrlapi submit soc
  source <(bcrlapi completions bash)

Exit codes:
  0    ok
  1    the job did not succeed
  2    wrong usage, no credentials, or a file that cannot be read or written
  3    the API refused
  4    the API could not be reached, or a result was corrupted in transit
  5    the job was not done within --timeout
  130  stopped by Ctrl-C (143: by SIGTERM)";

const CONNECTION: &str = "API and credentials";
const PRINTING: &str = "What is printed";

/// Runs jobs on a lab's programs over its API, and fetches their results.
///
/// Requests are signed with the credentials that the AWS CLI would use.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLE)]
pub(crate) struct Args {
    /// The API's URL, stage included (output of the deployment).
    #[arg(long, env = "BCRLAPI_URL", hide_env_values = true, global = true, value_name = "URL", help_heading = CONNECTION)]
    pub(crate) url: Option<String>,
    /// The AWS CLI profile to sign with; takes precedence over keys in the environment.
    #[arg(long, global = true, value_name = "NAME", help_heading = CONNECTION)]
    pub(crate) profile: Option<String>,
    /// The API's region; takes precedence over the environment and the URL.
    #[arg(long, global = true, value_name = "REGION", help_heading = CONNECTION)]
    pub(crate) region: Option<String>,
    /// Print what the API answers, as JSON, refusals too. A submit that waits prints the result, or the job where there
    /// is none.
    #[arg(long, global = true, help_heading = PRINTING)]
    pub(crate) json: bool,
    /// Log each call, its answer and its request id to standard error.
    #[arg(short = 'v', long, visible_alias = "verbose", global = true, help_heading = PRINTING)]
    pub(crate) debug: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Submit a job; prints its uuid, or with --wait its result.
    #[command(group = ArgGroup::new("waits").args(["wait", "output"]).multiple(true))]
    Submit {
        /// The lab's program that it is for, such as soc.
        api: ApiName,
        /// The program's input, a JSON file; - or nothing is standard input.
        #[arg(value_name = "FILE|-")]
        file: Option<PathBuf>,
        /// The same file, as an option.
        #[arg(long, value_name = "FILE|-", conflicts_with = "file")]
        input: Option<PathBuf>,
        /// Wait for the job's end and print its result.
        #[arg(long)]
        wait: bool,
        /// Wait for the job's end and write its result to this file; - is standard output.
        #[arg(short, long, value_name = "FILE|-")]
        output: Option<PathBuf>,
        /// How long to wait, such as 10m, or 0s to ask once; without it, to the job's end.
        #[arg(long, requires = "waits", value_name = "TIME", value_parser = humantime::parse_duration)]
        timeout: Option<Duration>,
        /// A name of your own for this submit: the same submit under the same key is one job. Without it, one is made
        /// up.
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<IdempotencyKey>,
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
        /// How long to wait, such as 10m, or 0s to ask once; without it, to the job's end.
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        timeout: Option<Duration>,
    },
    /// List your jobs, newest first.
    List {
        /// Only those for this api.
        #[arg(long)]
        api: Option<ApiName>,
        /// Only those in this status.
        #[arg(long, value_parser = status_words())]
        status: Option<Status>,
        /// The most jobs to list.
        #[arg(long, default_value_t = 20, value_name = "N", value_parser = at_least_one)]
        limit: usize,
    },
    /// Cancel a job. If the lab already has it, the lab must hand it back first (about 15 seconds). A running job
    /// continues.
    Cancel {
        /// The job.
        uuid: JobId,
    },
    /// Show whether the lab is online, and what it has to do.
    Lab,
    /// Fetch a job's result.
    Result {
        /// The job.
        uuid: JobId,
        /// Write it to this file instead of standard output. An older file is replaced when the whole result is there.
        #[arg(short, long, value_name = "FILE|-")]
        output: Option<PathBuf>,
        /// Convert to CSV: a list of objects, or an object with exactly one such list. Text that a spreadsheet would run
        /// as a formula gets a leading '.
        #[arg(long)]
        csv: bool,
        /// Convert to CSV that Excel opens correctly in any language: with a byte order mark and Windows line ends.
        #[arg(long, conflicts_with = "csv")]
        excel: bool,
    },
    /// Print a script that completes this command's words in a shell: source <(bcrlapi completions bash)
    Completions {
        /// The shell.
        shell: Shell,
    },
}

impl Args {
    /// Reads the command line; ends the process with a message where it is wrong.
    pub(crate) fn read() -> Self {
        let args = Self::parse();
        // `--json` may stand before the command and `--csv` after it, where clap's own rule does not see both.
        if args.json && matches!(args.command, Command::Result { csv: true, .. } | Command::Result { excel: true, .. })
        {
            let detail = "--csv and --excel cannot be used with --json";
            Self::command().error(ErrorKind::ArgumentConflict, detail).exit();
        }
        args
    }
}

fn status_words() -> impl TypedValueParser<Value = Status> {
    PossibleValuesParser::new(Status::ALL.map(Status::as_str))
        .map(|word| word.parse().expect("the words are those of the statuses"))
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "must be at least 1".to_owned())
}
