use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use bcrlapi::{Choices, Client, ListQuery, Signer, Submitted};
use bcrlapi_api::{JobList, JobResource};
use bcrlapi_domain::{ApiName, IdempotencyKey, JobId, Status};
use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::{Args, Command};
use crate::describe::{describe, describe_lab, describe_list};
use crate::failure::{JOB_FAILED, OK, Unsure, report};
use crate::fetch::{Form, fetch};
use crate::input::read_input;
use crate::interrupt::{Interrupted, interrupt, stop_in_any_case};
use crate::output::{Output, print, print_json, say};
use crate::wait::wait_for;

/// Runs the command and tells the shell how it went.
pub(crate) async fn run(args: Args) -> ExitCode {
    let is_json = args.json;
    stop_in_any_case();
    let carried_out = tokio::select! {
        // First the command itself: it knows what to say of being stopped in the middle.
        biased;
        carried_out = carry_out(args) => carried_out,
        interrupted = interrupt() => Err(Interrupted::new(interrupted, None).into()),
    };
    ExitCode::from(carried_out.unwrap_or_else(|error| report(&error, is_json)))
}

async fn carry_out(args: Args) -> anyhow::Result<u8> {
    if let Command::Completions { shell } = args.command {
        return complete(shell);
    }

    let client = connect(&args).await?;
    let show = |job: &JobResource| if args.json { print_json(job) } else { print(describe(job).as_bytes()) };
    match args.command {
        Command::Submit { api, file, input, wait, output, timeout, idempotency_key } => {
            let input = read_input(file.or(input).as_deref())?;
            let output = Output::of(output)?;
            let job = submit(&client, &api, input, idempotency_key).await?;
            if wait || output.is_given {
                return wait_and_fetch(&client, job.uuid, timeout, &output, args.json).await;
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
            if args.json { print_json(&list)? } else { show_list(&list)? }
        }
        Command::Cancel { uuid } => {
            let job = client.cancel(uuid).await?;
            if job.status != Status::Done {
                say("the lab already has the job; asked for it back (about 15 s). It may still start before that");
                say(&format!("next: bcrlapi wait {uuid}"));
            }
            show(&job)?;
        }
        Command::Lab => {
            let lab = client.lab().await?;
            if args.json { print_json(&lab)? } else { print(describe_lab(&lab).as_bytes())? }
        }
        Command::Result { uuid, output, csv, excel } => {
            fetch(&client, uuid, Form::of(csv, excel), &Output::of(output)?).await?;
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

/// A client of the API that is meant, with the credentials that are.
async fn connect(args: &Args) -> anyhow::Result<Client> {
    bcrlapi_settings::check_environment()?;
    for (name, value) in [("--url", &args.url), ("--profile", &args.profile), ("--region", &args.region)] {
        bcrlapi_settings::check(name, value.as_deref().unwrap_or_default())?;
    }

    let url = args.url.as_deref().filter(|url| !url.is_empty());
    let url = url.context(
        "no URL: pass --url or set BCRLAPI_URL (output of the deployment; for bcrlapi-local: . .bcrlapi/env)",
    )?;
    let choices = Choices { profile: args.profile.clone(), region: args.region.clone() };
    Ok(Client::new(url, Signer::from_choices(url, &choices).await?)?)
}

async fn submit(
    client: &Client,
    api: &ApiName,
    input: Vec<u8>,
    key: Option<IdempotencyKey>,
) -> anyhow::Result<JobResource> {
    let key = key.unwrap_or_else(Client::new_key);
    let submitted = tokio::select! {
        submitted = client.submit_keyed(api, input, &key) => submitted,
        signal = interrupt() => {
            let stopped = Interrupted::new(signal, None);
            return Err(Unsure::new(key, stopped.into()).into());
        }
    };

    let Submitted { job, is_replayed } = match submitted {
        Ok(submitted) => submitted,
        Err(error) if error.may_have_arrived() => return Err(Unsure::new(key, error.into()).into()),
        Err(error) => return Err(error.into()),
    };

    // First to the person: the job is there, whatever becomes of standard output.
    say(&format!("{} {}", if is_replayed { "already submitted" } else { "submitted" }, job.uuid));
    Ok(job)
}

/// Fetches the result; of a job that has none, prints the job as JSON, or what people want to know of it.
async fn wait_and_fetch(
    client: &Client,
    id: JobId,
    timeout: Option<Duration>,
    output: &Output,
    json: bool,
) -> anyhow::Result<u8> {
    let job = wait_for(client, id, timeout).await?;
    if job.has_succeeded() {
        fetch(client, id, Form::AsItIs, output).await?;
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
        // An answer that leads nowhere further is not asked for again and again.
        let is_last = page.next_cursor.is_none() || page.next_cursor == list.next_cursor;
        list.next_cursor = page.next_cursor;
        if is_last {
            break;
        }
    }
    Ok(list)
}

/// The jobs to standard output, and nothing but them.
fn show_list(list: &JobList) -> anyhow::Result<()> {
    print(describe_list(list).as_bytes())?;
    if list.jobs.is_empty() {
        say("no jobs found");
    }
    if list.next_cursor.is_some() {
        say("(more jobs; use --limit N)");
    }
    Ok(())
}

fn outcome_code(job: &JobResource) -> u8 {
    if job.has_succeeded() { OK } else { JOB_FAILED }
}
