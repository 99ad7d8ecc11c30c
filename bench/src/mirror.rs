//! Many new jobs from the stores into the directory: by the agent, which makes them durable and acknowledges them, and
//! by tools that copy objects and do neither.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::ensure;
use bcrlapi_directory::SharedDir;
use bcrlapi_exchange::layout;
use tokio::runtime::Runtime;

use crate::harness::{Samples, Scale, ms, turns, wait_for};
use crate::lab::start_agent;
use crate::plot::Plot;
use crate::process;
use crate::python::tool;
use crate::report::{Goal, Report, Table};
use crate::stack::{body, submit_many};
use crate::system::{S3_URL, System};

/// The agent's own default.
const POLL: Duration = Duration::from_secs(2);
const TRANSFERS: &str = "32";
const TIMES_FASTER_THAN_SYNC: f64 = 10.0;

pub(crate) fn run(scale: Scale) -> anyhow::Result<Report> {
    let (jobs, rounds) = scale.choose((2_000, 5), (50, 1));
    let runtime = Runtime::new()?;
    let mut samples = [(); 3].map(|()| Samples::default());
    // To the end: removing thousands of files slows down who makes new ones right after it.
    let mut systems = Vec::new();
    for round in 0..rounds {
        let system = runtime.block_on(System::start())?;
        runtime.block_on(submit_many(system.stack().store(), jobs, &body()))?;
        for side in turns(round, samples.len()) {
            samples[side].push(match side {
                0 => runtime.block_on(by_agent(&system, jobs))?,
                1 => by_tool(
                    &mut rclone(&system, &system.environment(S3_URL)?, &system.path("rclone"))?,
                    &system.path("rclone"),
                    jobs,
                )?,
                _ => by_tool(
                    &mut sync(&system, &system.environment(S3_URL)?, &system.path("sync"))?,
                    &system.path("sync"),
                    jobs,
                )?,
            });
        }
        systems.push(system);
    }
    let [ours, rclone, sync] = samples.map(|samples| samples.median());
    let mut table = Table::new(&["", "time (ms)", "jobs a second", "durable", "acknowledged"]);
    let mut bars = Vec::new();
    let names = ["bcrlapi-agent", "rclone copy, 32 transfers", "aws s3 sync"];
    for (name, took, promise) in [(names[0], ours, "yes"), (names[1], rclone, "no"), (names[2], sync, "no")] {
        table.add(name, &[took, jobs as f64 / took * 1000.0]);
        table.rows.last_mut().expect("one was added").extend([promise.to_owned(), promise.to_owned()]);
        bars.push((name.to_owned(), took, name == names[0]));
    }
    let goal = |against, other, limit_ratio| {
        let what = format!("{jobs} new jobs into the directory");
        Goal { what, unit: "ms", ours, against, other, limit_ratio }
    };
    let goals = vec![goal(names[1], rclone, 1.0), goal(names[2], sync, 1.0 / TIMES_FASTER_THAN_SYNC)];
    let plot = Plot::Bars { title: format!("{jobs} new jobs from the stores into a directory"), unit: "ms", bars };
    Ok(Report { goals, table, plot })
}

/// From the agent's start until every job can be run.
async fn by_agent(system: &System, jobs: usize) -> anyhow::Result<f64> {
    let directory = SharedDir::open(&system.stack().shared())?;
    // Built, where it is not yet, before the time counts.
    system.command("bcrlapi-agent")?;
    let start = Instant::now();
    let agent = start_agent(system, POLL, &[])?;
    let seen = std::cell::Cell::new(None);
    wait_for("every entry", async || {
        let now = directory.status_fingerprint()?;
        let is_new = seen.replace(now) != now;
        Ok((is_new && directory.read_status()?.queue?.is_some_and(|queue| queue.entries().len() == jobs)).then_some(()))
    })
    .await?;
    let took = ms(start.elapsed());
    drop(agent);
    ensure!(directory.requests()?.len() == jobs, "every request is there");
    Ok(took)
}

fn by_tool(command: &mut Command, into: &Path, jobs: usize) -> anyhow::Result<f64> {
    let took = process::run(command)?.took_ms;
    let copied = std::fs::read_dir(into.join(layout::REQUEST_DIR))?.count();
    ensure!(copied == jobs, "{copied} of {jobs} objects were copied");
    Ok(took)
}

/// rclone, as fast as it is: told by its options where S3 is, and to compare sizes only.
pub(crate) fn rclone(system: &System, s3_url: &str, into: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(tool("rclone")?);
    command.args(["copy", &format!(":s3:{}", system.environment("BCRLAPI_BUCKET")?)]).arg(into);
    command.args(["--transfers", TRANSFERS, "--checkers", TRANSFERS, "--size-only", "--config", "/dev/null"]);
    command.args(["--s3-provider", "Other", "--s3-env-auth", "--s3-endpoint", s3_url]);
    command.args(["--s3-region", &system.environment("AWS_REGION")?]);
    command.envs(system.stack().environment()).env_remove("AWS_CA_BUNDLE");
    Ok(command)
}

/// `aws s3 sync` of the whole bucket.
pub(crate) fn sync(system: &System, s3_url: &str, into: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(tool("aws")?);
    command.args(["s3", "sync", "--only-show-errors", &format!("s3://{}", system.environment("BCRLAPI_BUCKET")?)]);
    command.arg(into).envs(system.stack().environment()).env(S3_URL, s3_url);
    Ok(command)
}
