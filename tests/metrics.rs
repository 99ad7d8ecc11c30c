//! What an operator sees of a real agent: its metrics, scraped as Prometheus would.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::process::Command;

use bcrlapi_domain::Status;
use bcrlapi_exchange::layout;
use bcrlapi_local::until;
use bcrlapi_tests::{DYNAMODB_URL, Process, System, binary, cuttable_proxy};
use chrono::Utc;
use rustix::process::{Signal, kill_process};
use serde_json::json;

type Samples = BTreeMap<String, i64>;

/// Where the agent says that it serves its metrics.
pub(crate) async fn url(agent: &Process) -> String {
    let address = async || {
        let log = agent.log();
        let line = log.lines().find(|line| line.contains("serving metrics"))?;
        line.split_once("address=").map(|(_, address)| address.to_owned())
    };
    format!("http://{}/metrics", until("the metrics to be served", address).await.unwrap())
}

async fn scrape(url: &str) -> Samples {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(url).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text; version=1"));
    let text = answer.text().await.unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.strip_prefix("bcrlapi_agent_").unwrap().to_owned(), value.parse().unwrap())
    };
    samples.map(sample).collect()
}

/// Scrapes until a value is this.
async fn reaches(url: &str, name: &str, value: i64) -> Samples {
    let look = async || Some(scrape(url).await).filter(|samples| samples[name] == value);
    until(&format!("{name} to be {value}"), look).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_passes_through_the_metrics() {
    let system = System::start().await;
    let started = Utc::now();
    let agent = system.start_agent_with(&[("BCRLAPI_METRICS", "127.0.0.1:0")]);
    let url = url(&agent).await;
    let looked = async || Some(scrape(&url).await["last_look_timestamp_seconds"]).filter(|last| *last > 0);
    assert!(until("a first look", looked).await.unwrap() >= started.timestamp());
    let idle = scrape(&url).await;
    assert_eq!((idle["jobs{status=\"pending\"}"], idle["oldest_pending_age_seconds"]), (0, 0));

    let job = system.submit("mock", &json!({"gate": "open"})).await;
    reaches(&url, "jobs{status=\"pending\"}", 1).await;
    reaches(&url, "jobs_delivered_total", 1).await;
    reaches(&url, "oldest_pending_age_seconds", 1).await;
    let _worker = system.start_worker();
    let running = reaches(&url, "jobs{status=\"processing\"}", 1).await;
    assert_eq!((running["jobs{status=\"pending\"}"], running["oldest_pending_age_seconds"]), (0, 0));
    assert_eq!(running["queue_entries"], 1);
    assert!((50..1_000).contains(&running["queue_bytes"]), "{running:?}");
    assert!((1_000_000..1_000_000_000).contains(&running["memory_bytes"]), "{running:?}");
    reaches(&url, "oldest_processing_age_seconds", 1).await;
    fs::write(system.path("open"), "").unwrap();
    assert!(system.reached(job.uuid, Status::Done).await.has_succeeded());
    let done = reaches(&url, "jobs_finished_total{outcome=\"succeeded\"}", 1).await;
    assert_eq!((done["jobs{status=\"processing\"}"], done["oldest_processing_age_seconds"]), (0, 0));
    let result = system.result(job.uuid).await;
    assert_eq!(usize::try_from(done["uploaded_bytes_total"]), Ok(result.len()));
    assert!(done.keys().all(|name| !name.contains(&job.uuid.to_string())), "no job is named");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_shows_in_the_metrics() {
    let system = System::start().await;
    let stuck = system.submit("mock", &json!({})).await;
    let in_the_way = system.shared(&layout::request_staged(stuck.uuid));
    fs::create_dir_all(&in_the_way).unwrap();
    let agent = system.start_agent_with(&[("BCRLAPI_METRICS", "127.0.0.1:0")]);
    let url = url(&agent).await;
    let failed = async || Some(scrape(&url).await).filter(|samples| samples["failures_total{step=\"deliver\"}"] >= 1);
    until("the failure", failed).await.unwrap();
    fs::write(system.shared(layout::STATUS), "{\"jobs\": [").unwrap();
    reaches(&url, "queue_broken", 1).await;
    fs::write(system.shared(layout::STATUS), "{\"jobs\": []}").unwrap();
    reaches(&url, "queue_broken", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_that_cannot_be_served_are_an_error_and_not_a_silence() {
    let system = System::start().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let agent = system.start_agent_with(&[("BCRLAPI_METRICS", &taken.local_addr().unwrap().to_string())]);
    until("the refusal", async || agent.log().contains("choose another --metrics").then_some(())).await.unwrap();
    assert_eq!(agent.wait().code(), Some(1));
}

/// What a container's health check comes to, and says.
fn health(url: &str) -> (Option<i32>, String) {
    let address = url.strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap();
    let asked = Command::new(binary("bcrlapi-agent")).args(["health", "--metrics", address]).output().unwrap();
    let words = [asked.stdout, asked.stderr].map(|words| String::from_utf8(words).unwrap());
    (asked.status.code(), words.concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_healthy_while_it_reaches_cloud_and_directory() {
    let system = System::start().await;
    let (proxy, cut) = cuttable_proxy(&system.environment(DYNAMODB_URL)).await;
    cut.cut();
    let agent = system.start_agent_with(&[("BCRLAPI_METRICS", "127.0.0.1:0"), (DYNAMODB_URL, &proxy)]);
    let url = url(&agent).await;
    let never = "cloud and directory have not been looked at yet; the log says why\n";
    assert_eq!(health(&url), (Some(1), never.to_owned()));

    cut.mend();
    let is_healthy = async || Some(health(&url)).filter(|(code, _)| *code == Some(0));
    let (_, words) = until("the agent to be healthy", is_healthy).await.unwrap();
    assert!(words.starts_with("cloud and directory were last looked at "), "{words}");

    kill_process(agent.pid(), Signal::STOP).unwrap();
    let (code, words) = health(&url);
    assert_eq!(code, Some(1), "{words}");
    agent.kill();
    let (code, words) = health(&url);
    assert_eq!(code, Some(1), "{words}");
    assert!(words.starts_with("Error: no agent answers on 127.0.0.1:"), "{words}");
}
