//! How long a job waits for the machinery: from submit until the lab can run it, and from the lab's `done` until its
//! result can be fetched.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bcrlapi_directory::SharedDir;
use bcrlapi_domain::{Outcome, State};
use bcrlapi_exchange::layout;
use bytes::Bytes;
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::harness::{Samples, Scale, ms, wait_for};
use crate::lab::{fill, has_come, set, start_agent};
use crate::plot::Plot;
use crate::process;
use crate::python::tool;
use crate::report::{Goal, Report, Table};
use crate::stack::{body, payload_of};
use crate::system::System;

const POLL: Duration = Duration::from_secs(1);
/// What may come on top of the poll interval, on the way to the lab.
const ABOVE_POLL_MS: f64 = 50.0;
const BACK_MS: f64 = 150.0;
const PAUSE_OF_SYNC: Duration = Duration::from_secs(1);

pub(crate) fn run(scale: Scale) -> anyhow::Result<Report> {
    let (jobs, files) = scale.choose((100, 20), (2, 1));
    let sizes = scale.choose([0, 20_000], [0, 100]);
    let runtime = Runtime::new()?;
    let headings = ["", "there: median (ms)", "there: p99 (ms)", "back: median (ms)", "back: p99 (ms)"];
    let (mut table, mut bars, mut goals) = (Table::new(&headings), Vec::new(), Vec::new());
    let mut add = |name: &str, [there, back]: &[Samples; 2], is_ours| {
        let figures = [there, back].map(|samples| [samples.median(), samples.percentile(99.0)]).concat();
        table.add(name, &figures);
        bars.push((format!("{name}: there, p99"), figures[1], is_ours));
        bars.push((format!("{name}: back, p99"), figures[3], is_ours));
    };
    for size in sizes {
        let ours = runtime.block_on(by_agent(size, jobs))?;
        add(&format!("agent, {size} jobs in the directory"), &ours, true);
        let [there, back] = ours.map(|samples| samples.percentile(99.0));
        let goal = |what: &str, ours, against, other| {
            let what = format!("{what}, p99, {size} jobs in the directory");
            Goal { what, unit: "ms", ours, against, other, limit_ratio: 1.0 }
        };
        goals.push(goal("submit until it can be run", there, "the poll interval + 50 ms", ms(POLL) + ABOVE_POLL_MS));
        goals.push(goal("done until it can be fetched", back, "the goal itself", BACK_MS));
    }
    let theirs = runtime.block_on(by_sync(files))?;
    add("aws s3 sync every second", &theirs, false);
    let plot = Plot::Bars { title: "How long a job waits for the machinery".to_owned(), unit: "ms", bars };
    Ok(Report { goals, table, plot })
}

/// One job after the other through gateway, agent and gateway.
async fn by_agent(size: u64, jobs: u32) -> anyhow::Result<[Samples; 2]> {
    let system = System::start().await?;
    fill(&system.stack().shared(), size)?;
    let agent = start_agent(&system, POLL, &[])?;
    let directory = SharedDir::open(&system.stack().shared())?;
    let (client, api) = (system.client()?, "mock".parse()?);
    let mut samples = [Samples::default(), Samples::default()];
    for job in 0..=jobs {
        // Spread over the poll interval, as calls are that know nothing of it.
        tokio::time::sleep(POLL / jobs * job).await;
        let submitted = Instant::now();
        let id = client.submit(&api, body().into()).await?.uuid;
        has_come(&directory, id).await?;
        let there = ms(submitted.elapsed());
        set(&directory, id, State::Processing)?;
        fs::write(directory.path(&layout::response(id)), body())?;
        let done = Instant::now();
        set(&directory, id, State::Done(Outcome::Succeeded))?;
        wait_for("the result", async || Ok(client.result(id).await.ok())).await?;
        if job > 0 {
            // The first one waits for the agent's start.
            samples[0].push(there);
            samples[1].push(ms(done.elapsed()));
        }
    }
    drop(agent);
    Ok(samples)
}

/// One object after the other, to the lab and back, while a loop syncs both ways.
async fn by_sync(files: u32) -> anyhow::Result<[Samples; 2]> {
    let system = &System::start().await?;
    let (here, bucket) = (system.path("synced"), system.environment("BCRLAPI_BUCKET")?);
    for folder in [layout::REQUEST_DIR, layout::RESPONSE_DIR] {
        fs::create_dir_all(here.join(folder))?;
    }
    let sync = |from: String, to: String| {
        let mut command = Command::new(tool("aws")?);
        command.args(["s3", "sync", "--only-show-errors", &from, &to]).envs(system.stack().environment());
        process::run(&mut command)
    };
    let (request, response) = (layout::REQUEST_DIR, layout::RESPONSE_DIR);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let looped = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                sync(format!("s3://{bucket}/{request}"), here.join(request).display().to_string())?;
                sync(here.join(response).display().to_string(), format!("s3://{bucket}/{response}"))?;
                // The other side's own pause, and not a wait for anything.
                thread::sleep(PAUSE_OF_SYNC);
            }
            anyhow::Ok(())
        });
        let measured = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(there_and_back(system, &here, files))
        });
        is_over.store(true, Ordering::Relaxed);
        looped.join().expect("the loop does not panic")?;
        measured
    })
}

async fn there_and_back(system: &System, here: &std::path::Path, files: u32) -> anyhow::Result<[Samples; 2]> {
    let (store, body) = (system.stack().store(), body());
    let payload = payload_of(body.as_bytes());
    let mut samples = [Samples::default(), Samples::default()];
    for _ in 0..files {
        let id = Uuid::now_v7().to_string().parse()?;
        let job = bcrlapi_domain::Job::requested(id, "mock".parse()?, crate::stack::owner()?, payload.clone());
        let start = Instant::now();
        store.submit(&job, Bytes::from(body.clone())).await?;
        wait_for("the file", async || Ok(here.join(layout::request(id)).exists().then_some(()))).await?;
        samples[0].push(ms(start.elapsed()));
        let start = Instant::now();
        fs::write(here.join(layout::response(id)), &body)?;
        wait_for("the object", async || Ok(store.read_response(id, &payload).await?)).await?;
        samples[1].push(ms(start.elapsed()));
    }
    Ok(samples)
}
