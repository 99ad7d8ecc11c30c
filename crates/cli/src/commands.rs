use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use bcrlapi::{Client, ClientError, Signer};
use bcrlapi_api::JobResource;
use bcrlapi_domain::{ApiName, JobId};

use crate::args::{Args, Command};
use crate::progress::ProgressLine;

const OK: u8 = 0;
const JOB_FAILED: u8 = 1;
const USAGE: u8 = 2;
const REFUSED: u8 = 3;
const UNREACHABLE: u8 = 4;

/// Runs the command and tells the shell how it went.
pub(crate) async fn run(args: Args) -> ExitCode {
    let code = match carry_out(args).await {
        Ok(code) => code,
        Err(error) => {
            say(&format!("error: {}", printable(&format!("{error:#}"))));
            code_of(&error)
        }
    };
    ExitCode::from(code)
}

async fn carry_out(args: Args) -> anyhow::Result<u8> {
    let url = args.url.context("no URL: pass --url or set BCRLAPI_URL (output of the deployment)")?;
    let client = Client::new(&url, Signer::from_env(&url).await?)?;
    match args.command {
        Command::Submit { api, input, wait } => submit(&client, &api, &input, wait).await,
        Command::Status { uuid } => {
            print(describe(&client.job(uuid).await?).as_bytes())?;
            Ok(OK)
        }
        Command::Wait { uuid } => {
            let job = wait_for(&client, uuid).await?;
            print(describe(&job).as_bytes())?;
            Ok(outcome_code(&job))
        }
        Command::Result { uuid, output } => {
            let result = client.result(uuid).await?;
            match output {
                None => print_result(result)?,
                Some(file) => {
                    fs::write(&file, &result).with_context(|| format!("cannot write {}", file.display()))?;
                    say(&format!("{} bytes written to {}", result.len(), file.display()));
                }
            }
            Ok(OK)
        }
    }
}

async fn submit(client: &Client, api: &ApiName, input: &Path, wait: bool) -> anyhow::Result<u8> {
    let job = client.submit(api, read_input(input)?).await?;
    // First to the person: the job is there, whatever becomes of standard output.
    say(&format!("submitted {}", job.uuid));
    if !wait {
        say(&format!("next: bcrlapi wait {}", job.uuid));
        print(format!("{}\n", job.uuid).as_bytes())?;
        return Ok(OK);
    }
    let job = wait_for(client, job.uuid).await?;
    if job.has_succeeded() {
        print_result(client.result(job.uuid).await?)?;
    } else {
        say(&describe(&job));
    }
    Ok(outcome_code(&job))
}

async fn wait_for(client: &Client, id: JobId) -> anyhow::Result<JobResource> {
    let line = ProgressLine::start();
    match client.wait(id, |job| line.show(job)).await {
        Err(error @ ClientError::Unreachable(_)) => {
            Err(error).with_context(|| format!("the job goes on; later: bcrlapi wait {id}"))
        }
        waited => Ok(waited?),
    }
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
            text += &format!("{name:<10} {}\n", printable(&value));
        }
    };
    line("uuid", Some(job.uuid.to_string()));
    line("api", Some(job.api.to_string()));
    line("status", Some(job.status.as_str().to_owned()));
    line("outcome", job.outcome.clone());
    line("error", job.error.clone());
    line("progress", job.progress.map(|percent| format!("{percent} %")));
    line("message", job.message.clone());
    line("requested", Some(job.request_date.to_rfc3339()));
    line("started", job.start_date.map(|date| date.to_rfc3339()));
    line("finished", job.finish_date.map(|date| date.to_rfc3339()));
    line("expires", Some(job.expiry_date.to_rfc3339()));
    text
}

/// Text of others, without what a terminal would obey.
fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() && char != '\n' { '\u{fffd}' } else { char }).collect()
}

fn outcome_code(job: &JobResource) -> u8 {
    if job.has_succeeded() { OK } else { JOB_FAILED }
}

fn code_of(error: &anyhow::Error) -> u8 {
    match error.downcast_ref() {
        Some(ClientError::Refused(problem)) if problem.code().starts_with("job-") => JOB_FAILED,
        Some(ClientError::Refused(_) | ClientError::Unexpected { .. }) => REFUSED,
        Some(ClientError::Unreachable(_)) => UNREACHABLE,
        Some(ClientError::BadUrl(_) | ClientError::Unsigned(_)) | None => USAGE,
    }
}

/// Writes a result, byte for byte; a person at a terminal gets a line's end too.
fn print_result(mut result: Vec<u8>) -> anyhow::Result<()> {
    if io::stdout().is_terminal() && !result.ends_with(b"\n") {
        result.push(b'\n');
    }
    print(&result)
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
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{}", text.trim_end());
}
