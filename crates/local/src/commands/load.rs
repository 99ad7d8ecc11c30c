use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use bcrlapi::{Client, ClientError, Signer};
use bcrlapi_api::ProblemKind;
use bcrlapi_domain::{ApiName, Outcome};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use super::say;
use crate::args::Load;

/// After how long without a line the state is told.
const QUIET_MAX: Duration = Duration::from_secs(5);
const NEXT_IF_FORBIDDEN: &str =
    "use the keys of this URL, as `. .bcrlapi/env` sets them, or an api that they may call: --api";

/// How one job went, as far as it went well.
struct Finished {
    has_succeeded: bool,
    took: Duration,
}

/// One job's number and what it sends.
struct Task {
    number: u32,
    api: ApiName,
    input: Vec<u8>,
    /// What has to come back; nothing is known of it where there is none.
    expected: Option<Value>,
    /// Whether it was asked to fail.
    may_fail: bool,
    limit: Duration,
}

/// How a job did not come to its end.
enum Trouble {
    /// No other job would fare better, so the load stops.
    Refused(anyhow::Error),
    /// Something is wrong with this one.
    Wrong(anyhow::Error),
}

impl From<anyhow::Error> for Trouble {
    fn from(error: anyhow::Error) -> Self {
        Self::Wrong(error)
    }
}

pub(crate) async fn run(args: Load) -> anyhow::Result<()> {
    ensure!((0.0..=1.0).contains(&args.fail_rate), "--fail-rate is between 0 and 1");
    let given = args.input.as_ref().map(|file| {
        fs::read(file).with_context(|| format!("cannot read {}; --input names a file of JSON", file.display()))
    });
    let given = given.transpose()?;

    let client = Client::new(&args.url, Signer::from_env(&args.url).await?)?;
    let pause = humantime::format_duration(args.every);
    say(&format!("{} jobs for the api {} at {}, one every {pause}", args.jobs, args.api, args.url));

    let mut jobs = JoinSet::new();
    let mut report = Report { planned: args.jobs, ..Report::default() };
    let mut clock = interval(args.every.max(Duration::from_millis(1)));
    while report.submitted < args.jobs || !jobs.is_empty() {
        tokio::select! {
            _ = clock.tick(), if report.submitted < args.jobs => {
                report.submitted += 1;
                let (client, task) = (client.clone(), task(&args, report.submitted, given.as_deref()));
                jobs.spawn(async move { (task.number, follow(&client, &task).await) });
            }
            Some(job) = jobs.join_next() => {
                let (number, result) = job?;
                report.add(number, result)?;
            }
            () = tokio::time::sleep(QUIET_MAX) => report.say_state(),
        }
    }
    report.conclude()
}

fn task(args: &Load, number: u32, given: Option<&[u8]>) -> Task {
    let fields = json!({
        "seconds": args.seconds,
        "fail_rate": args.fail_rate,
        "size_bytes": args.size_bytes,
        "payload": format!("job {number} of {}, 電池", args.jobs),
    });

    Task {
        number,
        api: args.api.clone(),
        input: given.map_or_else(|| fields.to_string().into_bytes(), <[u8]>::to_vec),
        expected: args.knows_results().then_some(fields),
        may_fail: args.fail_rate > 0.0,
        limit: args.timeout,
    }
}

/// Submits one job, waits for its end and checks that the result is the answer to this very request.
async fn follow(client: &Client, task: &Task) -> Result<Finished, Trouble> {
    let started = Instant::now();
    let submitted = client.submit(&task.api, task.input.clone()).await;
    let job = submitted.map_err(|error| submit_trouble(error, &task.api))?;
    say(&format!("job {}: submitted as {}", task.number, job.uuid));

    let waited = timeout(task.limit, client.wait(job.uuid, |_| {})).await;
    let late = || format!("job {} is not done after {}", job.uuid, humantime::format_duration(task.limit));
    let done = waited.with_context(late)?.map_err(|error| follow_trouble("wait", error))?;
    let took = started.elapsed();

    let has_succeeded = done.has_succeeded();
    if has_succeeded {
        let bytes = client.result(job.uuid).await.map_err(|error| follow_trouble("get the result", error))?;
        if let Some(expected) = &task.expected {
            check_result(&bytes, &json!(job.uuid), expected)?;
        }
    } else {
        let (outcome, error) = (done.outcome.unwrap_or_default(), done.error.unwrap_or_default());
        let was_asked_to = outcome == Outcome::Failed.as_str() && task.may_fail;
        if !was_asked_to {
            return Err(Trouble::Wrong(anyhow!("job {}: {outcome}: {error}", job.uuid)));
        }
    }
    Ok(Finished { has_succeeded, took })
}

/// The result of `mock`, held against what was sent.
fn check_result(bytes: &[u8], uuid: &Value, sent: &Value) -> anyhow::Result<()> {
    let result: Value = serde_json::from_slice(bytes)?;
    ensure!(result["uuid"] == *uuid, "job {uuid} got the result of {}", result["uuid"]);
    ensure!(result["payload"] == sent["payload"], "job {uuid} got another payload back");

    let size_bytes = sent["size_bytes"].as_u64().unwrap_or_default();
    ensure!(bytes.len() as u64 >= size_bytes, "job {uuid} got only {} bytes", bytes.len());
    Ok(())
}

/// What waiting does not change stops the load, with what to do about it: the next job would fare no better.
fn submit_trouble(error: ClientError, api: &ApiName) -> Trouble {
    if !is_final(&error) {
        return Trouble::Wrong(anyhow::Error::from(error).context("submit"));
    }

    let is_unknown_api =
        matches!(&error, ClientError::Refused { problem, .. } if problem.code() == ProblemKind::NoSuchApi.code());
    let next = match status_of(&error) {
        _ if is_unknown_api => {
            format!("name an api that is offered, as in --api double, or offer this one: bcrlapi-local up --apis {api}")
        }
        None | Some(StatusCode::FORBIDDEN) => NEXT_IF_FORBIDDEN.to_owned(),
        Some(StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY) => {
            "fix what is sent; --input names a file of your own".to_owned()
        }
        Some(_) => "check --url, or BCRLAPI_URL".to_owned(),
    };
    Trouble::Refused(anyhow!("cannot submit to the api {api}: {error}\nnext: {next}"))
}

/// Whether the same submit can never pass.
fn is_final(error: &ClientError) -> bool {
    let may_pass_later = [StatusCode::REQUEST_TIMEOUT, StatusCode::CONFLICT, StatusCode::TOO_MANY_REQUESTS];
    match status_of(error) {
        Some(status) => (status.is_client_error() || status.is_redirection()) && !may_pass_later.contains(&status),
        None => matches!(error, ClientError::Unsigned { .. }),
    }
}

/// Of a job that was accepted. Whoever may not ask about it may not ask about the next one either.
fn follow_trouble(call: &'static str, error: ClientError) -> Trouble {
    if status_of(&error) == Some(StatusCode::FORBIDDEN) {
        return Trouble::Refused(anyhow!("cannot {call}: {error}\nnext: {NEXT_IF_FORBIDDEN}"));
    }

    Trouble::Wrong(anyhow::Error::from(error).context(call))
}

fn status_of(error: &ClientError) -> Option<StatusCode> {
    match error {
        ClientError::Refused { problem, .. } => StatusCode::from_u16(problem.status).ok(),
        ClientError::Unexpected { status, .. } | ClientError::Redirected { status, .. } => Some(*status),
        _ => None,
    }
}

#[derive(Default)]
struct Report {
    planned: u32,
    submitted: u32,
    succeeded: usize,
    failed: usize,
    wrong: usize,
    took: Vec<Duration>,
}

impl Report {
    /// Fails where nothing more has to be tried.
    fn add(&mut self, number: u32, result: Result<Finished, Trouble>) -> anyhow::Result<()> {
        match result {
            Ok(job) => {
                let (count, word) = if job.has_succeeded {
                    (&mut self.succeeded, "succeeded")
                } else {
                    (&mut self.failed, "failed as asked")
                };
                *count += 1;
                self.took.push(job.took);
                say(&format!("job {number}: {word} after {:.2} s ({})", job.took.as_secs_f64(), self.state()));
            }
            Err(Trouble::Wrong(error)) => {
                self.wrong += 1;
                say(&format!("job {number}: WRONG: {error:#} ({})", self.state()));
            }
            Err(Trouble::Refused(error)) => return Err(error),
        }
        Ok(())
    }

    fn state(&self) -> String {
        format!("{} of {} done", self.ended(), self.planned)
    }

    fn say_state(&self) {
        let waiting = self.submitted as usize - self.ended();
        let left = self.planned - self.submitted;
        say(&format!("{}, {waiting} waiting or running, {left} to be submitted", self.state()));
    }

    fn ended(&self) -> usize {
        self.succeeded + self.failed + self.wrong
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
