//! `bcrlapi-agent audit`: beside an agent at work it finds nothing, and what is wrong it names with
//! what to do.

use std::fs;
use std::time::SystemTime;

use bcrlapi_domain::{JobId, Status};
use bcrlapi_exchange::layout;
use bcrlapi_local::until;
use bcrlapi_tests::System;
use serde_json::{Value, json};
use uuid::{NoContext, Timestamp, Uuid};

struct Audited {
    code: i32,
    lines: Vec<String>,
}

fn audit(system: &System, arguments: &[&str]) -> Audited {
    let mut command = system.command("bcrlapi-agent");
    let output = command.args(["audit", "--pause", "0s"]).args(arguments).output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    let lines = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    Audited { code: output.status.code().unwrap(), lines }
}

impl Audited {
    /// The lines that say that something is wrong.
    fn findings(&self) -> Vec<&str> {
        self.lines.iter().map(String::as_str).filter(|line| !line.starts_with("ok ")).collect()
    }

    #[track_caller]
    fn finding(&self, verdict: &str, rule: &str) -> &str {
        let begin = format!("{verdict}  {rule} ");
        let line = self.lines.iter().find(|line| line.starts_with(&begin));
        line.unwrap_or_else(|| panic!("{verdict}, {rule}: {:#?}", self.lines))
    }
}

/// Everything in the shared directory, and when it was last written.
fn contents(system: &System) -> Vec<(String, SystemTime)> {
    let folders = ["", layout::REQUEST_DIR, layout::DISPLACED_DIR, layout::RESPONSE_DIR];
    let mut contents = Vec::new();
    for folder in folders {
        for file in fs::read_dir(system.shared(folder)).into_iter().flatten() {
            let file = file.unwrap();
            contents.push((file.path().display().to_string(), file.metadata().unwrap().modified().unwrap()));
        }
    }
    contents.sort();
    contents
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_is_well_nothing_is_found_and_nothing_changed() {
    let system = System::start().await;
    let agent = system.start_agent();
    let worker = system.start_worker();
    let done = system.submit("mock", &json!({})).await.uuid;
    assert!(system.reached(done, Status::Done).await.has_succeeded());
    worker.terminate();
    let waits = system.submit("mock", &json!({})).await.uuid;
    system.entry(waits).await;
    let whole = async || Some(audit(&system, &[])).filter(|audited| audited.findings().is_empty());
    let audited = until("a lab in which all is well", whole).await.unwrap();
    assert_eq!(audited.code, 0);
    assert!(audited.lines.iter().all(|line| line.starts_with("ok    ")), "{:#?}", audited.lines);

    agent.terminate();
    let before = contents(&system);
    let audited = audit(&system, &[]);
    assert_eq!(audited.code, 0, "{:#?}", audited.lines);
    assert_eq!(audited.findings(), [audited.finding("warn", "an agent serves the directory")]);
    assert_eq!(contents(&system), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named_with_what_to_do() {
    let system = System::start().await;
    let agent = system.start_agent();
    let mut jobs = Vec::new();
    for _ in 0..3 {
        let id = system.submit("mock", &json!({})).await.uuid;
        system.entry(id).await;
        jobs.push(id);
    }
    let [waits, runs, vanished] = jobs[..] else { panic!("there are three") };
    let stranger: JobId = Uuid::new_v7(Timestamp::now(NoContext)).try_into().unwrap();
    rewrite(&system, |jobs| {
        let entry = jobs.iter_mut().find(|job| job["uuid"] == json!(runs)).unwrap();
        entry["status"] = json!("processing");
    });
    system.reached(runs, Status::Processing).await;
    agent.terminate();

    fs::remove_file(system.shared(&layout::request(waits))).unwrap();
    fs::write(system.shared(&layout::response(waits)), "{}").unwrap();
    fs::write(system.shared(&layout::status_corrupt("20261122T093000Z")), "{").unwrap();
    rewrite(&system, |jobs| {
        jobs.retain(|job| job["uuid"] != json!(vanished));
        jobs.push(json!({"uuid": stranger, "status": "Fertig"}));
    });
    let audited = audit(&system, &["--lost-after", "1h"]);
    assert_eq!(audited.code, 1, "{:#?}", audited.lines);
    for (verdict, rule, named) in [
        ("FAIL", "a pending entry has its request file", waits),
        ("FAIL", "an open job is in the queue", vanished),
        ("warn", "the cloud knows every job of the queue", stranger),
        ("warn", "a job that waits has no response", waits),
    ] {
        assert!(audited.finding(verdict, rule).contains(&named.to_string()), "{:#?}", audited.lines);
    }
    assert!(audited.finding("warn", "a status is one of the known words").contains("\"Fertig\""));
    assert!(audited.finding("warn", "nothing is left lying about").contains("corrupt-20261122T093000Z"));
    assert_eq!(audited.findings().len(), 7, "and that no agent is there: {:#?}", audited.findings());
}

/// What the agent has done once everything is said, an audit agrees with; and it says where the
/// cloud is behind.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_cloud_was_not_told_is_found_until_an_agent_comes() {
    let system = System::start().await;
    let agent = system.start_agent();
    let job = system.submit("mock", &json!({})).await.uuid;
    system.entry(job).await;
    agent.terminate();
    rewrite(&system, |jobs| jobs[0]["status"] = json!("processing"));
    let untold = audit(&system, &[]);
    assert_eq!(untold.code, 1);
    assert!(untold.finding("FAIL", "the cloud knows what the APP has said").contains(&job.to_string()));

    let _agent = system.start_agent();
    system.reached(job, Status::Processing).await;
    let told = async || Some(audit(&system, &[])).filter(|audited| audited.findings().is_empty());
    assert_eq!(until("the audit to agree", told).await.unwrap().code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_that_cannot_be_seen_is_an_error_and_no_verdict() {
    let system = System::start().await;
    let mut command = system.command("bcrlapi-agent");
    let output = command.args(["audit", "--table", "no-such-table"]).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("could not"), "{error}");
}

fn rewrite(system: &System, change: impl FnOnce(&mut Vec<Value>)) {
    let status = system.shared(layout::STATUS);
    let mut queue: Value = serde_json::from_slice(&fs::read(&status).unwrap()).unwrap();
    change(queue["jobs"].as_array_mut().unwrap());
    fs::write(&status, queue.to_string()).unwrap();
}
