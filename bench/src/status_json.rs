//! One job more in status.json, and one further: ours, the specification's way in Python, and a bare durable write.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use bcrlapi_directory::{Digest, Published, SharedDir};
use bcrlapi_domain::{JobId, State};
use bcrlapi_exchange::{Entry, Queue, layout};
use uuid::Uuid;

use crate::harness::{Scale, Side, alternate, time_ms};
use crate::lab;
use crate::plot::Plot;
use crate::python::Servant;
use crate::report::{Goal, Report, Table};

/// At the largest size: so much faster than Python, so many bare writes at most.
const TIMES_FASTER: f64 = 25.0;
const BARE_WRITES: f64 = 3.0;

pub(crate) fn run(scale: Scale) -> anyhow::Result<Report> {
    let sizes = scale.choose(&[10, 100, 1_000, 5_000, 20_000][..], &[10, 200]);
    let rounds = scale.choose(15, 2);
    let mut table = Table::new(&[
        "jobs",
        "ours: add (ms)",
        "ours: change (ms)",
        "agent: add (ms)",
        "bare write (ms)",
        "Python: add (ms)",
        "Python: change (ms)",
    ]);
    let mut curves = [("ours", vec![]), ("Python json", vec![]), ("bare write", vec![])];
    let mut goals = Vec::new();
    for &size in sizes {
        let medians = measure(size, rounds).with_context(|| format!("with {size} jobs"))?;
        table.add(size, &medians);
        let [add, change, _, bare, python_add, python_change] = medians;
        let (ours, python) = (f64::midpoint(add, change), f64::midpoint(python_add, python_change));
        for ((_, points), figure) in curves.iter_mut().zip([ours, python, bare]) {
            points.push((f64::from(size), figure));
        }
        goals = goals_at(size, ours, python, bare);
    }
    let title = "One durable rewrite of status.json".to_owned();
    Ok(Report { goals, table, plot: Plot::Lines { title, x: "jobs", unit: "ms", curves: curves.into() } })
}

fn goals_at(size: u32, ours: f64, python: f64, bare: f64) -> Vec<Goal> {
    let goal = |against, other, limit_ratio| {
        let what = format!("a rewrite with {size} jobs");
        Goal { what, unit: "ms", ours, against, other, limit_ratio }
    };
    vec![goal("Python json", python, 1.0 / TIMES_FASTER), goal("bare write", bare, BARE_WRITES)]
}

/// The medians of: adding, changing, adding with the queue in memory as an agent has it, a bare write of the same
/// bytes, and adding and changing in Python.
fn measure(size: u32, rounds: usize) -> anyhow::Result<[f64; 6]> {
    let place = tempfile::tempdir()?;
    let directory = SharedDir::open(place.path())?;
    let first = fill(&directory, size)?;
    let theirs = place.path().join("theirs.json");
    fs::write(&theirs, indented(&directory)?)?;
    let python = RefCell::new(Servant::start("status_json.py", &[&theirs], &[])?);
    let ids = RefCell::new(first.into_iter().cycle());
    let next = || ids.borrow_mut().next().expect("a cycle has no end");
    let bytes = fs::read(directory.path(layout::STATUS))?;

    let sides: [Side<'_>; 6] = [
        Box::new(|| {
            forget_displaced(&directory)?;
            let job = entry()?;
            time_ms(|| add(&directory, job))
        }),
        Box::new(|| {
            forget_displaced(&directory)?;
            let id = next();
            time_ms(|| change(&directory, id))
        }),
        Box::new(|| {
            forget_displaced(&directory)?;
            let (seen, job) = (directory.read_status()?, entry()?);
            let mut queue = seen.queue?.context("there is a queue")?;
            time_ms(|| {
                queue.push(job);
                publish(&directory, seen.digest, &queue)
            })
        }),
        Box::new(|| time_ms(|| write_bare(&place.path().join("bare.json"), &bytes))),
        Box::new(|| time_ms(|| python.borrow_mut().order(&format!("add {}", Uuid::now_v7())))),
        Box::new(|| {
            let id = next();
            time_ms(|| python.borrow_mut().order(&format!("change {id}")))
        }),
    ];
    Ok(alternate(rounds, sides)?.map(|samples| samples.median()))
}

/// Makes a queue of this many jobs; gives those in its last part, which every side has to look for.
fn fill(directory: &SharedDir, size: u32) -> anyhow::Result<Vec<JobId>> {
    let mut queue = Queue::default();
    for _ in 0..size {
        queue.push(entry()?);
    }
    publish(directory, None, &queue)?;
    let ids: Vec<_> = queue.entries().iter().filter_map(Entry::id).collect();
    Ok(ids[ids.len() / 2..].to_vec())
}

fn entry() -> anyhow::Result<Entry> {
    lab::entry(Uuid::now_v7().to_string().parse()?)
}

/// As somebody who knows nothing of the queue yet.
fn add(directory: &SharedDir, job: Entry) -> anyhow::Result<()> {
    let mut job = Some(job);
    let added = directory.update_status(|queue| job.take().map(|job| queue.push(job)))?;
    added.context("the queue was rewritten")
}

/// As the worker does when a program starts.
fn change(directory: &SharedDir, id: JobId) -> anyhow::Result<()> {
    let changed = directory.update_status(|queue| {
        queue.advance(id, State::Processing, None);
        Some(())
    })?;
    changed.context("the queue was rewritten")
}

fn publish(directory: &SharedDir, read: Option<Digest>, queue: &Queue) -> anyhow::Result<()> {
    let published = directory.publish_status(&directory.lock()?, read, queue)?;
    ensure!(!matches!(published, Published::Overtaken), "nobody else writes here");
    Ok(())
}

/// An agent does so some seconds later.
fn forget_displaced(directory: &SharedDir) -> anyhow::Result<()> {
    for (number, _) in directory.displaced()? {
        let digest = directory.read_displaced(number)?.digest;
        directory.discard_displaced(number, digest)?;
    }
    Ok(())
}

/// The least that any durable replacement takes.
fn write_bare(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let staged = PathBuf::from(format!("{}.new", path.display()));
    let mut file = File::create(&staged)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(staged, path)?;
    Ok(())
}

/// The same queue as Python indents it.
fn indented(directory: &SharedDir) -> anyhow::Result<Vec<u8>> {
    let queue: serde_json::Value = serde_json::from_slice(&fs::read(directory.path(layout::STATUS))?)?;
    Ok(serde_json::to_vec_pretty(&queue)?)
}
