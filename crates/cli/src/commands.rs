use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use bcrlapi::{Client, ClientError, ListQuery, Signer, Submitted};
use bcrlapi_api::{JobList, JobResource, LabState};
use bcrlapi_domain::{ApiName, IdempotencyKey, JobId, Status};
use clap::CommandFactory;
use clap_complete::Shell;
use serde::Serialize;

use crate::args::{Args, Command};
use crate::printable::{printable, printable_lines};
use crate::table::to_csv;
use crate::wait::{TimedOut, wait_for};

const OK: u8 = 0;
const JOB_FAILED: u8 = 1;
const USAGE: u8 = 2;
const REFUSED: u8 = 3;
const UNREACHABLE: u8 = 4;
const TIMED_OUT: u8 = 5;

/// How far a line of [`describe`] is indented below its first.
const INDENT: usize = 11;

/// Runs the command and tells the shell how it went.
pub(crate) async fn run(args: Args) -> ExitCode {
    let has_region = args.url.as_deref().is_none_or(|url| Signer::region_of(url).is_some());
    let code = match carry_out(args).await {
        Ok(code) => code,
        Err(error) => {
            say(&format!("error: {}", printable_lines(&format!("{error:#}"), 2)));
            if let Some(next) = next_step(&error, has_region) {
                say(&format!("next: {next}"));
            }
            code_of(&error)
        }
    };
    ExitCode::from(code)
}

async fn carry_out(args: Args) -> anyhow::Result<u8> {
    if let Command::Completions { shell } = args.command {
        return complete(shell);
    }
    let url = args.url.context("no URL: pass --url or set BCRLAPI_URL (output of the deployment)")?;
    let client = Client::new(&url, Signer::from_env(&url).await?)?;
    let show = |job: &JobResource| if args.json { print_json(job) } else { print(describe(job).as_bytes()) };
    match args.command {
        Command::Submit { api, input, wait, timeout, idempotency_key } => {
            let job = submit(&client, &api, &input, idempotency_key).await?;
            if wait {
                return wait_and_print(&client, job.uuid, timeout, args.json).await;
            }
            say(&format!("next: bcrlapi wait {}", job.uuid));
            if args.json { print_json(&job)? } else { print(format!("{}\n", job.uuid).as_bytes())? }
        }
        Command::Status { uuid } => show(&client.job(uuid).await?)?,
        Command::Wait { uuid, timeout } => {
            let job = wait_for(&client, uuid, timeout).await?;
            show(&job)?;
            return Ok(outcome_code(&job));
        }
        Command::List { api, status, limit } => {
            let list = list(&client, &ListQuery { api, status }, limit).await?;
            if args.json { print_json(&list)? } else { print(describe_list(&list).as_bytes())? }
        }
        Command::Cancel { uuid } => {
            let job = client.cancel(uuid).await?;
            if job.status != Status::Done {
                say("the lab has the job and is asked for it, which takes some 15 seconds; the program may be quicker");
                say(&format!("next: bcrlapi wait {uuid}"));
            }
            show(&job)?;
        }
        Command::Lab => {
            let lab = client.lab().await?;
            if args.json { print_json(&lab)? } else { print(describe_lab(&lab).as_bytes())? }
        }
        Command::Result { uuid, output, csv } => {
            let result = client.result(uuid).await?;
            let result = if csv { to_csv(&result)? } else { result };
            write_result(result, output.as_deref())?;
        }
        Command::Completions { .. } => unreachable!("answered before"),
    }
    Ok(OK)
}

fn complete(shell: Shell) -> anyhow::Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "bcrlapi", &mut script);
    print(&script)?;
    Ok(OK)
}

async fn submit(
    client: &Client,
    api: &ApiName,
    input: &Path,
    key: Option<IdempotencyKey>,
) -> anyhow::Result<JobResource> {
    let input = read_input(input)?;
    let key = key.unwrap_or_else(Client::new_key);
    let Submitted { job, is_replayed } = match client.submit_keyed(api, input, &key).await {
        Err(error @ ClientError::Unreachable(_)) => Err(error).with_context(|| {
            format!("it may be submitted all the same; to make sure, repeat it with --idempotency-key {}", key.as_str())
        })?,
        submitted => submitted?,
    };
    // First to the person: the job is there, whatever becomes of standard output.
    say(&format!("{} {}", if is_replayed { "already submitted" } else { "submitted" }, job.uuid));
    Ok(job)
}

/// Prints the result; of a job that has none, the job as JSON, or what people want to know of it.
async fn wait_and_print(client: &Client, id: JobId, timeout: Option<Duration>, json: bool) -> anyhow::Result<u8> {
    let job = wait_for(client, id, timeout).await?;
    if job.has_succeeded() {
        write_result(client.result(id).await?, None)?;
    } else if json {
        print_json(&job)?;
    } else {
        say(&describe(&job));
    }
    Ok(outcome_code(&job))
}

/// Page after page, until there are as many as wanted.
async fn list(client: &Client, query: &ListQuery, limit: usize) -> anyhow::Result<JobList> {
    let mut list = JobList { jobs: Vec::new(), next_cursor: None };
    while list.jobs.len() < limit {
        let missing = u8::try_from(limit - list.jobs.len()).unwrap_or(u8::MAX).min(JobList::LIMIT_MAX);
        let page = client.list(query, list.next_cursor.as_deref(), missing).await?;
        list.jobs.extend(page.jobs);
        list.next_cursor = page.next_cursor;
        if list.next_cursor.is_none() {
            break;
        }
    }
    Ok(list)
}

fn read_input(input: &Path) -> anyhow::Result<Vec<u8>> {
    if input != Path::new("-") {
        return fs::read(input).with_context(|| format!("cannot read {}", input.display()));
    }
    if io::stdin().is_terminal() {
        say("reading the input from the terminal; end it with Ctrl-D");
    }
    let mut bytes = Vec::new();
    io::stdin().read_to_end(&mut bytes).context("cannot read standard input")?;
    Ok(bytes)
}

/// The job for people: one field a line.
fn describe(job: &JobResource) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            text += &format!("{name:<10} {value}\n");
        }
    };
    line("uuid", Some(job.uuid.to_string()));
    line("api", Some(job.api.to_string()));
    line("status", Some(job.status.as_str().to_owned()));
    line("outcome", job.outcome.as_deref().map(printable));
    line("canceling", job.cancel_requested.then(|| "asked for".to_owned()));
    line("error", job.error.as_deref().map(|error| printable_lines(error, INDENT)));
    line("progress", job.progress.map(|percent| format!("{percent} %")));
    line("message", job.message.as_deref().map(printable));
    line("requested", Some(job.request_date.to_rfc3339()));
    line("started", job.start_date.map(|date| date.to_rfc3339()));
    line("finished", job.finish_date.map(|date| date.to_rfc3339()));
    line("expires", Some(job.expiry_date.to_rfc3339()));
    text
}

/// The jobs for people: one a line.
fn describe_list(list: &JobList) -> String {
    let mut text = String::new();
    for job in &list.jobs {
        let end = job.outcome.as_deref().unwrap_or(job.status.as_str());
        text += &printable(&format!("{}  {}  {end:<10}  {}", job.uuid, job.request_date.to_rfc3339(), job.api));
        text.push('\n');
    }
    if list.next_cursor.is_some() {
        text += "... and more: --limit\n";
    }
    text
}

fn describe_lab(lab: &LabState) -> String {
    let last_sync = lab.last_sync.map_or_else(|| "never".to_owned(), |date| date.to_rfc3339());
    let oldest_since = lab.waiting_since.map_or_else(|| "-".to_owned(), |date| date.to_rfc3339());
    let LabState { state, pending, processing, .. } = lab;
    let state = state.as_str();
    let counts = format!("pending    {pending}\nprocessing {processing}\n");
    format!("state      {state}\nlast sync  {last_sync}\n{counts}waiting    {oldest_since}\n")
}

fn outcome_code(job: &JobResource) -> u8 {
    if job.has_succeeded() { OK } else { JOB_FAILED }
}

/// What to do about it, where the answer does not say so already.
fn next_step(error: &anyhow::Error, has_region: bool) -> Option<&'static str> {
    let Some(ClientError::Refused { problem, .. }) = error.downcast_ref() else { return None };
    match problem.code() {
        "job-failed" => Some("fix the input by what the program says, and submit it again"),
        "job-canceled" | "job-lost" => Some("submit it again"),
        "result-not-ready" => Some("bcrlapi wait with the job's uuid, and then again"),
        "forbidden" if !has_region => Some("the URL names no region: check that AWS_REGION is the API's"),
        _ => None,
    }
}

fn code_of(error: &anyhow::Error) -> u8 {
    if error.is::<TimedOut>() {
        return TIMED_OUT;
    }
    match error.downcast_ref() {
        Some(ClientError::Refused { problem, .. }) if problem.code().starts_with("job-") => JOB_FAILED,
        Some(ClientError::Refused { .. } | ClientError::Unexpected { .. }) => REFUSED,
        Some(ClientError::Unreachable(_)) => UNREACHABLE,
        Some(ClientError::BadUrl(_) | ClientError::Unsigned(_)) | None => USAGE,
    }
}

/// Writes a result, byte for byte; a person at a terminal gets a line's end too.
fn write_result(mut result: Vec<u8>, output: Option<&Path>) -> anyhow::Result<()> {
    if let Some(file) = output {
        fs::write(file, &result).with_context(|| format!("cannot write {}", file.display()))?;
        say(&format!("{} bytes written to {}", result.len(), file.display()));
        return Ok(());
    }
    if io::stdout().is_terminal() && !result.ends_with(b"\n") {
        result.push(b'\n');
    }
    print(&result)
}

fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(format!("{}\n", serde_json::to_string_pretty(value)?).as_bytes())
}

/// Writes to standard output. That its reader has seen enough (`| head`) is no error.
fn print(bytes: &[u8]) -> anyhow::Result<()> {
    match io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Says something to the person at the terminal; the result alone goes to standard output.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{}", text.trim_end());
}
