//! The worker beside programs that misbehave, and after ends that nobody planned.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use bcrlapi_api::JobResource;
use bcrlapi_domain::{State, Status};
use bcrlapi_exchange::layout;
use bcrlapi_local::until;
use bcrlapi_tests::{Process, System, binary};
use rustix::process::{Signal, kill_process};
use serde_json::json;

/// A worker that runs a shell script: `$1` is the request's file and `$2` the response's.
fn worker_of(system: &System, arguments: &[&str], script: &str) -> Process {
    let mut worker = system.command("bcrlapi-worker");
    worker.args(arguments).args(["--", "sh", "-c", script, "script"]);
    Process::start(&mut worker, &system.path(""))
}

async fn said(worker: &Process, words: &str) {
    until(&format!("the worker to say {words:?}"), async || worker.log().contains(words).then_some(())).await.unwrap();
}

async fn ended(system: &System, job: &JobResource) -> String {
    let done = system.reached(job.uuid, Status::Done).await;
    done.error.unwrap_or_else(|| done.outcome.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_writes_is_its_response_once_it_has_ended() {
    let system = System::start().await;
    let _agent = system.start_agent();
    let script =
        "printf '{\"step\": 1}' >\"$2\"; until [ -e open ]; do sleep 0.01; done; printf '{\"step\": 2}' >\"$2\"";
    let _worker = worker_of(&system, &[], script);
    let job = system.submit("mock", &json!({})).await;
    let checkpoint = async || fs::read_to_string(system.shared(&layout::running(job.uuid))).ok();
    let is_whole = async || checkpoint().await.filter(|text| text.ends_with('}'));
    assert_eq!(until("the checkpoint", is_whole).await.unwrap(), "{\"step\": 1}");
    assert!(!system.shared(&layout::response(job.uuid)).exists(), "it is no response yet");

    fs::write(system.path("open"), "").unwrap();
    assert_eq!(ended(&system, &job).await, "succeeded");
    assert_eq!(system.result(job.uuid).await, b"{\"step\": 2}");
    assert!(!system.shared(&layout::running(job.uuid)).exists(), "it has moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_knows_the_name_by_heart_is_understood() {
    let system = System::start().await;
    let _agent = system.start_agent();
    let script = "echo 1 >\"$(dirname \"$2\")/../$(basename \"$2\")\"";
    let _worker = worker_of(&system, &[], script);
    let job = system.submit("mock", &json!({})).await;
    assert_eq!(ended(&system, &job).await, "succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_ends_what_an_earlier_one_has_left() {
    let system = System::start().await;
    let _agent = system.start_agent();
    let script = "until [ -e open ]; do sleep 0.01; done; echo 1 >\"$2\"";
    let killed = worker_of(&system, &[], script);
    let jobs = [system.submit("mock", &json!({})).await, system.submit("mock", &json!({})).await];
    let runs = async || system.queue()?.entry(jobs[0].uuid)?.state().filter(|state| *state == State::Processing);
    until("the first job to run", runs).await.unwrap();
    let alive = worker_of(&system, &[], script);
    let both = async || system.queue()?.entry(jobs[1].uuid)?.state().filter(|state| *state == State::Processing);
    until("the second job to run", both).await.unwrap();
    killed.kill();

    let next = worker_of(&system, &[], script);
    let error = ended(&system, &jobs[0]).await;
    assert_eq!(error, "the worker was killed while the program ran; submit the job again");
    said(&next, "the worker was killed while the program ran").await;
    fs::write(system.path("open"), "").unwrap();
    assert_eq!(ended(&system, &jobs[1]).await, "succeeded", "the other worker's job is its own");
    assert_eq!(alive.terminate().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_response_is_named_at_once() {
    let system = System::start().await;
    let _agent = system.start_agent();
    for (script, words) in [
        (
            "echo it diverged; echo a warning >&2; printf '{\"a\": NaN}' >\"$2\"",
            &["NaN at line 1, column 7", "it diverged", "a warning"][..],
        ),
        ("printf 'time,soc\\n0,1\\n' >\"$2\"", &["CSV"]),
        ("printf '{\"a\": ' >\"$2\"", &["ends in the middle, after byte 6"]),
        ("printf '\\357\\273\\277{}' >\"$2\"", &["byte order mark"]),
        (": >\"$2\"", &["empty"]),
        ("echo nothing to do", &["wrote no response file", "nothing to do"]),
    ] {
        let job = system.submit("mock", &json!({})).await;
        system.entry(job.uuid).await;
        let worker = worker_of(&system, &["--once"], script);
        let error = ended(&system, &job).await;
        for word in words {
            assert!(error.contains(word), "{error:?} does not say {word:?}");
        }
        said(&worker, words[0]).await;
        let log = worker.log();
        assert!(log.matches("a warning").count() <= 1, "what the program has printed is not printed again: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_hangs_is_ended_after_its_time_with_all_that_it_has_started() {
    let system = System::start().await;
    let _agent = system.start_agent();
    let script = "sleep 1000 & echo $! >child; echo it hangs >&2; wait";
    let _worker = worker_of(&system, &["--timeout", "1s"], script);
    let job = system.submit("mock", &json!({})).await;
    let error = ended(&system, &job).await;
    assert!(error.starts_with("the program ran longer than --timeout 1s and was ended"), "{error}");
    assert!(error.contains("it hangs"), "{error}");

    let child = fs::read_to_string(system.path("child")).unwrap();
    let is_gone = async || {
        let state = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
        (state.is_empty() || state.contains(") Z")).then_some(())
    };
    until("the child to be gone", is_gone).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_prints_of_its_progress_reaches_the_caller() {
    let system = System::start().await;
    let _agent = system.start_agent();
    let script = "echo 'progress 40 reading あ'; until [ -e open ]; do sleep 0.01; done; echo 'progress 90 late'; echo 1 >\"$2\"";
    let _worker = worker_of(&system, &[], script);
    let job = system.submit("mock", &json!({})).await;
    let said = async || {
        let job = system.client().job(job.uuid).await.unwrap();
        job.progress.zip(job.message)
    };
    assert_eq!(until("the progress", said).await.unwrap(), (40, "reading あ".to_owned()));
    fs::write(system.path("open"), "").unwrap();
    assert_eq!(ended(&system, &job).await, "succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_whose_job_was_given_up_holds_up_no_other_one() {
    let system = System::start().await;
    let mut agent = system.command("bcrlapi-agent");
    let _agent = Process::start(agent.args(["--poll", "100ms", "--lost-after", "1s"]), &system.path(""));
    let worker = worker_of(&system, &[], "grep -q hangs \"$1\" && sleep 1000; echo 1 >\"$2\"");
    let hangs = system.submit("mock", &json!({"program": "hangs"})).await;
    let waits = system.submit("mock", &json!({})).await;
    let error = ended(&system, &hangs).await;
    assert!(error.contains("--lost-after"), "{error}");
    said(&worker, "somebody else has ended the job while its program runs").await;
    assert_eq!(ended(&system, &waits).await, "succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_a_program_leaves_behind_holds_up_nobody() {
    let system = System::start().await;
    let _agent = system.start_agent();
    let worker = worker_of(&system, &[], "sleep 1000 & echo $! >>children; echo 1 >\"$2\"");
    for _ in 0..3 {
        let job = system.submit("mock", &json!({})).await;
        assert_eq!(ended(&system, &job).await, "succeeded");
    }
    assert_eq!(worker.terminate().code(), Some(0));
    for child in fs::read_to_string(system.path("children")).unwrap().lines() {
        assert!(Command::new("kill").arg(child).status().unwrap().success(), "it was left alone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_said_is_said_when_the_directory_is_back() {
    let system = System::start().await;
    let _agent = system.start_agent();
    let worker = worker_of(&system, &[], "until [ -e open ]; do sleep 0.01; done; echo 1 >\"$2\"");
    let job = system.submit("mock", &json!({})).await;
    let runs = async || system.queue()?.entry(job.uuid)?.state().filter(|state| *state == State::Processing);
    until("the job to run", runs).await.unwrap();

    let (folder, away) = (system.shared("request"), system.shared("request.away"));
    fs::rename(&folder, &away).unwrap();
    // No agent makes a folder in its place.
    fs::write(&folder, "").unwrap();
    fs::write(system.path("open"), "").unwrap();
    said(&worker, "cannot use the shared directory; trying again").await;
    fs::remove_file(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    assert_eq!(ended(&system, &job).await, "succeeded");
    said(&worker, "the shared directory can be used again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_to_read_what_worker_and_programs_write() {
    let system = System::start().await;
    let _agent = system.start_agent();
    let script = "head -c 3000000 /dev/zero | tr '\\0' x >&2; echo 1 >\"$2\"";
    let mut worker = system.command("bcrlapi-worker");
    worker.args(["--", "sh", "-c", script, "script"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut worker = worker.spawn().unwrap();
    for _ in 0..3 {
        let job = system.submit("mock", &json!({})).await;
        assert_eq!(ended(&system, &job).await, "succeeded");
    }
    worker.kill().unwrap();
    worker.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_just_being_written_is_started_a_little_later() {
    let system = System::start().await;
    let _agent = system.start_agent();
    let program = system.path("program");
    fs::write(&program, "#!/bin/sh\necho 1 >\"$2\"\n").unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let mut worker = system.command("bcrlapi-worker");
    let worker = Process::start(worker.arg("--").arg(&program), &system.path(""));
    said(&worker, "worker started").await;

    let being_written = File::options().append(true).open(&program).unwrap();
    let job = system.submit("mock", &json!({})).await;
    said(&worker, "cannot start a program now").await;
    drop(being_written);
    assert_eq!(ended(&system, &job).await, "succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_makes_the_folder_of_running_programs_again() {
    let system = System::start().await;
    let _agent = system.start_agent();
    let worker = worker_of(&system, &[], "echo 1 >\"$2\"");
    let first = system.submit("mock", &json!({})).await;
    assert_eq!(ended(&system, &first).await, "succeeded");
    fs::remove_dir_all(system.shared(layout::RUNNING_DIR)).unwrap();
    let second = system.submit("mock", &json!({})).await;
    assert_eq!(ended(&system, &second).await, "succeeded");
    drop(worker);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hang_up_is_a_stop_unless_it_is_to_be_ignored() {
    let system = System::start().await;
    let _agent = system.start_agent();
    let script = "until [ -e open ]; do sleep 0.01; done; echo 1 >\"$2\"";
    let worker = worker_of(&system, &[], script);
    let job = system.submit("mock", &json!({})).await;
    let runs = async || system.queue()?.entry(job.uuid)?.state().filter(|state| *state == State::Processing);
    until("the job to run", runs).await.unwrap();
    kill_process(worker.pid(), Signal::HUP).unwrap();
    said(&worker, "stopping: waiting for 1 running job (Ctrl-C again kills it; it will fail)").await;
    fs::write(system.path("open"), "").unwrap();
    assert_eq!(worker.wait().code(), Some(0));
    assert_eq!(ended(&system, &job).await, "succeeded");

    let mut shell = Command::new("sh");
    shell.current_dir(system.path("")).env("BCRLAPI_SHARED", system.shared(""));
    shell.args(["-c", "trap '' HUP; exec \"$0\" -- sh -c \"$1\" script"]).arg(binary("bcrlapi-worker")).arg(script);
    let under_nohup = Process::start(&mut shell, &system.path(""));
    said(&under_nohup, "waiting for jobs").await;
    kill_process(under_nohup.pid(), Signal::HUP).unwrap();
    let next = system.submit("mock", &json!({})).await;
    assert_eq!(ended(&system, &next).await, "succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_says_what_it_serves() {
    let system = System::start().await;
    let worker = worker_of(&system, &["--jobs", "2", "--timeout", "2h"], "true");
    said(&worker, "no status.json yet: is an agent running on this directory?").await;
    said(&worker, "waiting for jobs").await;
    let log = worker.log();
    for words in ["worker started", env!("CARGO_PKG_VERSION"), "/sh", "jobs=2", "2h"] {
        assert!(log.contains(words), "{log} does not say {words}");
    }
}

fn check(system: &System, command: &[&str]) -> (Output, String) {
    let mut check = system.command("bcrlapi-worker");
    let output = check.arg("check").arg("--").args(command).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    (output, text)
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_the_worker_lacks_and_changes_nothing() {
    let system = System::start().await;
    let (output, text) = check(&system, &["sh", "-c", "true"]);
    assert!(output.status.success(), "{text}");
    for line in ["ok    directory", "ok    lock", "ok    exchange", "ok    command", "warn  queue"] {
        assert!(text.contains(line), "{text} has no line {line:?}");
    }

    let agent = system.start_agent();
    let job = system.submit("mock", &json!({})).await;
    system.entry(job.uuid).await;
    let before = fs::read(system.shared(layout::STATUS)).unwrap();
    let (output, text) = check(&system, &["no-such-program"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("FAIL  command      cannot start \"no-such-program\": there is no such file"), "{text}");
    assert!(text.contains("ok    queue        1 waiting, 0 running"), "{text}");
    assert_eq!(fs::read(system.shared(layout::STATUS)).unwrap(), before);
    agent.terminate();
}
