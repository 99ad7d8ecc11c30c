//! The lab's side: agent, worker and the plain cron script on one directory, started, killed and started again.

use std::fs;
use std::process::Command;
use std::time::Duration;

use bcrlapi_api::JobResource;
use bcrlapi_cloud::JobStore;
use bcrlapi_domain::{JobId, State, Status};
use bcrlapi_exchange::{Entry, layout};
use bcrlapi_local::{until, until_within};
use bcrlapi_tests::{DYNAMODB_URL, Process, S3_URL, System, cuttable_proxy, seed, slow_proxy};
use futures::{StreamExt, stream};
use http::Method;
use serde_json::{Value, json};

pub(crate) async fn submit_many(system: &System, count: usize, seconds: f64) -> Vec<JobResource> {
    let mut jobs = Vec::new();
    for number in 0..count {
        jobs.push(system.submit("mock", &json!({"seconds": seconds, "payload": number})).await);
    }
    jobs
}

/// All jobs have succeeded, every program has run exactly once, every result is the answer to its own request, and the
/// queue is in the order of the requests.
pub(crate) async fn assert_all_ran_once(system: &System, jobs: &[JobResource]) {
    assert_each_ran_once(system, jobs).await;
    let queue = system.queue().unwrap();
    assert!(
        queue.entries().iter().filter_map(Entry::id).eq(jobs.iter().map(|job| job.uuid)),
        "the queue keeps its order"
    );
}

/// The same, but for the order: where one job's way into the lab fails for a while, those after it do not wait.
pub(crate) async fn assert_each_ran_once(system: &System, jobs: &[JobResource]) {
    for (number, job) in jobs.iter().enumerate() {
        let done = system.reached(job.uuid, Status::Done).await;
        assert_eq!(done.outcome.as_deref(), Some("succeeded"), "{:?}", done.error);
        let result: Value = serde_json::from_slice(&system.result(job.uuid).await).unwrap();
        assert_eq!((&result["uuid"], &result["payload"]), (&json!(job.uuid), &json!(number)));
    }
    let submitted: Vec<JobId> = jobs.iter().map(|job| job.uuid).collect();
    let mut run = system.runs();
    run.sort_unstable();
    assert_eq!(run, submitted, "every program ran exactly once");
    let queue = system.queue().unwrap();
    assert_eq!(queue.entries().len(), jobs.len(), "each is in the queue once");
    assert!(queue.entries().iter().all(|entry| entry.state().is_some_and(State::is_done)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lab_sees_the_files_of_the_specification() {
    let system = System::start().await;
    let _agent = system.start_agent();
    // White space, order, duplicate keys and number forms are the client's own business.
    let body = "{\"b\" : 1.50,\n\t\"a\":[1e400 ],\"a\": \"電池 \\u96fb\"}";
    let reply = system.request(Method::POST, &System::submit_path("mock"), body).send().await;
    let id: JobId = reply.json()["uuid"].as_str().unwrap().parse().unwrap();
    let entry = system.entry(id).await;
    let entry = entry.line();

    let date = (id.request_date() + chrono::TimeDelta::hours(9)).format("%Y-%m-%dT%H:%M:%S+09:00");
    let fields = format!(r#"{{"uuid": "{id}", "api": "mock", "status": "pending", "request_date": "{date}"}}"#);
    assert_eq!(entry, fields);
    let status = fs::read_to_string(system.shared(layout::STATUS)).unwrap();
    assert_eq!(status, format!("{{\"jobs\": [\n  {fields}\n]}}\n"), "one job a line");
    let request = fs::read_to_string(system.shared(&layout::request(id))).unwrap();
    let expected = format!(r#"{{"uuid": "{id}", "api": "mock", "request_date": "{date}", "input": {body}}}"#);
    assert_eq!(request.trim_end(), expected, "the client's body is embedded unchanged");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_new_jobs_than_one_look_brings_do_not_wait_for_the_next_poll() {
    const PARALLEL_SUBMITS: usize = 16;
    let system = System::start().await;
    let count = usize::from(JobStore::INBOX_PAGE) + 1;
    let input = json!({"payload": 0});
    let submit = |_| system.submit("mock", &input);
    stream::iter(0..count).map(submit).buffer_unordered(PARALLEL_SUBMITS).collect::<Vec<_>>().await;
    let mut agent = system.command("bcrlapi-agent");
    // Longer than anybody waits here.
    let _agent = Process::start(agent.args(["--poll", "1m"]), &system.path(""));
    let has_all = async || system.queue().filter(|queue| queue.entries().len() == count);
    until_within(Duration::from_secs(30), "every entry", has_all).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_in_mid_job_loses_nothing() {
    let system = System::start().await;
    let agent = system.start_agent();
    let _worker = system.start_worker();
    let mut jobs = vec![system.submit("mock", &json!({"gate": "open", "payload": 0})).await];
    jobs.push(system.submit("mock", &json!({"payload": 1})).await);
    system.reached(jobs[0].uuid, Status::Processing).await;
    agent.kill();

    // Meanwhile the lab goes on and callers come: a job ends, another is submitted, nobody is told.
    fs::write(system.path("open"), "").unwrap();
    jobs.push(system.submit("mock", &json!({"payload": 2})).await);
    let first_is_done = async || system.queue()?.entry(jobs[0].uuid)?.state().filter(|state| state.is_done());
    until("the first job to be done in the lab", first_is_done).await.unwrap();
    assert_eq!(system.client().job(jobs[0].uuid).await.unwrap().status, Status::Processing);

    let agent = system.start_agent();
    assert_all_ran_once(&system, &jobs).await;
    assert_eq!(agent.terminate().code(), Some(0), "SIGTERM is a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_again_and_again_loses_nothing() {
    const KILLS: u32 = 12;
    let system = System::start().await;
    let _worker = system.start_worker();
    let mut random = fastrand::Rng::with_seed(seed());
    let mut jobs = Vec::new();
    for _ in 0..KILLS {
        let agent = system.start_agent();
        until("the agent to start", async || agent.log().contains("agent started").then_some(())).await.unwrap();
        jobs.push(system.submit("mock", &json!({"seconds": 0.05, "payload": jobs.len()})).await);
        // Not a wait for anything: the moment of the kill is to be a random one.
        tokio::time::sleep(Duration::from_millis(random.u64(0..256))).await;
        agent.kill();
    }
    let _agent = system.start_agent();
    // Who dies between two takes may leave them out of order.
    assert_each_ran_once(&system, &jobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_agent_is_refused_and_a_dead_one_is_no_obstacle() {
    let system = System::start().await;
    let first = system.start_agent();
    until("the agent to start", async || first.log().contains("agent started").then_some(())).await.unwrap();
    let second = system.start_agent();
    let refusal = async || second.log().contains("another agent serves").then_some(());
    until("the refusal", refusal).await.unwrap();
    assert_eq!(second.wait().code(), Some(1));
    first.kill();
    let third = system.start_agent();
    until("the next agent to start", async || third.log().contains("agent started").then_some(())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_run_ten_jobs_once_each_and_in_order() {
    let system = System::start().await;
    let (_agent, _one, _two) = (system.start_agent(), system.start_worker(), system.start_worker());
    let jobs = submit_many(&system, 10, 0.2).await;
    assert_all_ran_once(&system, &jobs).await;
    // Claims are in order. When a program starts, all jobs before its own are claimed, and only the last one that the
    // other worker has claimed may not have started yet.
    for (start, id) in system.runs().iter().enumerate() {
        let place = jobs.iter().position(|job| job.uuid == *id).unwrap();
        assert!(place <= start + 1, "job {place} was started as number {start}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_upload_arrives_and_holds_up_nobody() {
    let system = System::start().await;
    let proxy = slow_proxy(&system.environment(S3_URL), 1_000_000).await;
    let _agent = system.start_agent_with(&[(S3_URL, &proxy)]);
    let _worker = system.start_worker();
    let large = system.submit("mock", &json!({"size_bytes": 12_000_000})).await;
    let in_lab = async || system.queue()?.entry(large.uuid)?.state().filter(|state| state.is_done());
    until("the large response to be written", in_lab).await.unwrap();
    let small = system.submit("mock", &json!({})).await;
    let small = system.reached(small.uuid, Status::Done).await;
    assert!(small.has_succeeded());
    assert_eq!(system.client().job(large.uuid).await.unwrap().status, Status::Processing, "it is still on its way");
    let large = system.reached(large.uuid, Status::Done).await;
    assert!(large.has_succeeded(), "{:?}", large.error);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_keeps_failing_holds_up_no_other_job() {
    let system = System::start().await;
    let stuck = system.submit("mock", &json!({"payload": 0})).await;
    let in_the_way = system.shared(&layout::request_staged(stuck.uuid));
    fs::create_dir_all(&in_the_way).unwrap();
    let agent = system.start_agent();
    until("the failure to be logged", async || agent.log().contains("a step failed").then_some(())).await.unwrap();
    let _worker = system.start_worker();
    let others = [system.submit("mock", &json!({})).await, system.submit("mock", &json!({})).await];
    for job in &others {
        assert!(system.reached(job.uuid, Status::Done).await.has_succeeded());
    }
    assert_eq!(system.client().job(stuck.uuid).await.unwrap().status, Status::Pending);
    fs::remove_dir(&in_the_way).unwrap();
    assert!(system.reached(stuck.uuid, Status::Done).await.has_succeeded(), "it is tried again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_held_too_long_is_named_and_waited_for() {
    let system = System::start().await;
    let agent = system.start_agent();
    until("the queue", async || system.queue()).await.unwrap();
    let lock = fs::File::open(system.shared(layout::STATUS_LOCK)).unwrap();
    lock.lock().unwrap();
    let job = system.submit("mock", &json!({})).await;
    until("the complaint", async || agent.log().contains("has been locked").then_some(())).await.unwrap();
    assert!(system.shared(&layout::request(job.uuid)).exists(), "what needs no lock goes on");
    drop(lock);
    system.entry(job.uuid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_the_agent_may_not_read_is_not_the_programs_fault() {
    let system = System::start().await;
    let agent = system.start_agent();
    let job = system.submit("mock", &json!({})).await;
    system.entry(job.uuid).await;
    // A file in the folder's place is an error of the same kind as missing permissions, and one that root gets too.
    let (responses, aside) = (system.shared(layout::RESPONSE_DIR), system.shared("aside"));
    fs::rename(&responses, &aside).unwrap();
    fs::write(&responses, "").unwrap();
    fs::write(aside.join(format!("{}.json", job.uuid)), "{}").unwrap();
    let status = fs::read_to_string(system.shared(layout::STATUS)).unwrap();
    fs::write(system.shared(layout::STATUS), status.replace("pending", "done")).unwrap();
    until("the failure to be logged", async || agent.log().contains("response").then_some(())).await.unwrap();
    assert_eq!(system.client().job(job.uuid).await.unwrap().outcome, None);
    fs::remove_file(&responses).unwrap();
    fs::rename(&aside, &responses).unwrap();
    assert!(system.reached(job.uuid, Status::Done).await.has_succeeded());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plain_cron_script_serves_the_same_jobs() {
    let system = System::start().await;
    let _agent = system.start_agent();
    let cron = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/app-server/cron.py");
    let program = "while true; do python3 \"$0\" \"$1\"; sleep 0.05; done";
    let mut shell = Command::new("sh");
    let _cron = Process::start(shell.args(["-c", program, cron]).arg(system.shared("")), &system.path(""));
    let good = system.submit("mock", &json!({"payload": "by cron"})).await;
    let bad = system.submit("mock", &json!({"fail_rate": 1})).await;
    assert_eq!(system.reached(good.uuid, Status::Done).await.outcome.as_deref(), Some("succeeded"));
    let result: Value = serde_json::from_slice(&system.result(good.uuid).await).unwrap();
    assert_eq!(result["payload"], "by cron");
    let bad = system.reached(bad.uuid, Status::Done).await;
    assert_eq!(bad.outcome.as_deref(), Some("failed"));
    assert!(bad.error.unwrap().contains("as it was asked to"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_program_says_of_itself_reaches_the_caller() {
    let system = System::start().await;
    let _agent = system.start_agent();
    let job = system.submit("mock", &json!({})).await;
    system.entry(job.uuid).await;
    let write = |fields: Value| {
        let mut entry = json!({"uuid": job.uuid, "api": "mock", "request_date": "", "note": "mine"});
        entry.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        fs::write(system.shared(layout::STATUS), json!({"jobs": [entry]}).to_string()).unwrap();
    };
    write(json!({"status": "processing", "progress": 42.7, "message": "half way"}));
    let client = system.client();
    let said = async || client.job(job.uuid).await.ok().filter(|job| job.progress.is_some());
    let said = until("progress", said).await.unwrap();
    assert_eq!((said.status, said.progress, said.message.as_deref()), (Status::Processing, Some(42), Some("half way")));
    assert!(said.start_date.is_some());
    // The agent rewrites the file for the next job, and keeps what it does not know.
    let next = system.submit("mock", &json!({})).await;
    until("the next entry", async || system.queue()?.entry(next.uuid).cloned()).await.unwrap();
    let kept: Value = serde_json::from_str(system.queue().unwrap().entry(job.uuid).unwrap().line()).unwrap();
    assert_eq!(kept["note"], "mine");
    write(json!({"status": "failed", "error": "no more memory"}));
    let done = system.reached(job.uuid, Status::Done).await;
    assert_eq!((done.outcome.as_deref(), done.error.as_deref()), (Some("failed"), Some("no more memory")));
}

#[tokio::test(flavor = "multi_thread")]
async fn done_without_a_whole_response_is_a_failed_job() {
    let system = System::start().await;
    let agent = system.start_agent_with(&[("RUST_LOG", "bcrlapi_agent=debug")]);
    let jobs = submit_many(&system, 3, 0.0).await;
    until("the entries", async || system.queue().filter(|queue| queue.entries().len() == 3)).await.unwrap();
    fs::write(system.shared(&layout::response(jobs[1].uuid)), "{\"half\": ").unwrap();
    let elsewhere = system.path("secret.json");
    fs::write(&elsewhere, "{}").unwrap();
    std::os::unix::fs::symlink(&elsewhere, system.shared(&layout::response(jobs[2].uuid))).unwrap();
    let status = fs::read_to_string(system.shared(layout::STATUS)).unwrap();
    fs::write(system.shared(layout::STATUS), status.replace("pending", "done")).unwrap();
    for (job, reason) in jobs.iter().zip(["wrote no response file", "not valid JSON", "not a regular file"]) {
        let done = system.reached(job.uuid, Status::Done).await;
        assert_eq!(done.outcome.as_deref(), Some("failed"));
        assert!(done.error.as_deref().unwrap().contains(reason), "{:?}", done.error);
    }
    let looks = agent.log().matches("no whole response yet").count();
    assert!((3..100).contains(&looks), "{looks} looks at three responses: it waits between them");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lab_goes_on_while_the_cloud_is_away() {
    let system = System::start().await;
    let agent = system.start_agent_with(&[]);
    let job = system.submit("mock", &json!({})).await;
    system.entry(job.uuid).await;
    agent.terminate();
    // The same agent, whose table is away from its second question on: what it can see in the directory it still does.
    let (proxy, cut) = cuttable_proxy(&system.environment(DYNAMODB_URL)).await;
    let agent = system.start_agent_with(&[(DYNAMODB_URL, &proxy)]);
    until("the agent to start", async || agent.log().contains("agent started").then_some(())).await.unwrap();
    let heard = system.submit("mock", &json!({})).await;
    system.entry(heard.uuid).await;
    cut.cut();
    until("the outage to be logged", async || agent.log().contains("cannot look").then_some(())).await.unwrap();
    fs::remove_file(system.shared(layout::STATUS)).unwrap();
    let whole = async || system.queue().filter(|queue| queue.entries().len() == 2);
    until("the queue to be made again", whole).await.unwrap();
    cut.mend();
    let _worker = system.start_worker();
    for job in [job, heard] {
        assert!(system.reached(job.uuid, Status::Done).await.has_succeeded());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_stays_in_processing_is_lost_once_its_time_is_over() {
    let system = System::start().await;
    let _agent = system.start_agent_with(&[("BCRLAPI_LOST_AFTER", "2s")]);
    let job = system.submit("mock", &json!({})).await;
    system.entry(job.uuid).await;
    let status = fs::read_to_string(system.shared(layout::STATUS)).unwrap();
    fs::write(system.shared(layout::STATUS), status.replace("pending", "processing")).unwrap();
    let lost = system.reached(job.uuid, Status::Done).await;
    let reason = "the program did not finish within the lab's time limit of 2s (--lost-after)";
    assert_eq!((lost.outcome.as_deref(), lost.error.as_deref()), (Some("lost"), Some(reason)));
    let in_lab = async || system.queue()?.entry(job.uuid)?.state().filter(|state| state.is_done());
    until("the lab to be told", in_lab).await.unwrap();
}

/// A script that takes no lock, serves the queue as fast as it can, and notes every run in `runs`; it rewrites
/// status.json in place, or writes another file and renames it.
const HASTY_SCRIPT: &str = r#"
import json, os, sys
shared, runs, rewrite = sys.argv[1:]
status = f"{shared}/request/status.json"
def read():
    while True:
        try:
            return json.load(open(status, encoding="utf-8"))
        except (ValueError, FileNotFoundError):
            pass
def write(queue):
    name = status if rewrite == "in place" else f"{status}.mine"
    with open(name, "w", encoding="utf-8") as file:
        json.dump(queue, file, indent=2)
    if name != status:
        os.rename(name, status)
while True:
    queue = read()
    for job in queue["jobs"]:
        if job["status"] == "pending":
            uuid = job["uuid"]
            job["status"] = "processing"
            write(queue)
            with open(runs, "a") as file:
                file.write(uuid + "\n")
            request = json.load(open(f"{shared}/request/{uuid}.json", encoding="utf-8"))
            response = {"uuid": uuid, "payload": request["input"]["payload"]}
            json.dump(response, open(f"{shared}/response/{uuid}.json", "w"))
            queue = read()
            [job.update(status="done") for job in queue["jobs"] if job["uuid"] == uuid]
            write(queue)
            break
"#;

/// One hasty script beside the agent, while jobs pour in.
async fn serve_hastily(rewrite: &str) {
    const JOBS: usize = 40;
    let system = System::start().await;
    let _agent = system.start_agent();
    until("the queue", async || system.queue()).await.unwrap();
    fs::write(system.path("hasty.py"), HASTY_SCRIPT).unwrap();
    let mut script = Command::new("python3");
    script.arg(system.path("hasty.py")).args([system.shared(""), system.path("runs")]).arg(rewrite);
    let _script = Process::start(&mut script, &system.path(""));
    let jobs = submit_many(&system, JOBS, 0.0).await;
    assert_all_ran_once(&system, &jobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_without_a_lock_that_rewrites_in_place_runs_every_job_once() {
    serve_hastily("in place").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_without_a_lock_that_renames_runs_every_job_once() {
    serve_hastily("by rename").await;
}
