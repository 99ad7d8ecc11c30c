//! What one job costs, from submit to result, with more and more jobs of history in the table.

use std::cell::RefCell;
use std::fs;

use anyhow::{Context, ensure};
use bcrlapi_domain::JobId;
use chrono::Utc;
use tokio::runtime::Runtime;

use crate::harness::{Samples, Scale, Side, alternate, time_ms};
use crate::plot::Plot;
use crate::report::{Goal, Report, Table};
use crate::stack::{add_history, body, finish, submit};
use crate::system::System;

const FLAT: f64 = 1.2;
const LOOKS: i32 = 4;

/// One stack with its history.
struct World {
    system: System,
    history: u64,
    /// How long each step took, by its place in [`STEPS`].
    steps: RefCell<[Samples; STEPS.len()]>,
}

const STEPS: [&str; 5] =
    ["submit (ms)", "four looks into the inbox (ms)", "take to done (ms)", "read (ms)", "list (ms)"];

pub(crate) fn run(scale: Scale) -> anyhow::Result<Report> {
    let histories = scale.choose([100, 10_000, 1_000_000], [10, 100, 1_000]);
    let rounds = scale.choose(200, 3);
    let runtime = Runtime::new()?;
    let worlds = histories.map(|history| runtime.block_on(World::start(history)));
    let [small, middle, large] = worlds;
    let worlds = [small?, middle?, large?];
    let sides =
        worlds.each_ref().map(|world| -> Side<'_> { Box::new(|| time_ms(|| runtime.block_on(world.one_job()))) });
    let medians = alternate(rounds, sides)?.map(|samples| samples.median());

    let mut table = Table::new(&[&["jobs of history", "a whole job (ms)"], &STEPS[..]].concat());
    let mut points = Vec::new();
    for (world, median) in worlds.iter().zip(medians) {
        let steps = world.steps.borrow().each_ref().map(Samples::median);
        table.add(world.history, &[&[median], &steps[..]].concat());
        points.push((world.history as f64, median));
    }
    let goal = |row: usize| Goal {
        what: format!("one job with {} jobs of history", histories[row]),
        unit: "ms",
        ours: medians[row],
        against: "itself with the shortest history",
        other: medians[0],
        limit_ratio: FLAT,
    };
    let title = "One job through all of its calls".to_owned();
    let plot = Plot::Lines { title, x: "jobs of history in the table", unit: "ms", curves: vec![("a job", points)] };
    Ok(Report { goals: vec![goal(2), goal(1)], table, plot })
}

impl World {
    async fn start(history: u64) -> anyhow::Result<Self> {
        let system = System::start().await?;
        fs::write(system.path("response"), body())?;
        let world = Self { system, history, steps: RefCell::default() };
        let model = world.one_job().await?;
        world.steps.take();
        add_history(&world.system, model, history)?;
        Ok(world)
    }

    /// Every call of a job's life, one after the other.
    async fn one_job(&self) -> anyhow::Result<JobId> {
        let (store, owner) = (self.system.stack().store(), crate::stack::owner()?);
        let mut clock = std::time::Instant::now();
        let mut lap = |step: usize| {
            let now = std::time::Instant::now();
            let took = now - std::mem::replace(&mut clock, now);
            self.steps.borrow_mut()[step].push(crate::harness::ms(took));
        };
        let id = submit(store, &body()).await?.id;
        lap(0);
        for _ in 0..LOOKS {
            ensure!(store.inbox(Utc::now()).await? == [id], "the inbox holds this job alone");
        }
        lap(1);
        finish(store, id, &self.system.path("response")).await?;
        lap(2);
        let job = store.job(id).await?.context("the job has a row")?;
        let response = job.response.context("the job has a response")?;
        store.read_response(id, &response).await?.context("the response is there")?;
        lap(3);
        let page = store.list(&owner, &bcrlapi_cloud::JobFilter::default(), None, 20, Utc::now()).await?;
        ensure!(page.jobs.first().is_some_and(|job| job.id == id), "the newest comes first");
        lap(4);
        Ok(id)
    }
}
