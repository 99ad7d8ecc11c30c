use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use bcrlapi::{Client, Signer};
use bcrlapi_api::{JobResource, routes};
use bcrlapi_domain::{ApiName, Status};
use bcrlapi_exchange::{Queue, layout};
use bcrlapi_local::{FREE_PORTS, Lab, REGION, Settings, Stack, programs, until};
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};

use super::say;

const POLL: Duration = Duration::from_millis(200);
/// How much of a file is shown.
const HEAD_CHARS: usize = 150;

pub(crate) async fn run() -> anyhow::Result<()> {
    programs::check_python()?;
    let directory = tempfile::tempdir()?;
    let api: ApiName = "soc".parse()?;
    let settings = Settings { apis: vec![api.clone()], ..Settings::default() };
    let stack = Stack::start(directory.path(), FREE_PORTS, &settings).await?;
    let mut lab = Lab::default();
    lab.start_agent(&stack, POLL);
    let mut interrupt = signal(SignalKind::interrupt())?;
    say(&format!(
        "bcrlapi demo: API, DynamoDB, S3, agent and worker on this computer, in {}",
        stack.directory().display()
    ));
    let shown = tokio::select! {
        shown = show(&stack, &mut lab, &api) => shown,
        _ = interrupt.recv() => Err(anyhow!("interrupted")),
    };
    lab.stop().await;
    shown
}

async fn show(stack: &Stack, lab: &mut Lab, api: &ApiName) -> anyhow::Result<()> {
    let started = Instant::now();
    let client = stack.client(&stack.principals()[0])?;
    let shared = stack.shared();

    step(started, "submit", &format!("to {}, signed with SigV4", stack.api_url()));
    let (status, answer) = call(stack, Method::POST, &routes::submit(api), programs::SOC_REQUEST).await?;
    step(started, "submitted", &format!("the API answers HTTP {status}"));
    say(&format!("      {}", head(&String::from_utf8_lossy(&answer))));
    ensure!(status == StatusCode::ACCEPTED, "the job was not accepted");
    let job: JobResource = serde_json::from_slice(&answer)?;

    let request = shared.join(layout::request(job.uuid));
    let entry = until("the job to be in the shared directory", async || entry_line(&shared, &job)).await?;
    step(started, "in the lab", &layout::request(job.uuid));
    say(&format!("      {}", head(&fs::read_to_string(request)?)));
    say(&format!("      {}\n      {entry}", layout::STATUS));

    lab.start_worker(stack, slow_program(&programs::write(&stack.directory().join("programs"))?));
    let running = until("the program to run", async || job_past(&client, &job, Status::Pending).await).await?;
    step(started, running.status.as_str(), "examples/soc/main.py, run by the worker");
    let done = until("the program to end", async || job_past(&client, &job, Status::Processing).await).await?;
    if !done.has_succeeded() {
        bail!("the job did not succeed: {}", done.error.unwrap_or_default());
    }
    let response = fs::read(shared.join(layout::response(job.uuid))).context("there is no response file")?;
    step(started, "done", &layout::response(job.uuid));
    say(&format!("      {}", head(&String::from_utf8_lossy(&response))));
    say(&format!("      {}", entry_line(&shared, &job).unwrap_or_default()));

    step(started, "fetch", "the result, as the caller");
    let (status, result) = call(stack, Method::GET, &routes::result(job.uuid), "").await?;
    step(started, "result", &format!("the API answers HTTP {status}"));
    ensure!(result == response, "the result is not the response file");
    let size = result.len();
    say(&format!("      {size} bytes, the same as response/{}.json", job.uuid));
    let result: Value = serde_json::from_slice(&result)?;
    say(&format!("\nState of charge after {} s: {} %", result["duration_s"], result["soc_percent"]));
    say("Next: bcrlapi-local up");
    Ok(())
}

/// Shows a request line by line, sends it signed as the first principal, and gives what comes back.
async fn call(stack: &Stack, method: Method, path: &str, body: &str) -> anyhow::Result<(StatusCode, Bytes)> {
    let url = format!("{}{path}", stack.api_url());
    let host = stack.api_url().trim_start_matches("http://");
    let mut request = http::Request::builder().method(method).uri(url).header(HOST, host);
    if !body.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let mut request = request.body(body.as_bytes().to_vec())?;
    Signer::new(stack.principals()[0].credentials(), REGION).sign(&mut request).await?;
    // What a server is sent: the path alone.
    *request.uri_mut() = path.parse()?;

    say(&format!("      {} {path}", request.method()));
    for (name, value) in request.headers() {
        say(&format!("      {name}: {}", head(&String::from_utf8_lossy(value.as_bytes()))));
    }
    if !body.is_empty() {
        say(&format!("      {}", head(body)));
    }

    let socket = TcpStream::connect(host).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    tokio::spawn(connection);
    let answer = sender.send_request(request.map(|body| Full::new(Bytes::from(body)))).await?;
    let status = answer.status();
    Ok((status, answer.into_body().collect().await?.to_bytes()))
}

/// The program of the demo. In a lab it would run for minutes; here a second has to do.
fn slow_program(program: &Path) -> Vec<String> {
    ["sh", "-c", "sleep 1; exec python3 \"$0\" \"$@\"", &program.display().to_string()].map(str::to_owned).to_vec()
}

fn step(started: Instant, name: &str, text: &str) {
    say(&format!("{:5.2} s  {name:<12} {text}", started.elapsed().as_secs_f64()));
}

fn head(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    let line = words.join(" ");
    let head: String = line.chars().take(HEAD_CHARS).collect();
    if head.len() < line.len() { format!("{head} ...") } else { head }
}

fn entry_line(shared: &Path, job: &JobResource) -> Option<String> {
    let queue = Queue::parse(fs::read(shared.join(layout::STATUS)).ok()?).ok()?;
    Some(queue.entry(job.uuid)?.line().to_owned())
}

/// The job, once its status is past this one.
async fn job_past(client: &Client, job: &JobResource, status: Status) -> Option<JobResource> {
    client.job(job.uuid).await.ok().filter(|job| job.status > status)
}
