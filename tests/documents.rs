//! Every example in the documents does what the document says.

use std::fs;
use std::process::Command;

use bcrlapi_domain::Status;
use bcrlapi_exchange::Queue;
use bcrlapi_local::until;
use bcrlapi_tests::System;
use serde_json::{Value, json};

pub(crate) const SHARED_DIRECTORY: &str = include_str!("../docs/shared-directory.md");

/// The document's code blocks in this language.
pub(crate) fn blocks<'a>(document: &'a str, language: &str) -> Vec<&'a str> {
    let opening = format!("```{language}\n");
    document.split(&opening).skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect()
}

/// Runs the document's script once for each of two jobs, one of which fails.
async fn takes_its_turns(language: &str, interpreter: &str, can_fail: bool) {
    let system = System::start().await;
    let _agent = system.start_agent();
    let [script] = blocks(SHARED_DIRECTORY, language)[..] else { panic!("the document has one {language} script") };
    let program = system.path("record.py").display().to_string();
    let script =
        script.replace("/shared/bcrlapi", &system.shared("").display().to_string()).replace("main.py", &program);
    fs::write(system.path("turn"), script).unwrap();
    let turn = || {
        let run = Command::new(interpreter).arg(system.path("turn")).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    };
    until("the queue", async || system.queue()).await.unwrap();
    turn();
    assert!(system.runs().is_empty(), "where nothing waits, nothing is done");

    let good = system.submit("mock", &json!({"payload": "by the book"})).await;
    let bad = system.submit("mock", &json!({"fail_rate": i32::from(can_fail)})).await;
    until("both entries", async || system.queue().filter(|queue| queue.entries().len() == 2)).await.unwrap();
    turn();
    turn();
    assert_eq!(system.runs(), [good.uuid, bad.uuid], "the first from the top first");
    assert!(system.reached(good.uuid, Status::Done).await.has_succeeded());
    let result: Value = serde_json::from_slice(&system.result(good.uuid).await).unwrap();
    assert_eq!(result["payload"], "by the book");
    let bad = system.reached(bad.uuid, Status::Done).await;
    assert_eq!((bad.has_succeeded(), bad.error.as_deref()), (!can_fail, can_fail.then_some("see the log")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_of_the_shared_directory_serves_the_queue() {
    takes_its_turns("python", "python3", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shell_of_the_shared_directory_serves_the_queue() {
    takes_its_turns("sh", "sh", false).await;
}

#[test]
fn the_json_of_the_shared_directory_is_what_the_agent_writes() {
    let [queue, request] = blocks(SHARED_DIRECTORY, "json")[..] else { panic!("the document shows two files") };
    let parsed = Queue::parse(queue.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(parsed.render()).unwrap(), format!("{queue}\n"));
    let request: Value = serde_json::from_str(request).unwrap();
    let fields: Vec<_> = request.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["uuid", "api", "request_date", "input"]);
    assert_eq!(request["uuid"], json!(parsed.entries()[0].id()));
}
