//! What one job takes from AWS, counted on the wire, and what a month costs beside other designs, on paper.

use std::cell::RefCell;
use std::fs;
use std::time::Duration;

use anyhow::Context;
use bcrlapi_directory::SharedDir;
use bcrlapi_domain::{JobId, Outcome, State, Status};
use bcrlapi_exchange::layout;
use tokio::runtime::Runtime;

use crate::harness::{Scale, wait_for};
use crate::lab::{has_come, set, start_agent};
use crate::lambda::{Function, Language, field, job_event, submit_event};
use crate::meter::Call;
use crate::plot::Plot;
use crate::report::{Goal, Report, Table};
use crate::stack::{Metered, body};
use crate::system::{Running, System};

const POLL: Duration = Duration::from_millis(100);
const REQUESTS_A_JOB: f64 = 8.0;
const IDLE_USD_A_MONTH: f64 = 0.15;
/// List prices in us-east-1, in USD. Sources: the price pages of DynamoDB (on demand), Lambda, API Gateway, SQS, EC2 and
/// `SageMaker`.
const USD_A_WRITE_UNIT: f64 = 0.625e-6;
const USD_A_READ_UNIT: f64 = 0.125e-6;
const USD_AN_INVOCATION: f64 = 0.2e-6 + 0.5 * 0.01 * 0.000_016_666_7;
const HOURS_A_MONTH: f64 = 730.0;
const USD_AN_HOUR_OF_SAGEMAKER: f64 = 0.115; // ml.m5.large, the smallest that is not burstable
const USD_AN_HOUR_OF_EC2: f64 = 0.0208; // t3.small
const USD_A_LONG_POLL: f64 = 0.4e-6;
const LONG_POLL_S: f64 = 20.0;
/// What an agent and the schedule do in a month in which nothing happens: looks every 2 s; a comparison and a heartbeat
/// each minute; `status` every 5 minutes.
const LOOKS: f64 = HOURS_A_MONTH * 1_800.0;
const MINUTES: f64 = HOURS_A_MONTH * 60.0;

/// What some calls add up to.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    requests: f64,
    write_units: f64,
    read_units: f64,
    bytes: f64,
}

impl Sum {
    fn of<'a>(calls: impl IntoIterator<Item = &'a Call>) -> Self {
        calls.into_iter().fold(Self::default(), |sum, call| Self {
            requests: sum.requests + 1.0,
            write_units: sum.write_units + call.write_units,
            read_units: sum.read_units + call.read_units,
            bytes: sum.bytes + call.bytes as f64,
        })
    }

    fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            write_units: self.write_units + other.write_units,
            read_units: self.read_units + other.read_units,
            bytes: self.bytes + other.bytes,
        }
    }

    fn figures(self, jobs: f64) -> [f64; 4] {
        [self.requests, self.write_units, self.read_units, self.bytes].map(|figure| figure / jobs)
    }
}

/// One whole system whose calls are counted: those of the functions, and those of the agent.
struct Counted {
    system: System,
    functions: [Function; 3],
    of_functions: Metered,
    of_agent: Metered,
    heartbeat: Sum,
    shared: SharedDir,
    _agent: Running,
}

pub(crate) fn run(scale: Scale) -> anyhow::Result<Report> {
    let runtime = Runtime::new()?;
    let counted = runtime.block_on(Counted::start())?;
    let mut table = Table::new(&["a job's part", "requests", "write units", "read units", "bytes"]);
    let mut totals = Vec::new();
    for (batch, batches) in [(1, scale.choose(20, 2)), (scale.choose(100, 5), 1)] {
        let mut sums = [Sum::default(); 4];
        for _ in 0..batches {
            let parts = runtime.block_on(counted.jobs(batch))?;
            sums = [0, 1, 2, 3].map(|part| sums[part].plus(parts[part]));
        }
        let jobs = f64::from(batch * batches);
        let how = if batch == 1 { "one at a time".to_owned() } else { format!("{batch} at once") };
        for (part, sum) in ["submit", "agent", "status, once", "result"].into_iter().zip(sums) {
            table.add(format!("{part} ({how})"), &sum.figures(jobs));
        }
        let [submit, agent, _, result] = sums;
        let total = submit.plus(agent).plus(result);
        table.add(format!("**all but status** ({how})"), &total.figures(jobs));
        totals.push((how, total.requests / jobs));
    }
    let keyed = runtime.block_on(counted.submit(true))?.1;
    table.add("submit with an idempotency key", &keyed.figures(1.0));
    let (look, heartbeat) = (runtime.block_on(first(&counted.of_agent, "Query"))?, counted.heartbeat);
    table.add("an idle look", &look.figures(1.0));
    table.add("a heartbeat", &heartbeat.figures(1.0));

    let usd = |sum: Sum| sum.write_units * USD_A_WRITE_UNIT + sum.read_units * USD_A_READ_UNIT;
    let status = MINUTES / 5.0 * (USD_AN_INVOCATION + 2.0 * USD_A_READ_UNIT);
    let idle = (LOOKS + MINUTES) * usd(look) + MINUTES * usd(heartbeat) + status;
    let sagemaker = HOURS_A_MONTH * USD_AN_HOUR_OF_SAGEMAKER;
    let ec2 = HOURS_A_MONTH * USD_AN_HOUR_OF_EC2 + HOURS_A_MONTH * 3600.0 / LONG_POLL_S * USD_A_LONG_POLL;

    let mut goals: Vec<_> = totals.into_iter().map(|(how, requests)| requests_goal(&how, requests)).collect();
    for (against, other) in [
        ("the goal itself", IDLE_USD_A_MONTH),
        ("SageMaker Asynchronous Inference, one ml.m5.large (on paper)", sagemaker),
        ("SQS and one EC2 t3.small (on paper)", ec2),
    ] {
        let what = "a month in which nothing happens".to_owned();
        goals.push(Goal { what, unit: "USD", ours: idle, against, other, limit_ratio: 1.0 });
    }
    let bars = vec![
        ("bcrlapi".to_owned(), idle, true),
        ("SQS and one t3.small".to_owned(), ec2, false),
        ("SageMaker, one ml.m5.large".to_owned(), sagemaker, false),
    ];
    let plot = Plot::Bars { title: "A month in which nothing happens".to_owned(), unit: "USD", bars };
    Ok(Report { goals, table, plot })
}

fn requests_goal(how: &str, ours: f64) -> Goal {
    let what = format!("requests a job, {how}");
    Goal { what, unit: "", ours, against: "the goal itself", other: REQUESTS_A_JOB, limit_ratio: 1.0 }
}

impl Counted {
    async fn start() -> anyhow::Result<Self> {
        let system = System::start().await?;
        let (of_functions, of_agent) = (Metered::start(&system).await?, Metered::start(&system).await?);
        // Where the stores are, and the template's own limit: to keep it takes calls too.
        let stores = of_functions.environment();
        let environment = [stores[0], stores[1], ("BCRLAPI_QUEUE_LIMIT", "10000")];
        let start = async |name| Function::start(Language::Rust, name, &system, &environment).await;
        let functions = [start("submit").await?, start("status").await?, start("result").await?];
        let agent = start_agent(&system, POLL, &of_agent.environment())?;
        let shared = SharedDir::open(&system.stack().shared())?;
        // The first one comes at once, every other one a minute later.
        let heartbeat = first(&of_agent, "PutItem").await?;
        let counted = Self { system, functions, of_functions, of_agent, heartbeat, shared, _agent: agent };
        // What only comes with a start is not a job's.
        counted.jobs(1).await?;
        Ok(counted)
    }

    /// Submits one job; gives its id, and what that took.
    async fn submit(&self, has_key: bool) -> anyhow::Result<(JobId, Sum)> {
        let mut event = submit_event(&body());
        if has_key {
            event["multiValueHeaders"]["Idempotency-Key"] = serde_json::json!(["one-submit-one-job"]);
        }
        let answered = self.functions[0].invoke(&event).await?;
        Ok((field(&answered, "uuid")?.parse()?, Sum::of(&self.of_functions.take())))
    }

    /// As many jobs at once, each through all of its steps; gives what submit, agent, status and result took.
    async fn jobs(&self, count: u32) -> anyhow::Result<[Sum; 4]> {
        drop(self.of_agent.take());
        drop(self.of_functions.take());
        let (mut ids, mut sums) = (Vec::new(), [Sum::default(); 4]);
        for _ in 0..count {
            let (id, sum) = self.submit(false).await?;
            ids.push(id);
            sums[0] = sums[0].plus(sum);
        }
        for id in &ids {
            has_come(&self.shared, *id).await?;
        }
        for id in &ids {
            set(&self.shared, *id, State::Processing)?;
        }
        self.reached(&ids, Status::Processing).await?;
        for id in &ids {
            fs::write(self.shared.path(&layout::response(*id)), body())?;
            set(&self.shared, *id, State::Done(Outcome::Succeeded))?;
        }
        self.reached(&ids, Status::Done).await?;
        sums[1] = self.until_quiet().await?;
        for id in &ids {
            self.functions[1].invoke(&job_event("status", &id.to_string())).await?;
        }
        sums[2] = Sum::of(&self.of_functions.take());
        for id in &ids {
            self.functions[2].invoke(&job_event("result", &id.to_string())).await?;
        }
        sums[3] = Sum::of(&self.of_functions.take());
        Ok(sums)
    }

    /// What the agent has called until two looks have passed: the last call's answer is counted by then.
    async fn until_quiet(&self) -> anyhow::Result<Sum> {
        let seen = RefCell::new(self.of_agent.take());
        let looks_before = looks_in(&seen.borrow());
        wait_for("two looks", async || {
            seen.borrow_mut().extend(self.of_agent.take());
            Ok((looks_in(&seen.borrow()) >= looks_before + 2).then_some(()))
        })
        .await?;
        Ok(Sum::of(seen.borrow().iter().filter(|call| !is_idle(call))))
    }

    async fn reached(&self, ids: &[JobId], status: Status) -> anyhow::Result<()> {
        for id in ids {
            wait_for("a job's row", async || {
                let job = self.system.stack().store().job(*id).await?.context("the job has a row")?;
                Ok((job.state.status() >= status).then_some(()))
            })
            .await?;
        }
        Ok(())
    }
}

/// The next call of this name.
async fn first(meters: &Metered, operation: &str) -> anyhow::Result<Sum> {
    let look = async || Ok(meters.take().iter().find(|call| call.operation == operation).map(|call| Sum::of([call])));
    wait_for(operation, look).await
}

fn looks_in(calls: &[Call]) -> usize {
    calls.iter().filter(|call| call.operation == "Query").count()
}

/// Whether the call would come without any job too.
fn is_idle(call: &Call) -> bool {
    ["Query", "PutItem"].contains(&call.operation.as_str())
}
