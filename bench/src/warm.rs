//! What a function adds to its own calls of AWS, and what the gateway and the functions add to bare calls under load.

use std::time::{Duration, Instant};

use bcrlapi_domain::JobId;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::cold_start::{FUNCTIONS, a_done_job, event_for};
use crate::harness::{Samples, Scale, Side, alternate, ms};
use crate::lambda::{Function, Language};
use crate::plot::Plot;
use crate::report::{Goal, Report, Table};
use crate::stack::{Metered, body, submit};
use crate::system::System;

const OVERHEAD_MS: f64 = 0.2;
const TIMES_BARE_CALLS: f64 = 1.3;
/// What comes first is slower, and not what is measured.
const WARM_UP: usize = 20;
const CLIENTS: usize = 16;

pub(crate) fn run(scale: Scale) -> anyhow::Result<Report> {
    let runtime = Runtime::new()?;
    let system = runtime.block_on(System::start())?;
    let done = runtime.block_on(a_done_job(&system))?;
    let headings = ["", "above the calls (ms)", "whole (ms)", "Python: above the calls (ms)", "Python: whole (ms)"];
    let mut table = Table::new(&headings);
    let (mut goals, mut bars) = (Vec::new(), Vec::new());
    for name in FUNCTIONS {
        let [ours, python] = runtime.block_on(both_languages(name, &system, done, scale.choose(500, 3)))?;
        table.add(name, &[ours[0], ours[1], python[0], python[1]]);
        let goal = |against, other, limit_ratio| {
            let what = format!("{name}: above its AWS calls");
            Goal { what, unit: "ms", ours: ours[0], against, other, limit_ratio }
        };
        goals.push(goal("the goal itself", OVERHEAD_MS, 1.0));
        goals.push(goal("Python with boto3", python[0], 1.0));
        bars.push((format!("{name}, above its calls"), ours[0], true));
        bars.push((format!("{name} in Python, above its calls"), python[0], false));
    }
    let time = scale.choose(Duration::from_secs(3), Duration::from_millis(200));
    for (what, [ours, bare]) in under_load(&runtime, &system, done, time, scale.choose(7, 1))? {
        table.rows.push(vec![
            format!("{what}, {CLIENTS} at once"),
            format!("{:.0} a second", 1000.0 / ours),
            format!("{:.0} a second bare", 1000.0 / bare),
        ]);
        let limit_ratio = TIMES_BARE_CALLS;
        let what = format!("{what} through the whole local stack, {CLIENTS} at once");
        goals.push(Goal { what, unit: "ms", ours, against: "bare SDK calls", other: bare, limit_ratio });
    }
    let plot = Plot::Bars { title: "A warm function, above its AWS calls".to_owned(), unit: "ms", bars };
    Ok(Report { goals, table, plot })
}

/// Of each language: the medians above the calls, and with them.
async fn both_languages(name: &str, system: &System, done: JobId, times: usize) -> anyhow::Result<[[f64; 2]; 2]> {
    let event = event_for(name, done);
    let stores = Metered::start(system).await?;
    let ours = Function::start(Language::Rust, name, system, &stores.environment()).await?;
    let python = Function::start(Language::Python, name, system, &stores.environment()).await?;
    let sides = [ours, python];
    let mut samples = [(); 2].map(|()| [Samples::default(), Samples::default()]);
    for round in 0..WARM_UP + times {
        for side in crate::harness::turns(round, sides.len()) {
            let figures = invoke_once(&sides[side], &event, &stores).await?;
            if round >= WARM_UP {
                samples[side][0].push(figures[0]);
                samples[side][1].push(figures[1]);
            }
        }
    }
    Ok(samples.map(|side| side.map(|samples| samples.median())))
}

async fn invoke_once(function: &Function, event: &Value, stores: &Metered) -> anyhow::Result<[f64; 2]> {
    drop(stores.take());
    let whole = ms(function.invoke(event).await?.took);
    let in_calls: f64 = stores.take().iter().map(|call| ms(call.took)).sum();
    Ok([whole - in_calls, whole])
}

/// For reads and for submits: milliseconds for each one through gateway and function, and bare.
fn under_load(
    runtime: &Runtime,
    system: &System,
    done: JobId,
    time: Duration,
    rounds: usize,
) -> anyhow::Result<[(&'static str, [f64; 2]); 2]> {
    let (client, store) = (&system.client()?, system.stack().store());
    let api = &"mock".parse()?;
    let own = runtime.block_on(client.submit(api, body().into()))?.uuid;
    let through = async || client.job(own).await.map(drop).map_err(anyhow::Error::from);
    let bare = async || store.job(done).await.map(drop).map_err(anyhow::Error::from);
    let submit_through = async || client.submit(api, body().into()).await.map(drop).map_err(anyhow::Error::from);
    let submit_bare = async || submit(store, &body()).await.map(drop);
    let sides: [Side<'_>; 4] = [
        Box::new(|| runtime.block_on(keep_asking(time, &through))),
        Box::new(|| runtime.block_on(keep_asking(time, &bare))),
        Box::new(|| runtime.block_on(keep_asking(time, &submit_through))),
        Box::new(|| runtime.block_on(keep_asking(time, &submit_bare))),
    ];
    let [read, bare_read, written, bare_written] = alternate(rounds, sides)?.map(|samples| samples.median());
    Ok([("status", [read, bare_read]), ("submit", [written, bare_written])])
}

/// Lets [`CLIENTS`] ask, each for one thing after the other; gives the milliseconds for each thing.
async fn keep_asking(time: Duration, ask: impl AsyncFn() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let start = Instant::now();
    let one_client = async || {
        let mut asked = 0_u32;
        while start.elapsed() < time {
            ask().await?;
            asked += 1;
        }
        anyhow::Ok(asked)
    };
    let asked = futures::future::try_join_all((0..CLIENTS).map(|_| one_client())).await?;
    Ok(ms(start.elapsed()) / f64::from(asked.iter().sum::<u32>()))
}
