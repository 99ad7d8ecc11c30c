//! Rounds with real processes that are really killed: agent, scripts and workers on one directory.
//!
//! The normal tests play a few. `BCRLAPI_ROUNDS=500 cargo test -p bcrlapi-tests rounds -- --nocapture` plays that
//! many of each kind; `BCRLAPI_HISTORY=20000` puts so many done jobs into the queue first. `BCRLAPI_TEST_SEED` repeats.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bcrlapi_agent::{Clock, LOST_AFTER};
use bcrlapi_api::routes;
use bcrlapi_domain::{Job, JobId, Outcome, Owner, State, Status};
use bcrlapi_exchange::promise::{ALWAYS, AT_REST_WITH_TURNS, FROM_STEP_TO_STEP, Facts, WITH_TURNS, broken};
use bcrlapi_exchange::{Entry, Queue, layout};
use bcrlapi_tests::{
    Cut, DYNAMODB_URL, Process, S3_URL, System, announce, assert_audit_is_clean, cuttable_proxy, payload, seed,
    setting, sha256,
};
use chrono::{DateTime, FixedOffset, TimeDelta, Utc};
use fastrand::Rng;
use futures::{StreamExt, stream};
use http::Method;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use uuid::{NoContext, Timestamp, Uuid};

const JOBS: usize = 20;
/// The most kills and cuts of a round; it ends when its jobs are done.
const BLOWS: usize = 10;
/// One in how many jobs is canceled, and how long after its submit at most.
const CANCELS_ONE_IN: u8 = 3;
const CANCEL_WITHIN_S: f64 = 2.0;
/// How many rounds are played on one system, one after the other, and how many systems at once.
const ROUNDS_A_SYSTEM: u64 = 5;
const PARALLEL_SYSTEMS: usize = 4;
/// Between two looks when only waiting is left; each one asks for every job.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// A job whose `done` two scripts have lost between them is done after a minute; with a long queue all take their time.
const PATIENCE: Duration = Duration::from_mins(5);

/// Answers with what no other run answers, notes a digest of it first, and writes as carelessly as a script may.
const PROGRAM: &str = r#"
import base64, hashlib, json, os, pathlib, sys, time
request_file, response_file = sys.argv[1:]
request = json.load(open(request_file, encoding="utf-8"))
runs = os.open(pathlib.Path(__file__).with_name("runs"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
answer = json.dumps({"uuid": request["uuid"], "payload": request["input"]["payload"], "run": [os.getpid(), time.time()]})
digest = base64.b64encode(hashlib.sha256(answer.encode()).digest()).decode()
os.write(runs, f"{request['uuid']} {digest}\n".encode())
time.sleep(request["input"]["seconds"])
open(response_file, "w", encoding="utf-8").write(answer)
"#;

/// Who serves the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cast {
    /// Two scripts without a lock that overlap, and a worker.
    Overlapping,
    /// One script without a lock.
    OneScript,
    /// Two workers, and the script of the examples, which takes the lock.
    WithTheLock,
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_of_scripts_that_overlap() {
    play(Cast::Overlapping).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_of_one_script() {
    play(Cast::OneScript).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_with_the_lock() {
    play(Cast::WithTheLock).await;
}

async fn play(cast: Cast) {
    let (rounds, history, seed) = (setting("BCRLAPI_ROUNDS", 2), setting("BCRLAPI_HISTORY", 0), seed());
    announce(&format!("{rounds} rounds of a lab whose parts are killed ({cast:?}), about 20 s each"));
    let places = Arc::new(Semaphore::new(PARALLEL_SYSTEMS));
    let mut systems = JoinSet::new();
    for first in (0..rounds).step_by(usize::try_from(ROUNDS_A_SYSTEM).unwrap()) {
        let places = Arc::clone(&places);
        let numbers = first..rounds.min(first + ROUNDS_A_SYSTEM);
        systems.spawn(async move {
            let _place = places.acquire().await.unwrap();
            let arena = Arena::start(cast, history).await;
            for number in numbers {
                arena.play_round(number, Rng::with_seed(seed.wrapping_add(number))).await;
            }
        });
    }
    while let Some(played) = systems.join_next().await {
        played.unwrap();
    }
}

/// A system whose agent reaches its stores through connections that can be cut.
struct Arena {
    system: System,
    cast: Cast,
    history: Vec<JobId>,
    proxies: [(&'static str, String); 2],
    cuts: [Cut; 2],
}

impl Arena {
    async fn start(cast: Cast, history: u64) -> Self {
        let system = System::start().await;
        let app = system.path("app");
        fs::create_dir(&app).unwrap();
        fs::write(app.join("main.py"), PROGRAM).unwrap();
        fs::write(app.join("naive.py"), include_str!("rounds/naive.py")).unwrap();
        fs::write(app.join("cron.py"), include_str!("../examples/app-server/cron.py")).unwrap();
        let history = write_history(&system, history).await;
        let (to_dynamodb, cut_dynamodb) = cuttable_proxy(&system.environment(DYNAMODB_URL)).await;
        let (to_s3, cut_s3) = cuttable_proxy(&system.environment(S3_URL)).await;
        Self {
            system,
            cast,
            history,
            proxies: [(DYNAMODB_URL, to_dynamodb), (S3_URL, to_s3)],
            cuts: [cut_dynamodb, cut_s3],
        }
    }

    fn start_agent(&self) -> Process {
        let environment = self.proxies.each_ref().map(|(name, url)| (*name, url.as_str()));
        self.system.start_agent_with(&environment)
    }

    /// All who serve the queue; they end when the file `over` comes.
    fn start_cast(&self) -> Vec<Process> {
        let script = |name: &str| {
            // A script that finds nothing to do only takes time from the others.
            let has_work = "grep -qs pending \"$0/request/status.json\"";
            let program = format!("while [ ! -e over ]; do {has_work} && python3 app/{name} \"$0\"; sleep 0.1; done");
            let mut shell = Command::new("sh");
            shell.args(["-c", &program]).arg(self.system.shared("")).current_dir(self.system.path(""));
            Process::start(&mut shell, &self.system.path(""))
        };
        let worker = || {
            let mut worker = self.system.command("bcrlapi-worker");
            Process::start(worker.args(["--", "python3", "app/main.py"]), &self.system.path(""))
        };
        match self.cast {
            Cast::Overlapping => vec![script("naive.py"), script("naive.py"), worker()],
            Cast::OneScript => vec![script("naive.py")],
            Cast::WithTheLock => vec![script("cron.py"), worker(), worker()],
        }
    }

    async fn play_round(&self, number: u64, mut random: Rng) {
        let (started, seed) = (Instant::now(), random.get_seed());
        let _ = fs::remove_file(self.system.path("over"));
        let mut agent = Some(self.start_agent());
        let cast = self.start_cast();
        let (jobs, cancels) = self.submit(&mut random).await;
        let mut watch = Watch::new(self, &jobs, cancels.keys().copied().collect());
        let (mut kills, mut cuts) = (0, 0);
        while !watch.look().await {
            assert!(started.elapsed() < PATIENCE, "round {number}: not all is done: {:?}", watch.facts);
            if kills + cuts == BLOWS {
                sleep(LOOK_PAUSE).await;
                continue;
            }
            // Not a wait for anything: the moments of kills and cuts, and their lengths, are to be random ones.
            sleep(Duration::from_millis(random.u64(0..500))).await;
            if random.bool() {
                kills += 1;
                agent.take().unwrap().kill();
                sleep(Duration::from_millis(random.u64(0..300))).await;
                agent = Some(self.start_agent());
            } else {
                cuts += 1;
                let cut = &self.cuts[random.usize(0..2)];
                cut.cut();
                sleep(Duration::from_millis(random.u64(0..300))).await;
                cut.mend();
            }
        }
        let mut answers = BTreeMap::new();
        for (id, cancel) in cancels {
            answers.insert(id, cancel.await.unwrap());
        }
        fs::write(self.system.path("over"), "").unwrap();
        for process in cast {
            if process.is_a("bcrlapi-worker") {
                process.terminate()
            } else {
                process.wait()
            };
        }
        while let Err(trouble) = watch.has_come_to_rest().await {
            assert!(started.elapsed() < PATIENCE, "round {number} does not come to rest: {trouble}");
            sleep(LOOK_PAUSE).await;
        }
        let (shared, store) = (self.system.shared(""), self.system.stack().store());
        assert_audit_is_clean(&shared, store, LOST_AFTER, Clock::SYSTEM).await;
        let (runs, canceled) = watch.assert_results(&answers).await;
        let (cast, asked, took) = (self.cast, answers.len(), started.elapsed().as_secs_f64());
        eprintln!(
            "{cast:?} {number}: seed {seed}, {JOBS} jobs, {runs} runs, {canceled} of {asked} canceled, {kills} kills, \
             {cuts} cuts, {took:.1} s"
        );
    }

    /// Submits the jobs; and some of their callers think better of it, sooner or later.
    async fn submit(&self, random: &mut Rng) -> (Vec<(JobId, String)>, BTreeMap<JobId, JoinHandle<u16>>) {
        let (mut jobs, mut cancels) = (Vec::new(), BTreeMap::new());
        for number in 0..JOBS {
            let payload = format!("job {number}, {}", random.u32(..));
            let input = json!({"seconds": random.f64() * random.f64() * 0.3, "payload": payload});
            let id = self.system.submit("mock", &input).await.uuid;
            if random.u8(..CANCELS_ONE_IN) == 0 {
                let request = self.system.request(Method::POST, &routes::cancel(id), "");
                // Early rather than late: most jobs do not wait long.
                let delay = Duration::from_secs_f64(random.f64() * random.f64() * CANCEL_WITHIN_S);
                let cancel = async move {
                    sleep(delay).await;
                    request.send().await.status.as_u16()
                };
                cancels.insert(id, tokio::spawn(cancel));
            }
            jobs.push((id, payload));
            sleep(Duration::from_millis(random.u64(0..30))).await;
        }
        (jobs, cancels)
    }
}

/// What is known of a round's jobs, looked at again and again.
struct Watch<'a> {
    arena: &'a Arena,
    jobs: &'a [(JobId, String)],
    /// Those that are canceled at some time: they leave the queue, and may come back to its end.
    unwanted: BTreeSet<JobId>,
    facts: BTreeMap<JobId, Facts>,
    /// The queue when it was last read, without them.
    order: Vec<JobId>,
}

impl<'a> Watch<'a> {
    fn new(arena: &'a Arena, jobs: &'a [(JobId, String)], unwanted: BTreeSet<JobId>) -> Self {
        Self { arena, jobs, unwanted, facts: BTreeMap::new(), order: Vec::new() }
    }

    /// Looks at everything once, and holds it against the promise; says whether all jobs are done.
    async fn look(&mut self) -> bool {
        let mut rules = ALWAYS.to_vec();
        rules.extend(WITH_TURNS.into_iter().filter(|_| self.arena.cast != Cast::Overlapping));
        let queue = self.arena.system.queue();
        if let Some(queue) = queue.as_ref().filter(|_| self.arena.cast != Cast::Overlapping) {
            let order = queue.entries().iter().filter_map(Entry::id);
            let order: Vec<JobId> = order.filter(|id| !self.unwanted.contains(id)).collect();
            let stayed: Vec<JobId> = match self.arena.cast {
                Cast::WithTheLock => self.order.clone(),
                // A script without the lock may write over a new entry, which then comes again.
                Cast::OneScript | Cast::Overlapping => {
                    self.order.iter().copied().filter(|id| order.contains(id)).collect()
                }
            };
            assert!(order.starts_with(&stayed), "entries keep their order: {:?}, then {order:?}", self.order);
            self.order = order;
        }
        for (id, facts) in self.see(queue.as_ref()).await {
            let trouble = broken(&rules, &facts);
            assert_eq!(trouble, None, "job {id}: {facts:?}");
            if let Some(before) = self.facts.insert(id, facts) {
                let trouble = broken(&FROM_STEP_TO_STEP, &(before, facts));
                assert_eq!(trouble, None, "job {id}: {before:?}, then {facts:?}");
            }
        }
        self.facts.values().all(|job| job.row.is_some_and(State::is_done))
    }

    /// All that can be seen of each job. First the row and then what it speaks of, first the entry and then its
    /// request.
    async fn see(&self, queue: Option<&Queue>) -> Vec<(JobId, Facts)> {
        let (system, runs) = (&self.arena.system, self.runs());
        let mut seen = Vec::new();
        for (id, _) in self.jobs {
            let row = system.stack().store().job(*id).await.unwrap().unwrap();
            let has_response = match &row.response {
                Some(payload) => system.stack().store().read_response(*id, payload).await.unwrap().is_some(),
                None => false,
            };
            let facts = Facts {
                row: Some(row.state),
                has_response,
                has_request: system.shared(&layout::request(*id)).exists(),
                entry: queue.and_then(|queue| queue.entry(*id)?.state()),
                entries: queue
                    .map_or(0, |queue| queue.entries().iter().filter(|entry| entry.id() == Some(*id)).count()),
                told: Status::Pending,
                runs: runs.get(id).map_or(0, Vec::len).try_into().unwrap(),
            };
            seen.push((*id, facts));
        }
        seen
    }

    /// The digests of what the programs wrote, by job, in the order of their starts.
    fn runs(&self) -> BTreeMap<JobId, Vec<String>> {
        let log = fs::read_to_string(self.arena.system.path("app/runs")).unwrap_or_default();
        let mut runs: BTreeMap<JobId, Vec<String>> = BTreeMap::new();
        for (uuid, digest) in log.lines().filter_map(|line| line.split_once(' ')) {
            runs.entry(uuid.parse().unwrap()).or_default().push(digest.to_owned());
        }
        runs
    }

    /// Nobody has anything left to do: the queue has every job, done, and those of before as well.
    async fn has_come_to_rest(&mut self) -> Result<(), String> {
        self.look().await;
        let Some(queue) = self.arena.system.queue() else { return Err("no queue can be read".to_owned()) };
        for (id, mut facts) in self.see(Some(&queue)).await {
            facts.told = Status::Done;
            if let Some(rule) = broken(&AT_REST_WITH_TURNS, &facts) {
                return Err(format!("job {id}: {rule}: {facts:?}"));
            }
        }
        match self.arena.history.iter().find(|id| queue.entry(**id).is_none()) {
            Some(lost) => Err(format!("job {lost} of before is lost")),
            None => Ok(()),
        }
    }

    /// Every job has ended as its caller was told, and as the programs' own records say; counts the runs, and the jobs
    /// that were canceled.
    async fn assert_results(&self, answers: &BTreeMap<JobId, u16>) -> (usize, usize) {
        let (client, runs) = (self.arena.system.client(), self.runs());
        let (mut count, mut canceled) = (0, 0);
        for (id, payload) in self.jobs {
            let job = client.job(*id).await.unwrap();
            let (answer, runs) = (answers.get(id), runs.get(id).map_or(&[][..], Vec::as_slice));
            count += runs.len();
            if job.outcome.as_deref() == Some("canceled") {
                canceled += 1;
                self.assert_canceled(*id, answer, runs).await;
                continue;
            }
            assert!(job.has_succeeded(), "job {id}: {:?}", job.error);
            assert_ne!(answer, Some(&200), "job {id} was canceled at once");
            let result = client.result(*id).await.unwrap();
            let digest = sha256(&result);
            assert!(runs.contains(&digest), "job {id}: no run has written {}", String::from_utf8_lossy(&result));
            let result: Value = serde_json::from_slice(&result).unwrap();
            assert_eq!((&result["uuid"], &result["payload"]), (&json!(id), &json!(payload)));
        }
        (count, canceled)
    }

    /// A job that was canceled has not run and is nowhere in the lab; but scripts that overlap may run one that either of
    /// them has set back to pending.
    async fn assert_canceled(&self, id: JobId, answer: Option<&u16>, runs: &[String]) {
        let system = &self.arena.system;
        let result = system.request(Method::GET, &routes::result(id), "").send().await;
        result.assert_problem(422, "job-canceled");
        match answer {
            Some(200) => assert!(!system.shared(&layout::request(id)).exists(), "the lab never had job {id}"),
            Some(202) if self.arena.cast == Cast::Overlapping => return,
            Some(202) => {}
            other => panic!("job {id} is canceled, and its caller was told {other:?}"),
        }
        assert!(runs.is_empty(), "job {id} was canceled and has run");
        assert!(system.queue().unwrap().entry(id).is_none(), "job {id} was canceled and is in the queue");
    }
}

/// Writes this many done jobs into the cloud and the lab, oldest first.
async fn write_history(system: &System, jobs: u64) -> Vec<JobId> {
    const PARALLEL_WRITES: usize = 32;
    let begin = Utc::now() - TimeDelta::days(2);
    let dates = (0..jobs).map(|second| begin + TimeDelta::seconds(i64::try_from(second).unwrap()));
    let mut queue = Queue::default();
    let jobs: Vec<Job> = dates.map(past_job).collect();
    for job in &jobs {
        // In a queue of its own: in a long one it would be looked for from the top.
        let mut entry = Queue::default();
        entry.push(Entry::new(job, FixedOffset::east_opt(9 * 3600).unwrap()));
        entry.advance(job.id, State::Done(Outcome::Failed), Some("long ago"));
        queue.push(entry.entries()[0].clone());
    }
    let write = |job: &Job| {
        let (store, job) = (system.stack().store().clone(), job.clone());
        let request = system.shared(&layout::request(job.id));
        async move {
            store.submit(&job, "{}".into()).await.unwrap();
            store.fail(job.id, "long ago", None, Utc::now()).await.unwrap();
            fs::write(request, "{}").unwrap();
        }
    };
    if !jobs.is_empty() {
        fs::create_dir_all(system.shared(layout::REQUEST_DIR)).unwrap();
        stream::iter(&jobs).map(write).buffer_unordered(PARALLEL_WRITES).collect::<Vec<()>>().await;
        fs::write(system.shared(layout::STATUS), queue.render()).unwrap();
    }
    jobs.iter().map(|job| job.id).collect()
}

fn past_job(date: DateTime<Utc>) -> Job {
    let date = Timestamp::from_unix(NoContext, date.timestamp().unsigned_abs(), 0);
    let owner = Owner::from_identity("1", "AIDA").unwrap();
    Job::requested(Uuid::new_v7(date).try_into().unwrap(), "mock".parse().unwrap(), owner, payload("{}"))
}
