//! `bcrlapi-agent check`: one line for each thing that the agent needs, and what to do about it.

use std::fs;

use bcrlapi_exchange::layout;
use bcrlapi_local::until;
use bcrlapi_tests::System;

const SUBJECTS: [&str; 8] = ["directory", "lock", "exchange", "credentials", "table", "bucket", "clock", "permissions"];

struct Checked {
    code: i32,
    lines: Vec<String>,
}

/// Runs the check with some of the environment changed.
fn check(system: &System, environment: &[(&str, &str)]) -> Checked {
    let mut command = system.command("bcrlapi-agent");
    let output = command.arg("check").envs(environment.iter().copied()).output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    let lines: Vec<_> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    let subjects: Vec<_> = lines.iter().map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!(subjects, SUBJECTS, "one line each, in this order: {lines:#?}");
    Checked { code: output.status.code().unwrap(), lines }
}

impl Checked {
    /// The line about a subject, which must have this verdict.
    #[track_caller]
    fn line(&self, verdict: &str, subject: &str) -> &str {
        let line = &self.lines[SUBJECTS.iter().position(|name| *name == subject).unwrap()];
        assert!(line.starts_with(verdict), "{:#?}", self.lines);
        line
    }

    /// All lines but these are ok.
    #[track_caller]
    fn assert_ok_but(&self, others: &[&str]) {
        for subject in SUBJECTS.iter().filter(|subject| !others.contains(subject)) {
            self.line("ok", subject);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_is_well_nothing_is_changed() {
    let system = System::start().await;
    let checked = check(&system, &[]);
    checked.assert_ok_but(&[]);
    assert_eq!(checked.code, 0);
    assert!(checked.line("ok", "directory").contains("the agent makes request"), "{:?}", checked.lines);
    assert!(checked.line("ok", "credentials").contains("from the environment"));
    assert!(checked.line("ok", "permissions").contains("all 8 calls"));
    assert_eq!(fs::read_dir(system.shared("")).unwrap().count(), 0, "not even the folders are made");
    assert!(system.stack().store().heartbeat().await.unwrap().is_none());
    let objects = system.stack().directory().join("s3/bcrlapi/response");
    assert_eq!(fs::read_dir(objects).into_iter().flatten().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_not_there_is_named() {
    let system = System::start().await;
    let checked = check(&system, &[("BCRLAPI_SHARED", "not/mounted")]);
    assert_eq!(checked.code, 1);
    assert!(checked.line("FAIL", "directory").contains("not/mounted: No such file or directory"));
    checked.line("FAIL", "lock");
    checked.line("FAIL", "exchange");
    checked.assert_ok_but(&["directory", "lock", "exchange"]);
    let response = system.shared(layout::RESPONSE_DIR);
    fs::write(&response, "").unwrap();
    let checked = check(&system, &[]);
    assert!(checked.line("FAIL", "directory").contains(layout::RESPONSE_DIR));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_or_a_bucket_of_another_name_is_named() {
    let system = System::start().await;
    let checked = check(&system, &[("BCRLAPI_BUCKET", "of-somebody-else")]);
    assert_eq!(checked.code, 1);
    assert!(
        checked.line("FAIL", "bucket").ends_with("--bucket is the deployment's output BucketName"),
        "{:?}",
        checked.lines
    );
    checked.line("FAIL", "permissions");
    checked.assert_ok_but(&["bucket", "permissions"]);
    let checked = check(&system, &[("BCRLAPI_TABLE", "no-such-table")]);
    assert_eq!(checked.code, 1);
    assert!(
        checked.line("FAIL", "table").contains("--table is the deployment's output TableName"),
        "{:?}",
        checked.lines
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_wrong_or_missing_are_the_credentials_fault() {
    let system = System::start().await;
    for (name, value) in [("AWS_SECRET_ACCESS_KEY", "wrong"), ("AWS_ACCESS_KEY_ID", "AKIAWRONG")] {
        let checked = check(&system, &[(name, value)]);
        assert_eq!(checked.code, 1);
        let line = checked.line("FAIL", "credentials");
        assert!(line.contains("AWS refuses") && line.contains("from the environment"), "{line}");
        assert!(checked.line("FAIL", "bucket").ends_with("see credentials"), "{:?}", checked.lines);
        checked.line("ok", "clock");
    }
    let nowhere = [("AWS_ACCESS_KEY_ID", ""), ("AWS_EC2_METADATA_DISABLED", "true"), ("HOME", "/nowhere")];
    let checked = check(&system, &nowhere);
    assert_eq!(checked.code, 1);
    assert!(checked.line("FAIL", "credentials").contains("infra/lab"));
    for subject in ["table", "bucket", "clock", "permissions"] {
        assert!(checked.line("FAIL", subject).contains("not tried"));
    }
    checked.assert_ok_but(&["credentials", "table", "bucket", "clock", "permissions"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_process_and_of_the_shared_file_serve() {
    let system = System::start().await;
    let (id, secret) = (&system.alice().access_key_id, &system.alice().secret_access_key);
    let keys = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
    fs::write(system.path("credentials"), keys).unwrap();
    let answer = format!("{{\"Version\": 1, \"AccessKeyId\": \"{id}\", \"SecretAccessKey\": \"{secret}\"}}");
    fs::write(system.path("answer"), answer).unwrap();
    let process = format!("[default]\ncredential_process = cat {}\n", system.path("answer").display());
    fs::write(system.path("config"), process).unwrap();
    for (variable, file, source) in [
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials", "from the shared credentials file"),
        ("AWS_CONFIG_FILE", "config", "from credential_process"),
    ] {
        let mut command = system.command("bcrlapi-agent");
        command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY").env("HOME", "/nowhere");
        let output = command.arg("check").env(variable, system.path(file)).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains(source), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_serves_already_is_told_and_not_disturbed() {
    let system = System::start().await;
    let agent = system.start_agent();
    until("the agent to start", async || agent.log().contains("agent started").then_some(())).await.unwrap();
    let checked = check(&system, &[]);
    assert!(checked.line("warn", "lock").contains("an agent serves the directory now"));
    checked.assert_ok_but(&["lock"]);
    assert_eq!(checked.code, 0, "a warning is no failure");
    let job = system.submit("mock", &serde_json::json!({})).await;
    until("the agent to go on", async || system.queue()?.entry(job.uuid).cloned()).await.unwrap();
    assert!(!agent.log().contains("WARN"), "{}", agent.log());
}
