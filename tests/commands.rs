//! The commands as people use them: what they print, what they leave, how they exit.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use bcrlapi_domain::Status;
use bcrlapi_local::{Settings, programs, until};
use bcrlapi_tests::{Process, System, binary};
use serde_json::{Value, json};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs a command to its end, away from the threads that serve it.
async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[track_caller]
fn assert_exit(output: &Output, code: i32, hint: &str) {
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{stdout}{stderr}");
    assert!(stderr.contains(hint) || stdout.contains(hint), "{hint:?} is not in:\n{stdout}{stderr}");
}

/// The state of charge that the example computes when it is run by hand.
fn soc_by_hand(directory: &Path) -> Value {
    let (request, response) = (directory.join("request.json"), directory.join("response.json"));
    let input: Value = serde_json::from_str(programs::SOC_REQUEST).unwrap();
    fs::write(&request, json!({"uuid": "by hand", "api": "soc", "input": input}).to_string()).unwrap();
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/soc/main.py");
    let run = Command::new("python3").arg(program).args([&request, &response]).status().unwrap();
    assert!(run.success());
    serde_json::from_slice(&fs::read(response).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_shows_the_state_of_charge_that_the_program_computes() {
    let directory = tempfile::tempdir().unwrap();
    let mut demo = Command::new(binary("bcrlapi-local"));
    demo.arg("demo").env("TMPDIR", directory.path());
    let demo = output(demo).await;
    assert_exit(&demo, 0, "the same as response/");
    let shown = text(&demo.stdout);
    for step in ["submitted", "in the lab", "\"status\": \"pending\"", "processing", "\"status\": \"done\"", "result"] {
        assert!(shown.contains(step), "{step} is not in:\n{shown}");
    }
    for http in [
        "POST /v1/apis/soc/jobs",
        "authorization: AWS4-HMAC-SHA256 Credential=AKIA",
        "content-type: application/json",
        "the API answers HTTP 202 Accepted\n      {\"uuid\":",
        "GET /v1/jobs/",
        "the API answers HTTP 200 OK",
    ] {
        assert!(shown.contains(http), "{http} is not in:\n{shown}");
    }
    let soc = &soc_by_hand(directory.path())["soc_percent"];
    assert!(shown.contains(&format!("State of charge after 1200 s: {soc} %")), "{shown}");
    fs::remove_file(directory.path().join("request.json")).unwrap();
    fs::remove_file(directory.path().join("response.json")).unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "the demo leaves nothing behind");
}

/// Starts `bcrlapi-local up`, with what it prints in the file `said`, and waits for the environment it writes.
async fn up(directory: &Path, arguments: &[&str]) -> (Process, Vec<(String, String)>) {
    let env = directory.join("data/env");
    let _ = fs::remove_file(&env);
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$0\" up --port 0 --dir data \"$@\" >said"])
        .arg(binary("bcrlapi-local"))
        .args(arguments);
    let process = Process::start(command.current_dir(directory), directory);
    let written = async || fs::read_to_string(&env).ok().filter(|text| text.contains("BCRLAPI_SHARED"));
    let written = until("the env file", written).await.unwrap();
    let line = |line: &str| {
        let (name, value) = line.strip_prefix("export ")?.split_once('=').unwrap();
        Some((name.to_owned(), value.trim_matches('\'').to_owned()))
    };
    assert!(written.starts_with("unset AWS_SESSION_TOKEN AWS_PROFILE"), "nothing else decides whose keys these are");
    (process, written.lines().filter_map(line).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn up_keeps_its_data_and_serves_any_client() {
    let directory = tempfile::tempdir().unwrap();
    let (stack, env) = up(directory.path(), &[]).await;
    let bcrlapi = |arguments: &[&str], env: &[(String, String)]| {
        let mut command = Command::new(binary("bcrlapi"));
        command.args(arguments).current_dir(directory.path()).envs(env.iter().cloned());
        output(command)
    };
    fs::write(directory.path().join("soc.json"), programs::SOC_REQUEST).unwrap();
    let waited = bcrlapi(&["submit", "soc", "--input", "soc.json", "--wait"], &env).await;
    assert_exit(&waited, 0, "submitted");
    let result: Value = serde_json::from_slice(&waited.stdout).unwrap();
    assert_eq!(result, soc_by_hand(directory.path()));
    let uuid = text(&waited.stderr).split_whitespace().last().unwrap().to_owned();

    let csv = bcrlapi(&["result", &uuid, "--csv"], &env).await;
    assert_exit(&csv, 0, "time_s,soc_percent\n0,80.0\n");
    assert_eq!(text(&csv.stdout).lines().count(), 1 + result["series"].as_array().unwrap().len());

    let second = Command::new(binary("bcrlapi-local"))
        .args(["up", "--port", "0", "--dir", "data"])
        .current_dir(&directory)
        .output();
    assert_exit(&second.unwrap(), 1, "in use by another bcrlapi-local");

    let principals: Value =
        serde_json::from_slice(&fs::read(directory.path().join("data/principals.json")).unwrap()).unwrap();
    let mut bobs_env = env.clone();
    bobs_env.push(("AWS_ACCESS_KEY_ID".into(), principals[1]["access_key_id"].as_str().unwrap().into()));
    bobs_env.push(("AWS_SECRET_ACCESS_KEY".into(), principals[1]["secret_access_key"].as_str().unwrap().into()));
    assert_exit(&bcrlapi(&["status", &uuid], &bobs_env).await, 3, "you have no job");

    assert_eq!(stack.terminate().code(), Some(0));
    let (stack, env) = up(directory.path(), &[]).await;
    assert_exit(&bcrlapi(&["status", &uuid], &env).await, 0, "succeeded");
    let fetched = bcrlapi(&["result", &uuid, "-o", "result.json"], &env).await;
    assert_exit(&fetched, 0, "written to result.json");
    assert_eq!(fs::read(directory.path().join("result.json")).unwrap(), waited.stdout);
    stack.terminate();

    let choices = ["--queue-limit", "1", "--owner-scope", "account", "--no-agent", "--no-worker"];
    let (_stack, env) = up(directory.path(), &choices).await;
    let submitted = bcrlapi(&["submit", "soc", "--input", "soc.json"], &env).await;
    assert_exit(&submitted, 0, "");
    let uuid = text(&submitted.stdout).trim().to_owned();
    bobs_env.extend(env.iter().filter(|(name, _)| name.contains("URL")).cloned());
    assert_exit(&bcrlapi(&["status", &uuid], &bobs_env).await, 0, "pending");
    assert_exit(&bcrlapi(&["submit", "soc", "--input", "soc.json"], &env).await, 3, "queue-full");
}

#[tokio::test(flavor = "multi_thread")]
async fn load_checks_every_job_and_sums_up() {
    let system = System::start().await;
    let (_agent, _worker) = (system.start_agent(), system.start_worker());
    let load = |arguments: &[&str]| {
        let mut command = system.command("bcrlapi-local");
        command.args(["load", "--every", "10ms"]).args(arguments);
        output(command)
    };
    let good = load(&["--jobs", "5", "--seconds", "0.05", "--size-bytes", "50000"]).await;
    assert_exit(&good, 0, "5 succeeded, 0 failed as asked, 0 wrong");
    assert_exit(&good, 0, "5 jobs for the api mock at http://127.0.0.1:");
    assert_exit(&good, 0, " s (5 of 5 done)");
    assert_exit(&load(&["--jobs", "3", "--fail-rate", "1"]).await, 0, "0 succeeded, 3 failed as asked, 0 wrong");
    let late = load(&["--jobs", "2", "--seconds", "30", "--timeout", "100ms"]).await;
    assert_exit(&late, 1, "0 succeeded, 0 failed as asked, 2 wrong");
}

#[tokio::test(flavor = "multi_thread")]
async fn load_stops_at_once_where_no_job_will_pass() {
    let system = System::start().await;
    let elsewhere = format!("{}/nowhere", system.stack().api_url());
    fs::write(system.path("broken.json"), "{").unwrap();
    for (arguments, environment, reasons) in [
        (
            &["--api", "double"][..],
            ("LANG", "C"),
            [
                "cannot submit to the api double: no api is called \"double\"",
                "next: name an api that is offered, as in --api",
            ],
        ),
        (&[], ("AWS_SECRET_ACCESS_KEY", "wrong"), ["(HTTP 403, forbidden, request ", "next: use the keys of this URL"]),
        (&[], ("BCRLAPI_URL", &elsewhere), ["(HTTP 404, no-such-path, ", "next: check --url, or BCRLAPI_URL"]),
        (&["--input", "broken.json"], ("LANG", "C"), ["(HTTP 400, invalid-json, ", "next: fix what is sent"]),
    ] {
        let mut load = system.command("bcrlapi-local");
        load.args(["load", "--jobs", "20", "--every", "1h"]).args(arguments).env(environment.0, environment.1);
        let stopped = output(load).await;
        for reason in reasons {
            assert_exit(&stopped, 1, reason);
        }
        assert!(!text(&stopped.stdout).contains("WRONG"), "{}", text(&stopped.stdout));
    }
    assert_eq!(system.stack().store().inbox(chrono::Utc::now()).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn load_serves_programs_of_ones_own() {
    let system = System::start().await;
    let (_agent, _worker) = (system.start_agent(), system.start_worker());
    fs::write(system.path("soc.json"), programs::SOC_REQUEST).unwrap();
    let load = |arguments: &[&str]| {
        let mut command = system.command("bcrlapi-local");
        command.args(["load", "--every", "10ms", "--api", "soc", "--input"]).args(arguments);
        output(command)
    };
    assert_exit(&load(&["soc.json", "--jobs", "2"]).await, 0, "2 succeeded, 0 failed as asked, 0 wrong");
    assert_exit(&load(&["missing.json"]).await, 1, "cannot read missing.json");
    assert_exit(&load(&["soc.json", "--seconds", "1"]).await, 2, "cannot be used with");
}

#[tokio::test(flavor = "multi_thread")]
async fn load_says_how_far_it_is_while_nothing_happens() {
    let system = System::start().await;
    let mut load = system.command("bcrlapi-local");
    load.args(["load", "--jobs", "1", "--timeout", "7s"]);
    assert_exit(&output(load).await, 1, "0 of 1 done, 1 waiting or running, 0 to be submitted");
}

/// Waits until `up` has said these words.
async fn up_says(directory: &Path, words: &str) -> String {
    let said = async || fs::read_to_string(directory.join("said")).ok().filter(|said| said.contains(words));
    until(&format!("up to say {words:?}"), said).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn up_says_what_to_run_where_it_runs_no_worker() {
    let directory = tempfile::tempdir().unwrap();
    let (_stack, _) = up(directory.path(), &["--no-worker", "--no-agent"]).await;
    let said = up_says(directory.path(), "python3 examples/app-server/cron.py data/shared").await;
    assert!(said.contains("bcrlapi-agent\n"), "{said}");
    assert!(said.contains("  . data/env && bcrlapi-worker -- python3 "), "{said}");

    let other = tempfile::tempdir().unwrap();
    let (_stack, _) = up(other.path(), &[]).await;
    let said = up_says(other.path(), "--wait").await;
    assert!(!said.contains("cron.py") && !said.contains("bcrlapi-agent"), "{said}");
}

/// Submits a job for this api to the stack of this environment.
async fn submit(env: &[(String, String)], api: &str) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", "echo 1 | \"$0\" submit \"$1\""]).arg(binary("bcrlapi")).arg(api);
    command.envs(env.iter().cloned());
    output(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn up_offers_the_apis_that_it_is_given_however_they_are_written() {
    for arguments in [&["--apis", "a, b"][..], &["--apis", "a,", "b"]] {
        let directory = tempfile::tempdir().unwrap();
        let (_stack, env) = up(directory.path(), &[arguments, &["--no-agent", "--no-worker"]].concat()).await;
        for api in ["a", "b"] {
            assert_exit(&submit(&env, api).await, 0, "submitted");
        }
        assert_exit(&submit(&env, "c").await, 3, "no-such-api");
    }

    let directory = tempfile::tempdir().unwrap();
    let (_stack, env) = up(directory.path(), &["--apis", "*", "--no-agent"]).await;
    up_says(directory.path(), "note: the built-in worker has programs for soc and mock only").await;
    assert_exit(&submit(&env, "whatever").await, 0, "submitted");

    let nothing = Command::new(binary("bcrlapi-local")).args(["up", "--apis", " , "]).output().unwrap();
    assert_exit(&nothing, 2, "it names no api; give names, as in soc,mock, or '*' for every name");
}

#[tokio::test(flavor = "multi_thread")]
async fn up_listens_where_it_is_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let (_stack, env) = up(directory.path(), &["--listen", "127.0.0.2", "--no-agent", "--no-worker"]).await;
    for (name, url) in env.iter().filter(|(_, value)| value.contains("://")) {
        assert!(url.starts_with("http://127.0.0.2:"), "{name}={url}");
    }
    assert_exit(&submit(&env, "soc").await, 0, "submitted");

    for (address, reason) in [("0.0.0.0", "it stands for every address"), ("localhost", "invalid IP address")] {
        let refused = Command::new(binary("bcrlapi-local")).args(["up", "--listen", address]).output().unwrap();
        assert_exit(&refused, 2, reason);
    }
    // Set aside for documents: no computer has it.
    let nowhere = Command::new(binary("bcrlapi-local"))
        .args(["up", "--listen", "203.0.113.1", "--no-worker", "--dir", "nowhere"])
        .current_dir(&directory)
        .output();
    assert_exit(&nowhere.unwrap(), 1, "cannot listen at 203.0.113.1:9000; choose another --port or --listen");
}

/// Runs a command on a terminal until it has written some words, ends it, and prints all that it wrote.
const ON_A_TERMINAL: &str = r"
import os, pty, signal, sys
words, command = sys.argv[1].encode(), sys.argv[2:]
child, terminal = pty.fork()
if child == 0:
    os.execv(command[0], command)
written = b''
while words not in written:
    more = os.read(terminal, 65536)
    if not more:
        sys.exit('it has ended')
    written += more
os.kill(child, signal.SIGKILL)
# The next one takes the lock that this one has until it is gone.
os.waitpid(child, 0)
sys.stdout.buffer.write(written)
";

#[tokio::test(flavor = "multi_thread")]
async fn logs_have_colors_on_a_terminal_only_and_only_if_they_are_wanted() {
    const COLOR: &str = "\u{1b}[";
    let system = System::start().await;
    let directory = tempfile::tempdir().unwrap();
    let up = ["up", "--port", "0", "--no-worker", "--dir", &directory.path().display().to_string()].map(str::to_owned);
    for (program, arguments, words) in [
        ("bcrlapi-agent", vec!["--poll".to_owned(), "100ms".to_owned()], "agent started"),
        ("bcrlapi-worker", vec!["--".to_owned(), "true".to_owned()], "worker started"),
        ("bcrlapi-local", up.to_vec(), "agent started"),
    ] {
        let log = async |no_color: Option<&str>| {
            let mut command = Command::new("python3");
            command.args(["-c", ON_A_TERMINAL, words]).arg(binary(program)).args(&arguments);
            command.current_dir(system.path("")).envs(system.stack().environment()).env("TERM", "xterm");
            command.env_remove("NO_COLOR").envs(no_color.map(|value| ("NO_COLOR", value)));
            let output = output(command).await;
            assert_exit(&output, 0, words);
            text(&output.stdout)
        };
        assert!(log(None).await.contains(COLOR), "{program} on a terminal");
        assert!(log(Some("")).await.contains(COLOR), "{program} with an empty NO_COLOR, which says nothing");
        let plain = log(Some("1")).await;
        assert!(!plain.contains(COLOR), "{program} with NO_COLOR: {plain}");

        let mut command = system.command(program);
        let into_a_file = Process::start(command.args(&arguments).env_remove("NO_COLOR"), directory.path());
        let written = async || Some(into_a_file.log()).filter(|log| log.contains(words));
        let plain = until("the log in a file", written).await.unwrap();
        assert!(!plain.contains(COLOR), "{program} into a file: {plain}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_exit_code_says_what_happened() {
    let system = System::start().await;
    let (_agent, _worker) = (system.start_agent(), system.start_worker());
    let run = |arguments: &[&str], env: &[(&str, &str)]| {
        let mut command = system.command("bcrlapi");
        command.args(arguments).envs(env.iter().copied());
        output(command)
    };
    fs::write(system.path("fine.json"), "{}").unwrap();
    fs::write(system.path("fails.json"), r#"{"fail_rate": 1}"#).unwrap();
    fs::write(system.path("broken.json"), "{").unwrap();

    let submitted = run(&["submit", "mock", "--input", "fine.json"], &[]).await;
    assert_exit(&submitted, 0, "next: bcrlapi wait");
    let uuid = text(&submitted.stdout).trim().to_owned();
    assert_exit(&run(&["wait", &uuid], &[]).await, 0, "succeeded");
    assert_exit(&run(&["status", &uuid], &[]).await, 0, "requested");
    let failed = run(&["submit", "mock", "--input", "fails.json", "--wait"], &[]).await;
    assert_exit(&failed, 1, "as it was asked to");
    let failed_json = run(&["submit", "mock", "--input", "fails.json", "--wait", "--json"], &[]).await;
    assert_exit(&failed_json, 1, "\"outcome\": \"failed\"");
    let job: Value = serde_json::from_slice(&failed_json.stdout).unwrap();
    assert_eq!((&job["status"], &job["outcome"]), (&json!("done"), &json!("failed")), "--json prints the job");
    let failed_uuid = text(&failed.stderr).split_whitespace().nth(1).unwrap().to_owned();
    assert_exit(&run(&["wait", &failed_uuid], &[]).await, 1, "failed");
    let no_result = run(&["result", &failed_uuid], &[]).await;
    assert_exit(&no_result, 1, "as it was asked to");
    assert_exit(&no_result, 1, "next: fix the input as the program's error says, and submit again");

    assert_exit(&run(&["submit"], &[]).await, 2, "Usage");
    assert_exit(&run(&["submit", "mock", "--input", "missing.json"], &[]).await, 2, "missing.json");
    assert_exit(&run(&["status", "not-a-uuid"], &[]).await, 2, "version 7 uuid");
    assert_exit(&run(&["submit", "mock", "--input", "broken.json"], &[]).await, 3, "invalid-json");
    let wrong_keys = [("AWS_SECRET_ACCESS_KEY", "wrong")];
    assert_exit(&run(&["status", &uuid], &wrong_keys).await, 3, "signature does not match");
    for url in ["", "/prod", "127.0.0.1:9000", "http://127.0.0.1:9000/?a"] {
        assert_exit(&run(&["status", &uuid, "--url", url], &[]).await, 2, "URL");
    }
    let nowhere = [("BCRLAPI_URL", "http://127.0.0.1:9")];
    assert_exit(&run(&["status", &uuid], &nowhere).await, 4, "cannot reach 127.0.0.1:9");
    let no_region = [
        ("AWS_REGION", ""),
        ("AWS_DEFAULT_REGION", ""),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    assert_exit(&run(&["status", &uuid], &no_region).await, 2, "next: set AWS_REGION");
    let other_region = [("AWS_REGION", "eu-west-1")];
    assert_exit(&run(&["status", &uuid], &other_region).await, 3, "that the region is the API's: --region");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_lists_cancels_and_shows_the_lab() {
    let system = System::start().await;
    let run = |arguments: &[&str]| {
        let mut command = system.command("bcrlapi");
        command.args(arguments);
        output(command)
    };
    fs::write(system.path("fine.json"), "{}").unwrap();
    let submit = ["submit", "mock", "--input", "fine.json", "--idempotency-key", "my-key"];
    let first = run(&submit).await;
    assert_exit(&first, 0, "submitted");
    let again = run(&submit).await;
    assert_exit(&again, 0, "already submitted");
    assert_eq!(again.stdout, first.stdout, "the same key, the same job");
    let uuid = text(&first.stdout).trim().to_owned();
    let second = run(&["submit", "soc", "--input", "fine.json", "--json"]).await;
    let second: Value = serde_json::from_slice(&second.stdout).unwrap();
    assert_exit(
        &run(&["submit", "mock", "--input", "fine.json", "--idempotency-key", "a b"]).await,
        2,
        "visible ASCII",
    );
    fs::write(system.path("other.json"), "[]").unwrap();
    let reused = ["submit", "mock", "--input", "other.json", "--idempotency-key", "my-key"];
    assert_exit(&run(&reused).await, 3, "idempotency-key-reused");

    let all = text(&run(&["list"]).await.stdout);
    let lines: Vec<_> = all.lines().collect();
    assert!(lines[0].starts_with(second["uuid"].as_str().unwrap()) && lines[1].starts_with(&uuid), "{all}");
    assert_eq!(lines.len(), 2);
    assert_exit(&run(&["list", "--limit", "1"]).await, 0, "(more jobs; use --limit N)");
    let listed: Value = serde_json::from_slice(&run(&["list", "--api", "soc", "--json"]).await.stdout).unwrap();
    assert_eq!(listed, json!({"jobs": [second], "next_cursor": null}));
    assert_exit(&run(&["list", "--status", "ready"]).await, 2, "[possible values: pending, processing, done]");
    assert_exit(&run(&["list", "--help"]).await, 0, "[possible values: pending, processing, done]");
    assert_exit(&run(&["list", "--limit", "0"]).await, 2, "must be at least 1");

    assert_exit(&run(&["lab"]).await, 0, "state      offline");
    assert_exit(&run(&["wait", &uuid, "--timeout", "0s"]).await, 5, "is not done after 0s; it goes on");
    assert_exit(&run(&["result", &uuid]).await, 3, "next: wait for the job's end: bcrlapi wait");
    let late = run(&["wait", &uuid, "--timeout", "1s"]).await;
    assert_exit(&late, 5, &format!("it goes on\nnext: bcrlapi wait {uuid}"));
    assert_exit(&late, 5, "the lab is offline and was never seen; the job waits for it");

    assert_exit(&run(&["cancel", &uuid]).await, 0, "canceled");
    for timeout in [[].as_slice(), &["--timeout", "0s"]] {
        assert_exit(&run(&[&["wait", &uuid], timeout].concat()).await, 1, "canceled");
    }
    assert_exit(&run(&["result", &uuid]).await, 1, "it is canceled (HTTP 422, job-canceled, request ");
    let canceled: Value = serde_json::from_slice(&run(&["status", &uuid, "--json"]).await.stdout).unwrap();
    assert_eq!((&canceled["status"], &canceled["outcome"]), (&json!("done"), &json!("canceled")));
    let second = second["uuid"].as_str().unwrap();
    system.stack().store().take(second.parse().unwrap()).await.unwrap();
    assert_exit(&run(&["cancel", second]).await, 0, "asked for it back (about 15 s)");
    let message = "day 1\nstatus     done\u{1b}[2J";
    system.stack().store().report(second.parse().unwrap(), None, Some(message), chrono::Utc::now()).await.unwrap();
    assert_exit(&run(&["status", second]).await, 0, r"message    day 1\nstatus     done\u{1b}[2J");
    assert_exit(&run(&["cancel", second]).await, 3, "not-cancelable");

    let _agent = system.start_agent();
    let online = async || {
        let lab: Value = serde_json::from_slice(&run(&["lab", "--json"]).await.stdout).unwrap();
        (lab["state"] == "online").then_some(())
    };
    until("the lab to be online", online).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_fetches_results_of_any_size_and_makes_csv_of_them() {
    let system = System::start().await;
    let run = |arguments: &[&str]| {
        let mut command = system.command("bcrlapi");
        command.args(arguments);
        output(command)
    };
    let done = async |response: String| {
        let job = system.submit("mock", &json!({})).await;
        system.finish(job.uuid, &response).await;
        job.uuid.to_string()
    };
    let large = format!("\"{}\"", "x".repeat(7_000_000));
    let uuid = done(large.clone()).await;
    assert!(run(&["result", &uuid]).await.stdout == large.as_bytes(), "it follows the link");
    assert_exit(&run(&["result", &uuid, "--csv"]).await, 2, "cannot convert to CSV");
    for both in [["result", &uuid, "--csv", "--json"], ["--json", "result", &uuid, "--csv"]] {
        assert_exit(&run(&both).await, 2, "--csv and --excel cannot be used with --json");
    }

    let uuid =
        done(r#"{"soc_percent": 1, "samples": [{"time_s": 0, "note": "a,b"}, {"time_s": 1.50}]}"#.to_owned()).await;
    assert_eq!(text(&run(&["result", &uuid, "--csv"]).await.stdout), "time_s,note\n0,\"a,b\"\n1.50,\n");
    assert_exit(&run(&["result", &uuid, "--csv", "-o", "result.csv"]).await, 0, "written to result.csv");
    let empty = done("[]".to_owned()).await;
    assert_eq!(run(&["result", &empty, "--csv"]).await.stdout, b"");
    assert_eq!(fs::read_to_string(system.path("result.csv")).unwrap(), "time_s,note\n0,\"a,b\"\n1.50,\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_gives_up_where_it_is_told_to_come_back_much_later() {
    let system = System::start_with(Settings { queue_limit: Some(0), ..Settings::default() }).await;
    fs::write(system.path("fine.json"), "{}").unwrap();
    let mut submit = system.command("bcrlapi");
    submit.args(["submit", "mock", "--input", "fine.json"]);
    assert_exit(&output(submit).await, 3, "queue-full");
}

#[test]
fn the_client_completes_its_words_in_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let script = Command::new(binary("bcrlapi")).args(["completions", shell]).env_clear().output().unwrap();
        assert_exit(&script, 0, "cancel");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_looks_once_for_cron() {
    let system = System::start().await;
    let _agent = system.start_agent();
    let jobs = [system.submit("mock", &json!({})).await, system.submit("mock", &json!({})).await];
    until("both entries", async || system.queue().filter(|queue| queue.entries().len() == 2)).await.unwrap();
    let once = |command: &[&str]| {
        let mut worker = system.command("bcrlapi-worker");
        worker.args(["--once", "--"]).args(command);
        output(worker)
    };
    let program = system.path("record.py").display().to_string();
    assert_exit(&once(&["python3", &program]).await, 0, "ran 1 job(s)");
    assert_eq!(system.runs(), [jobs[0].uuid]);
    assert_exit(&once(&["no-such-program"]).await, 1, "cannot start");
    assert_eq!(system.queue().unwrap().first_pending(), Some(jobs[1].uuid), "a slip costs no job");
    assert_exit(&once(&["python3", &program]).await, 0, "ran 1 job(s)");
    assert_exit(&once(&["python3", &program]).await, 0, "ran 0 job(s)");
    assert_exit(&once(&[]).await, 2, "Usage");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_whose_output_nobody_reads_still_learns_the_uuid() {
    let system = System::start().await;
    fs::write(system.path("fine.json"), "{}").unwrap();
    let mut submit = system.command("bcrlapi");
    submit.args(["submit", "mock", "--input", "fine.json"]).stdout(fs::File::create("/dev/full").unwrap());
    assert_exit(&output(submit).await, 2, "submitted ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_stops_nobody() {
    let system = System::start().await;
    let full = || fs::File::create("/dev/full").unwrap();
    let mut agent = system.command("bcrlapi-agent");
    let mut agent = agent.args(["--poll", "100ms"]).stderr(full()).spawn().unwrap();
    let job = system.submit("mock", &json!({})).await;
    system.entry(job.uuid).await;
    let mut worker = system.command("bcrlapi-worker");
    worker.args(["--once", "--", "python3"]).arg(system.path("record.py")).stderr(full());
    assert_exit(&output(worker).await, 0, "ran 1 job(s)");
    assert!(system.reached(job.uuid, Status::Done).await.has_succeeded());
    agent.kill().unwrap();
    agent.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_runs_as_many_jobs_as_it_is_told_and_finishes_them_when_asked_to_stop() {
    let system = System::start().await;
    let _agent = system.start_agent();
    let worker = system.start_worker_with(&["--jobs", "2"]);
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(system.submit("mock", &json!({"gate": "open"})).await);
    }
    until("two programs at once", async || (system.runs().len() == 2).then_some(())).await.unwrap();
    worker.ask_to_stop();
    fs::write(system.path("open"), "").unwrap();
    assert_eq!(worker.wait().code(), Some(0));
    assert_eq!(system.runs().len(), 2, "it has taken no more");
    for job in &jobs[..2] {
        assert!(system.reached(job.uuid, Status::Done).await.has_succeeded());
    }
    assert_eq!(system.client().job(jobs[2].uuid).await.unwrap().status, Status::Pending);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_ends_its_program_when_asked_twice() {
    let system = System::start().await;
    let (_agent, worker) = (system.start_agent(), system.start_worker());
    let job = system.submit("mock", &json!({"gate": "never"})).await;
    until("the program to run", async || system.runs().first().copied()).await.unwrap();
    worker.ask_to_stop();
    let stops = async || worker.log().contains("stopping: waiting for 1 running job").then_some(());
    until("the worker to hear it", stops).await.unwrap();
    assert_eq!(worker.terminate().code(), Some(0));
    let done = system.reached(job.uuid, Status::Done).await;
    assert!(done.error.unwrap().contains("the worker was stopped"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_says_why_a_program_failed() {
    let system = System::start().await;
    let _agent = system.start_agent();
    for (program, reason) in [
        ("exit 0", "wrote no response file"),
        ("exit 3", "exited with code 3"),
        ("kill -9 $$", "ended by signal 9"),
        ("yes too much | head -c 100000 >&2; echo the reason >&2; exit 1", "the reason"),
        ("sleep 60 > /dev/null & echo a child holds stderr >&2; exit 1", "a child holds stderr"),
    ] {
        let job = system.submit("mock", &json!({})).await;
        system.entry(job.uuid).await;
        let mut worker = system.command("bcrlapi-worker");
        worker.args(["--once", "--", "sh", "-c", program]);
        worker.stderr(std::process::Stdio::null());
        assert_exit(&output(worker).await, 0, "ran 1 job(s)");
        let error = system.reached(job.uuid, Status::Done).await.error.unwrap();
        assert!(error.contains(reason) && error.chars().count() <= 2_000, "{program}: {error}");
    }
}
