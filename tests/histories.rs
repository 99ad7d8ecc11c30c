//! Long random histories of one lab against a reference model: the real agent on a real directory with the embedded
//! stores, interrupted anywhere, and all state compared after every step.
//!
//! The normal tests play a few. `BCRLAPI_HISTORIES=200 cargo test -p bcrlapi-tests histories -- --nocapture` plays
//! that many; `BCRLAPI_TEST_SEED` repeats one.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::Duration;

use bcrlapi_agent::{Agent, Clock, Look};
use bcrlapi_cloud::JobStore;
use bcrlapi_directory::SharedDir;
use bcrlapi_domain::{Job, JobId, Outcome, Owner, Payload, State};
use bcrlapi_exchange::{RESPONSE_GRACE, Settings, layout};
use bcrlapi_tests::{System, announce, assert_audit_is_clean, seed, setting, sha256};
use chrono::{DateTime, FixedOffset, TimeDelta, Utc};
use fastrand::Rng;
use serde_json::{Map, Value, json};
use tokio::runtime::{Builder, Runtime};
use uuid::{NoContext, Timestamp, Uuid};

mod app;
mod compare;

const STEPS: usize = 40;
const PARALLEL_HISTORIES: u64 = 2;
const SETTINGS: Settings = Settings {
    offset: FixedOffset::east_opt(9 * 3600).unwrap(),
    lost_after: Some(TimeDelta::hours(2)),
    response_grace: RESPONSE_GRACE,
};
/// All clocks are the history's: what it lets pass has passed for everybody.
const CLOCK: Clock = Clock { local: now, cloud: |_| Some(now()), awake: || now() - DateTime::UNIX_EPOCH };

thread_local! {
    /// How far the history's clock is ahead of the computer's.
    static AHEAD: Cell<TimeDelta> = const { Cell::new(TimeDelta::zero()) };
}

fn now() -> DateTime<Utc> {
    Utc::now() + AHEAD.get()
}

fn advance(time: TimeDelta) {
    AHEAD.set(AHEAD.get() + time);
}

#[test]
fn histories_go_as_the_reference_model_says() {
    let (histories, seed) = (setting("BCRLAPI_HISTORIES", 6), seed());
    announce(&format!("{histories} random histories of a lab beside a reference model, about 10 s each"));
    let play_some = move |first: u64| {
        for number in (first..histories).step_by(PARALLEL_HISTORIES.try_into().unwrap()) {
            AHEAD.set(TimeDelta::zero());
            History::new(seed.wrapping_add(number)).play();
        }
    };
    let threads: Vec<_> = (0..PARALLEL_HISTORIES).map(|first| thread::spawn(move || play_some(first))).collect();
    for played in threads {
        played.join().unwrap();
    }
}

/// Another program's script without a lock puts back, every half a minute, what it once read.
#[test]
fn a_done_that_is_written_over_again_and_again_still_counts_after_a_minute() {
    let mut history = History::new(seed());
    history.submit();
    history.settle();
    let id = *history.jobs.first_key_value().unwrap().0;
    let mut queue = history.read_queue();
    let once_read = queue.clone();
    set(&mut queue, id, &json!({"status": "processing"}));
    history.write_queue(&queue);
    history.settle();
    fs::write(history.system.shared(&layout::response(id)), "{}").unwrap();
    for _ in 0..4 {
        history.write_queue(&once_read);
        history.settle();
        advance(TimeDelta::seconds(30));
    }
    history.settle();
    let job = history.cloud.block_on(history.system.stack().store().job(id)).unwrap().unwrap();
    assert_eq!(job.state, State::Done(Outcome::Succeeded));
}

/// What a job is to be like, everywhere.
#[derive(Debug)]
struct Expected {
    body: String,
    state: State,
    /// The end of the row's error, where there is one.
    error: Option<String>,
    progress: Option<u8>,
    message: Option<String>,
    /// The fields of its entry.
    entry: Map<String, Value>,
    /// What is in the response file.
    response: Option<Vec<u8>>,
}

struct History {
    seed: u64,
    random: Rng,
    /// Runs the stores; dropped last.
    system: System,
    cloud: Runtime,
    /// Runs the agent, and ends with it: what it was doing is then over, or was never begun.
    life: Option<Runtime>,
    agent: Option<Agent>,
    jobs: BTreeMap<JobId, Expected>,
    /// The jobs of the queue, from the top.
    order: Vec<JobId>,
    /// How many of them were there when the queue was last compared; and whether the agent has died since. It may have
    /// taken jobs out of order then, and they come in the order in which the next one finds them.
    settled: usize,
    has_died: bool,
    /// What somebody has put beside the jobs.
    note: Option<u32>,
    stray: Vec<String>,
    steps: Vec<String>,
}

impl Drop for History {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "BCRLAPI_TEST_SEED={} BCRLAPI_HISTORIES=1 has these steps:\n  {}",
                self.seed,
                self.steps.join("\n  ")
            );
        }
    }
}

impl History {
    fn new(seed: u64) -> Self {
        let cloud = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let system = cloud.block_on(System::start());
        Self {
            seed,
            random: Rng::with_seed(seed),
            system,
            cloud,
            life: None,
            agent: None,
            jobs: BTreeMap::new(),
            order: Vec::new(),
            settled: 0,
            has_died: false,
            note: None,
            stray: Vec::new(),
            steps: Vec::new(),
        }
    }

    fn play(mut self) {
        self.settle();
        for _ in 0..STEPS {
            if self.random.u8(..4) == 0 {
                self.interrupted_round();
            }
            self.step();
            if self.random.u8(..4) == 0 {
                self.interrupted_round();
            }
            self.settle();
            self.compare();
        }
        self.audit();
    }

    /// What the reference model does not know, the rules of an audit do.
    fn audit(&self) {
        let (shared, lost_after) = (self.system.shared(""), SETTINGS.lost_after.unwrap());
        // On this thread, whose clock it is.
        let life = Builder::new_current_thread().enable_all().build().unwrap();
        let store = life.block_on(self.system.stack().connect());
        life.block_on(assert_audit_is_clean(&shared, &store, lost_after, CLOCK));
    }

    fn step(&mut self) {
        let processing = self.choose(|job| job.state == State::Processing);
        let has_pending = self.choose(|job| job.state == State::Pending).is_some();
        match (self.random.u8(..20), processing) {
            (4..7, _) if has_pending => self.claim(),
            (7..9, Some(id)) => self.report(id),
            (9..13, Some(id)) => self.finish(id),
            (14, _) if has_pending => self.claim_in_a_file_held_open(),
            (13, _) if has_pending => self.claim_in_a_file_held_open_across_a_withdrawal(),
            (15, _) => self.write_half_a_file_for_a_while(),
            (16, _) => self.lose_the_queue(),
            (17, _) => self.let_a_day_pass(),
            (3, _) => self.cancel(),
            (18, _) if self.random.bool() => self.lose_everything_and_resync(),
            (18, _) => self.remove_a_request(),
            (19, _) => self.put_something_else_there(),
            _ => self.submit(),
        }
    }

    fn note(&mut self, step: impl Into<String>) {
        self.steps.push(step.into());
    }

    fn choose(&mut self, is_meant: impl Fn(&Expected) -> bool) -> Option<JobId> {
        let now = now();
        let ids: Vec<JobId> =
            self.jobs.iter().filter(|(id, job)| is_meant(job) && !id.is_expired(now)).map(|(id, _)| *id).collect();
        self.random.choice(ids)
    }

    fn job(&mut self, id: JobId) -> &mut Expected {
        self.jobs.get_mut(&id).unwrap()
    }

    // What callers do.

    fn submit(&mut self) {
        for _ in 0..self.random.usize(1..4) {
            let timestamp =
                Timestamp::from_unix(NoContext, now().timestamp().unsigned_abs(), now().timestamp_subsec_nanos());
            let id: JobId = Uuid::new_v7(timestamp).try_into().unwrap();
            let body = json!({"number": self.jobs.len(), "text": "\u{96fb}\u{6c60}\n"}).to_string();
            let request = Payload { size_bytes: body.len() as u64, sha256: sha256(body.as_bytes()) };
            let owner = Owner::from_identity("1", "AIDA").unwrap();
            let job = Job::requested(id, "mock".parse().unwrap(), owner, request);
            self.cloud.block_on(self.system.stack().store().submit(&job, body.clone().into())).unwrap();
            self.note(format!("submit {id}"));
            let (state, entry) = (State::Pending, new_entry(id, State::Pending));
            self.order.push(id);
            let job = Expected { body, state, error: None, progress: None, message: None, entry, response: None };
            self.jobs.insert(id, job);
            // Two of the same millisecond would stand in no order.
            advance(TimeDelta::milliseconds(2));
        }
    }

    fn cancel(&mut self) {
        if self.random.u8(..3) == 0 {
            // Perhaps nobody in the lab has heard of it yet.
            self.submit();
        }
        let Some(id) = self.choose(|job| job.state == State::Pending) else { return };
        self.ask_back(id);
        let is_claimed = self.random.bool() && self.has_entry(id);
        if is_claimed {
            self.note(format!("claim {id} in the same moment"));
            self.write_entry(id, &json!({"status": "processing"}));
            self.job(id).state = State::Processing;
        } else {
            self.settle();
            assert!(!self.has_entry(id), "{id} is withdrawn");
            self.wait_for_cancel(id);
        }
    }

    fn ask_back(&mut self, id: JobId) {
        let asked_back = self.cloud.block_on(self.system.stack().store().cancel(id, now())).unwrap().unwrap();
        self.note(format!("cancel {id}: {:?}, {}", asked_back.state, asked_back.cancel_requested));
    }

    /// Until a job that is out of the queue counts as canceled.
    fn wait_for_cancel(&mut self, id: JobId) {
        self.settle();
        // An agent that is started anew waits anew.
        advance(TimeDelta::seconds(16));
        self.settle();
        self.job(id).state = State::Done(Outcome::Canceled);
        self.order.retain(|other| *other != id);
    }

    fn has_entry(&self, id: JobId) -> bool {
        self.system.queue().is_some_and(|queue| queue.entry(id).is_some())
    }

    // What happens to a lab.

    fn lose_the_queue(&mut self) {
        let is_broken = self.random.bool();
        let status = self.system.shared(layout::STATUS);
        // What was written in the last moment, and nobody has seen, is lost with the file.
        self.settle();
        if is_broken {
            self.note("status.json stays broken");
            fs::write(&status, "{\"jobs\": [garbage").unwrap();
            self.settle();
            advance(TimeDelta::seconds(11));
            self.settle();
        } else {
            self.note("status.json is removed");
            fs::remove_file(&status).unwrap();
        }
        self.make_entries_anew();
    }

    fn make_entries_anew(&mut self) {
        self.note = None;
        let is_in_queue = |job: &Expected| job.state != State::Done(Outcome::Canceled);
        self.order = self.jobs.iter().filter(|(_, job)| is_in_queue(job)).map(|(id, _)| *id).collect();
        for (id, job) in &mut self.jobs {
            job.entry = new_entry(*id, job.state);
        }
    }

    fn let_a_day_pass(&mut self) {
        self.note("a day passes");
        for job in self.jobs.values_mut().filter(|job| job.state == State::Processing) {
            (job.state, job.error) = (State::Done(Outcome::Lost), Some("time limit".to_owned()));
            job.entry.extend(json!({"status": "done", "outcome": "lost"}).as_object().unwrap().clone());
        }
        advance(TimeDelta::days(1));
        self.settle();
        let now = now();
        let expired = self.jobs.extract_if(.., |id, _| id.is_expired(now));
        let expired: Vec<JobId> = expired.map(|(id, _)| id).collect();
        self.order.retain(|id| !expired.contains(id));
        let queue = self.read_queue().to_string();
        for id in expired {
            assert!(!self.system.shared(&layout::request(id)).exists(), "the request of {id} is a week old");
            assert!(!self.system.shared(&layout::response(id)).exists(), "the response of {id} is a week old");
            assert!(!queue.contains(&id.to_string()), "the entry of {id} is a week old");
        }
    }

    fn lose_everything_and_resync(&mut self) {
        self.settle();
        self.note("everything is lost, and brought back by a resync");
        self.kill();
        fs::remove_dir_all(self.system.shared("")).unwrap();
        fs::create_dir(self.system.shared("")).unwrap();
        let shared = self.system.shared("");
        // On this thread, whose clock it is.
        let life = Builder::new_current_thread().enable_all().build().unwrap();
        let store = life.block_on(self.system.stack().connect());
        life.block_on(bcrlapi_agent::resync(&shared, SETTINGS, store, CLOCK)).unwrap();
        self.stray.clear();
        self.make_entries_anew();
        for job in self.jobs.values_mut().filter(|job| job.state != State::Done(Outcome::Succeeded)) {
            job.response = None;
        }
    }

    fn remove_a_request(&mut self) {
        let Some(id) = self.choose(|job| !job.state.is_done()) else { return };
        self.note(format!("the request file of {id} is removed"));
        let _ = fs::remove_file(self.system.shared(&layout::request(id)));
    }

    fn put_something_else_there(&mut self) {
        if self.random.bool() {
            let note = self.random.u32(..);
            self.note(format!("a note beside the jobs: {note}"));
            let mut queue = self.read_queue();
            queue["note"] = json!(note);
            self.write_queue(&queue);
            self.note = Some(note);
        } else {
            let folder = self.random.choice([layout::REQUEST_DIR, layout::RESPONSE_DIR]).unwrap();
            let name = format!("{folder}/{}.json", self.random.u32(..));
            self.note(format!("a stray file, {name}"));
            fs::write(self.system.shared(&name), "{}").unwrap();
            self.stray.push(name);
        }
    }

    // The agent.

    fn life(&mut self) -> (&Runtime, &mut Agent) {
        let life = self.life.get_or_insert_with(|| Builder::new_current_thread().enable_all().build().unwrap());
        let agent = self.agent.get_or_insert_with(|| {
            let store: JobStore = life.block_on(self.system.stack().connect());
            Agent::new(store, SharedDir::open(&self.system.shared("")).unwrap(), SETTINGS, CLOCK).unwrap()
        });
        (life, agent)
    }

    fn kill(&mut self) {
        self.agent = None;
        self.life = None;
        self.has_died = true;
    }

    /// One round that ends somewhere in the middle, and the agent with it.
    fn interrupted_round(&mut self) {
        let limit = Duration::from_micros(self.random.u64(..15_000));
        let (life, agent) = self.life();
        let round = async { tokio::time::timeout(limit, agent.round(Look::Everywhere)).await };
        if life.block_on(round).is_err() {
            self.note(format!("the agent dies after {limit:?}"));
            self.kill();
        }
    }

    /// Rounds until nothing is left to do.
    fn settle(&mut self) {
        for _ in 0..4 {
            let (life, agent) = self.life();
            life.block_on(async {
                agent.round(Look::Everywhere).await.unwrap();
                agent.finish_uploads().await;
            });
            // What a program says is told every 5 seconds; what must come within 10 has not come
            // too late.
            advance(TimeDelta::seconds(2));
        }
    }
}

fn lab_date(id: JobId) -> String {
    id.request_date().with_timezone(&SETTINGS.offset).format("%Y-%m-%dT%H:%M:%S+09:00").to_string()
}

fn new_entry(id: JobId, state: State) -> Map<String, Value> {
    let status = state.status().as_str();
    let entry = json!({"uuid": id, "api": "mock", "status": status, "request_date": lab_date(id)});
    let Value::Object(mut entry) = entry else { unreachable!("it is an object") };
    if let Some(outcome) = state.outcome().filter(|outcome| *outcome != Outcome::Succeeded) {
        entry.insert("outcome".to_owned(), json!(outcome.as_str()));
    }
    entry
}

fn set(queue: &mut Value, id: JobId, fields: &Value) {
    let jobs = queue["jobs"].as_array_mut().unwrap();
    let entry = jobs.iter_mut().find(|job| job["uuid"] == json!(id)).unwrap().as_object_mut().unwrap();
    entry.extend(fields.as_object().unwrap().clone());
}
