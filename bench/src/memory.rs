//! What is resident: of an agent with a week of jobs in its directory, and of each function, beside Python.

use std::fs;
use std::time::Duration;

use bcrlapi_directory::SharedDir;
use bcrlapi_exchange::layout;
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::cold_start::{FUNCTIONS, a_done_job, event_for};
use crate::harness::{Samples, Scale};
use crate::lab::{fill, has_come, start_agent};
use crate::lambda::{Function, Language};
use crate::plot::Plot;
use crate::process::{memory_now_mb, peak_memory_mb};
use crate::python::Servant;
use crate::report::{Goal, Report, Table};
use crate::stack::{body, submit};
use crate::system::System;

const AGENT_MB: f64 = 30.0;
const POLL: Duration = Duration::from_millis(200);
const INVOCATIONS: usize = 50;

pub(crate) fn run(scale: Scale) -> anyhow::Result<Report> {
    let sizes = scale.choose(&[0, 1_000, 20_000][..], &[0, 200]);
    let rounds = scale.choose(5, 1);
    let runtime = Runtime::new()?;
    let mut table = Table::new(&["", "peak (MB)", "afterwards (MB)", "Python: peak (MB)"]);
    let (mut goals, mut bars) = (Vec::new(), Vec::new());
    for &jobs in sizes {
        let [peak, now, python] = medians(rounds, || runtime.block_on(agents(jobs)))?;
        table.add(format!("agent, {jobs} jobs"), &[peak, now, python]);
        bars.extend([(format!("agent, {jobs} jobs"), peak, true), (format!("Python, {jobs} jobs"), python, false)]);
        if Some(&jobs) == sizes.last() {
            let goal = |against, other| {
                let what = format!("peak of an agent with {jobs} jobs");
                Goal { what, unit: "MB", ours: peak, against, other, limit_ratio: 1.0 }
            };
            goals.extend([goal("the goal itself", AGENT_MB), goal("Python with boto3", python)]);
        }
    }
    for name in FUNCTIONS {
        let [peak, now, python] = medians(rounds, || runtime.block_on(functions(name)))?;
        table.add(name, &[peak, now, python]);
        bars.extend([(name.to_owned(), peak, true), (format!("{name} in Python"), python, false)]);
        let what = format!("peak of {name} after {INVOCATIONS} calls");
        goals.push(Goal {
            what,
            unit: "MB",
            ours: peak,
            against: "Python with boto3",
            other: python,
            limit_ratio: 1.0,
        });
    }
    let plot = Plot::Bars { title: "Resident memory at its peak".to_owned(), unit: "MB", bars };
    Ok(Report { goals, table, plot })
}

fn medians<const N: usize>(
    rounds: usize,
    mut measure: impl FnMut() -> anyhow::Result<[f64; N]>,
) -> anyhow::Result<[f64; N]> {
    let mut samples = [(); N].map(|()| Samples::default());
    for _ in 0..rounds {
        for (samples, figure) in samples.iter_mut().zip(measure()?) {
            samples.push(figure);
        }
    }
    Ok(samples.map(|samples| samples.median()))
}

/// An agent that has brought one more job into a lab with so many, and a script in Python that has done as much.
async fn agents(jobs: u64) -> anyhow::Result<[f64; 3]> {
    let system = System::start().await?;
    fill(&system.stack().shared(), jobs)?;
    let theirs = system.path("theirs.json");
    fs::copy(system.stack().shared().join(layout::STATUS), &theirs)?;

    let agent = start_agent(&system, POLL, &[])?;
    let agent_id = agent.id();
    let directory = SharedDir::open(&system.stack().shared())?;
    has_come(&directory, submit(system.stack().store(), &body()).await?.id).await?;
    // By the next one it has seen what it has displaced itself.
    has_come(&directory, submit(system.stack().store(), &body()).await?.id).await?;
    let ours = [peak_memory_mb(agent_id)?, memory_now_mb(agent_id)?];

    let environment = system.stack().environment();
    let mut python = Servant::start("agent.py", &[&theirs], &environment)?;
    python.order(&Uuid::now_v7().to_string())?;
    python.order(&Uuid::now_v7().to_string())?;
    Ok([ours[0], ours[1], peak_memory_mb(python.id())?])
}

async fn functions(name: &str) -> anyhow::Result<[f64; 3]> {
    let system = System::start().await?;
    let event = event_for(name, a_done_job(&system).await?);
    let ours = Function::start(Language::Rust, name, &system, &[]).await?;
    let python = Function::start(Language::Python, name, &system, &[]).await?;
    for _ in 0..INVOCATIONS {
        ours.invoke(&event).await?;
        python.invoke(&event).await?;
    }
    Ok([peak_memory_mb(ours.id())?, memory_now_mb(ours.id())?, peak_memory_mb(python.id())?])
}
