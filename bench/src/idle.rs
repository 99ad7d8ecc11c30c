//! What it costs that nothing happens: an hour's worth of looks, with a week of jobs on the disk.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use bcrlapi_directory::Fingerprint;
use bcrlapi_domain::JobId;
use bcrlapi_exchange::layout;
use tokio::runtime::Runtime;

use crate::harness::{Samples, Scale, wait_for};
use crate::lab::{fill, start_agent};
use crate::meter::Meter;
use crate::mirror::{rclone, sync};
use crate::plot::Plot;
use crate::process::{self, core_s};
use crate::report::{Goal, Report, Table};
use crate::stack::Metered;
use crate::system::{S3_URL, System};

/// The agent's own default, of which an hour has so many.
const POLL: Duration = Duration::from_secs(2);
const POLLS_AN_HOUR: usize = 1_800;
/// The shortest that the agent takes: an hour's polls in three minutes.
const SHORT_POLL: Duration = Duration::from_millis(100);
const SHARE_OF_A_CORE: f64 = 0.1;
const REQUESTS_A_POLL: f64 = 1.0;

/// What an agent did while nothing happened.
struct Idle {
    seconds: f64,
    core_s: f64,
    polls: usize,
    /// Heartbeats, and comparisons with what is taken: some each minute, however often it polls.
    other_calls: usize,
    bytes: usize,
}

pub(crate) fn run(scale: Scale) -> anyhow::Result<Report> {
    let jobs = scale.choose(20_000, 50);
    let runtime = Runtime::new()?;
    let system = runtime.block_on(System::start())?;
    let ids = fill(&system.stack().shared(), jobs)?;
    let hour = runtime.block_on(watch(&system, SHORT_POLL, scale.choose(POLLS_AN_HOUR, 20)))?;
    let real = runtime.block_on(watch(&system, POLL, scale.choose(60, 2)))?;
    let s3 = runtime.block_on(Meter::start(&system.environment(S3_URL)?, &system.stack().principals()[0]))?;
    let [rclone, sync] = passes(&system, &s3, &ids, scale.choose(3, 1))?;

    let mut table =
        Table::new(&["", "core time an hour (s)", "share of a core (%)", "requests a look", "bytes a look"]);
    let share = |core_s: f64, seconds: f64| core_s / seconds * 100.0;
    let an_hour = POLLS_AN_HOUR as f64;
    let agent_share = share(real.core_s, real.seconds);
    let row = |idle: &Idle, hour_s: f64| {
        let calls = (idle.polls + idle.other_calls) as f64 / idle.polls as f64;
        [hour_s, share(hour_s, 3600.0), calls, idle.bytes as f64 / idle.polls as f64]
    };
    table.add("agent, looks every 2 s", &row(&real, real.core_s / real.seconds * 3600.0));
    table.add("agent, an hour's looks in three minutes", &row(&hour, hour.core_s / hour.polls as f64 * an_hour));
    table.add("rclone copy every 2 s", &rclone.figures());
    table.add("aws s3 sync every 2 s", &sync.figures());

    let goal = |what: &str, unit, ours, against, other| Goal {
        what: format!("{what}, {jobs} jobs on the disk"),
        unit,
        ours,
        against,
        other,
        limit_ratio: 1.0,
    };
    let a_poll = hour.polls as f64 / (hour.seconds / SHORT_POLL.as_secs_f64()).max(1.0);
    let goals = vec![
        goal("share of a core", "%", agent_share, "the goal itself", SHARE_OF_A_CORE),
        goal("share of a core", "%", agent_share, "rclone copy every 2 s", rclone.share()),
        goal("requests a look, without those of each minute", "", a_poll, "the goal itself", REQUESTS_A_POLL),
    ];
    let bars = vec![
        ("agent".to_owned(), agent_share, true),
        ("rclone copy".to_owned(), rclone.share(), false),
        ("aws s3 sync".to_owned(), sync.share(), false),
    ];
    let title = format!("Share of a core for a look every 2 s at nothing new, {jobs} jobs on the disk");
    Ok(Report { goals, table, plot: Plot::Bars { title, unit: "%", bars } })
}

/// Watches an agent over so many polls; it is an error if a file changes meanwhile.
async fn watch(system: &System, poll: Duration, polls: usize) -> anyhow::Result<Idle> {
    let stores = Metered::start(system).await?;
    let agent = start_agent(system, poll, &stores.environment())?;
    let id = agent.id();
    let seen = std::cell::RefCell::new(Vec::new());
    let looks = |count: usize| {
        let (seen, stores) = (&seen, &stores);
        async move || {
            seen.borrow_mut().extend(stores.take());
            let queries = seen.borrow().iter().filter(|call| call.operation == "Query").count();
            Ok((queries >= count).then_some(()))
        }
    };
    // The start is no idling: the first look compares too, so that is two, and what it finds to do is done by the next.
    wait_for("the first looks", looks(4)).await?;
    seen.borrow_mut().clear();
    let (files, start, core_before) = (snapshot(&system.stack().shared())?, Instant::now(), core_s(id)?);
    wait_for("idle looks", looks(polls)).await?;
    let (seconds, core_s) = (start.elapsed().as_secs_f64(), core_s(id)? - core_before);
    ensure!(snapshot(&system.stack().shared())? == files, "an idle agent changes no file");
    let calls = seen.take();
    // A comparison asks once more in its minute.
    let heartbeats = calls.iter().filter(|call| call.operation != "Query").count();
    let other_calls = heartbeats * 2;
    let bytes = calls.iter().map(|call| call.bytes).sum();
    Ok(Idle { seconds, core_s, polls: calls.len().saturating_sub(other_calls), other_calls, bytes })
}

/// Which files there are, and what is in each.
fn snapshot(folder: &Path) -> anyhow::Result<BTreeMap<PathBuf, Fingerprint>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let (path, metadata) = entry.map(|entry| (entry.path(), entry.metadata()))?;
        if path.is_dir() {
            files.extend(snapshot(&path)?);
        } else {
            files.insert(path, Fingerprint::of(&metadata?));
        }
    }
    Ok(files)
}

/// What one pass over everything takes.
struct Pass {
    core_s: f64,
    requests: f64,
    bytes: f64,
}

impl Pass {
    fn figures(&self) -> [f64; 4] {
        [self.core_s * POLLS_AN_HOUR as f64, self.share(), self.requests, self.bytes]
    }

    /// In percent of a core.
    fn share(&self) -> f64 {
        self.core_s / POLL.as_secs_f64() * 100.0
    }
}

/// One pass of rclone, and one of aws s3 sync, that find everything there already.
fn passes(system: &System, s3: &Meter, ids: &[JobId], rounds: usize) -> anyhow::Result<[Pass; 2]> {
    let bucket = system.stack().directory().join("s3").join(system.environment("BCRLAPI_BUCKET")?);
    let copies = ["rclone", "sync"].map(|name| system.path(name));
    let shared = system.stack().shared();
    // A file that aws s3 sync has written has its object's date; one that is newer it would fetch again.
    let earlier = SystemTime::now() - Duration::from_hours(1);
    for place in [&bucket, &copies[0], &copies[1]] {
        for folder in [layout::REQUEST_DIR, layout::RESPONSE_DIR] {
            fs::create_dir_all(place.join(folder))?;
        }
        for id in ids {
            for file in [layout::request(*id), layout::response(*id)] {
                fs::copy(shared.join(&file), place.join(&file)).with_context(|| format!("copy {file}"))?;
                if *place != bucket {
                    File::options().write(true).open(place.join(&file))?.set_modified(earlier)?;
                }
            }
        }
    }
    let commands = [rclone(system, s3.url(), &copies[0])?, sync(system, s3.url(), &copies[1])?];
    let mut passes = [(); 2].map(|()| Pass { core_s: 0.0, requests: 0.0, bytes: 0.0 });
    for (pass, mut command) in passes.iter_mut().zip(commands) {
        let mut core_s = Samples::default();
        for _ in 0..rounds {
            drop(s3.take());
            core_s.push(process::run(&mut command)?.core_s);
        }
        let calls = s3.take();
        let bytes = calls.iter().map(|call| call.bytes).sum::<usize>() as f64;
        *pass = Pass { core_s: core_s.median(), requests: calls.len() as f64, bytes };
    }
    Ok(passes)
}
