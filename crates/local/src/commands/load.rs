use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bcrlapi::{Client, Signer};
use bcrlapi_domain::{ApiName, Outcome};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use super::say;
use crate::args::Load;

/// How one job went, as far as it went well.
struct Finished {
    has_succeeded: bool,
    took: Duration,
}

pub(crate) async fn run(args: Load) -> anyhow::Result<()> {
    ensure!((0.0..=1.0).contains(&args.fail_rate), "--fail-rate is between 0 and 1");
    let client = Client::new(&args.url, Signer::from_env(&args.url).await?)?;
    let mut jobs = JoinSet::new();
    let mut report = Report::default();
    let mut clock = interval(args.every.max(Duration::from_millis(1)));
    let mut submitted = 0;
    while submitted < args.jobs || !jobs.is_empty() {
        tokio::select! {
            _ = clock.tick(), if submitted < args.jobs => {
                submitted += 1;
                let number = submitted;
                let (client, input, limit) = (client.clone(), input(&args, number), args.timeout);
                jobs.spawn(async move { (number, follow(&client, number, input, limit).await) });
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
async fn follow(client: &Client, number: u32, input: Value, limit: Duration) -> anyhow::Result<Finished> {
    let api: ApiName = "mock".parse()?;
    let started = Instant::now();
    let job = client.submit(&api, input.to_string().into_bytes()).await.context("submit")?;
    say(&format!("job {number}: submitted as {}", job.uuid));
    let waited = timeout(limit, client.wait(job.uuid, |_| {})).await;
    let done = waited.with_context(|| format!("job {} is not done after {limit:?}", job.uuid))?.context("wait")?;
    let took = started.elapsed();
    let has_succeeded = done.has_succeeded();
    if has_succeeded {
        let bytes = client.result(job.uuid).await.context("result")?;
        let result: Value = serde_json::from_slice(&bytes)?;
        ensure!(result["uuid"] == json!(job.uuid), "job {} got the result of {}", job.uuid, result["uuid"]);
        ensure!(result["payload"] == input["payload"], "job {} got another payload back", job.uuid);
        let size_bytes = input["size_bytes"].as_u64().unwrap_or_default();
        ensure!(bytes.len() as u64 >= size_bytes, "job {} got only {} bytes", job.uuid, bytes.len());
    } else {
        let (outcome, error) = (done.outcome.unwrap_or_default(), done.error.unwrap_or_default());
        let was_asked_to = outcome == Outcome::Failed.as_str() && input["fail_rate"].as_f64() > Some(0.0);
        ensure!(was_asked_to, "job {}: {outcome}: {error}", job.uuid);
    }
    Ok(Finished { has_succeeded, took })
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
                let (count, word) = if job.has_succeeded {
                    (&mut self.succeeded, "succeeded")
                } else {
                    (&mut self.failed, "failed as asked")
                };
                *count += 1;
                say(&format!("job {number}: {word} after {:.2} s", job.took.as_secs_f64()));
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
