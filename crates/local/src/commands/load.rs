use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bcrlapi::{Client, Signer};
use bcrlapi_domain::{ApiName, Outcome};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use super::say;
use crate::args::Load;

/// How one job went, as far as it went well.
struct Finished {
    outcome: Outcome,
    took: Duration,
}

pub(crate) async fn run(args: Load) -> anyhow::Result<()> {
    ensure!((0.0..=1.0).contains(&args.fail_rate), "--fail-rate is between 0 and 1");
    let client = Client::new(&args.url, Signer::from_env(&args.url).await?)?;
    let mut jobs = JoinSet::new();
    let mut report = Report::default();
    let mut clock = interval(args.every.max(Duration::from_millis(1)));
    let mut numbers = 1..=args.jobs;
    while !numbers.is_empty() || !jobs.is_empty() {
        tokio::select! {
            _ = clock.tick(), if !numbers.is_empty() => {
                let number = numbers.next().unwrap_or_default();
                let (client, input, limit) = (client.clone(), input(&args, number), args.timeout);
                jobs.spawn(async move { (number, follow(&client, input, limit).await) });
            }
            Some(job) = jobs.join_next() => {
                let (number, result) = job?;
                report.add(number, result);
            }
        }
    }
    report.conclude()
}

fn input(args: &Load, number: u32) -> Value {
    json!({
        "seconds": args.seconds,
        "fail_rate": args.fail_rate,
        "size_bytes": args.size_bytes,
        "payload": format!("job {number} of {}, 電池", args.jobs),
    })
}

/// Submits one job, waits for its end and checks that the result is the answer to this very request.
async fn follow(client: &Client, input: Value, limit: Duration) -> anyhow::Result<Finished> {
    let api: ApiName = "mock".parse()?;
    let started = Instant::now();
    let job = client.submit(&api, input.to_string().into_bytes()).await.context("submit")?;
    let waited = timeout(limit, client.wait(job.uuid, |_| {})).await;
    let done = waited.with_context(|| format!("job {} is not done after {limit:?}", job.uuid))?.context("wait")?;
    let took = started.elapsed();
    let outcome = done.outcome.context("a done job has no outcome")?;
    match outcome {
        Outcome::Succeeded => {
            let bytes = client.result(job.uuid).await.context("result")?;
            let result: Value = serde_json::from_slice(&bytes)?;
            ensure!(result["uuid"] == json!(job.uuid), "job {} got the result of {}", job.uuid, result["uuid"]);
            ensure!(result["payload"] == input["payload"], "job {} got another payload back", job.uuid);
            let size_bytes = input["size_bytes"].as_u64().unwrap_or_default();
            ensure!(bytes.len() as u64 >= size_bytes, "job {} got only {} bytes", job.uuid, bytes.len());
        }
        Outcome::Failed => {
            let error = done.error.unwrap_or_default();
            ensure!(input["fail_rate"].as_f64() > Some(0.0), "job {} failed: {error}", job.uuid);
        }
        other => bail!("job {} was {}", job.uuid, other.as_str()),
    }
    Ok(Finished { outcome, took })
}

#[derive(Default)]
struct Report {
    succeeded: usize,
    failed: usize,
    wrong: usize,
    took: Vec<Duration>,
}

impl Report {
    fn add(&mut self, number: u32, result: anyhow::Result<Finished>) {
        match result {
            Ok(job) => {
                say(&format!("job {number}: {} after {:.2} s", job.outcome.as_str(), job.took.as_secs_f64()));
                let count = if job.outcome == Outcome::Succeeded { &mut self.succeeded } else { &mut self.failed };
                *count += 1;
                self.took.push(job.took);
            }
            Err(error) => {
                say(&format!("job {number}: WRONG: {error:#}"));
                self.wrong += 1;
            }
        }
    }

    fn conclude(mut self) -> anyhow::Result<()> {
        let Self { succeeded, failed, wrong, .. } = self;
        say(&format!("\n{succeeded} succeeded, {failed} failed as asked, {wrong} wrong"));
        self.took.sort_unstable();
        if let (Some(best), Some(worst)) = (self.took.first(), self.took.last()) {
            let seconds = [best, &self.took[self.took.len() / 2], worst].map(Duration::as_secs_f64);
            say(&format!(
                "submit to done: best {:.2} s, median {:.2} s, worst {:.2} s",
                seconds[0], seconds[1], seconds[2]
            ));
        }
        ensure!(wrong == 0, "{wrong} jobs went wrong");
        Ok(())
    }
}
