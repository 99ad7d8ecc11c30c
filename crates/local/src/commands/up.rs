use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use bcrlapi_domain::ApiName;
use bcrlapi_local::{Lab, Settings, Stack, programs};
use tokio::signal::unix::{SignalKind, signal};

use super::say;
use crate::args::{Offer, Up};

/// Short, because it costs nothing here.
const POLL: Duration = Duration::from_millis(500);

pub(crate) async fn run(args: Up) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let apis = Offer::together(&args.apis);
    if !args.no_worker {
        programs::check_python()?;
        note_what_the_worker_cannot_run(&apis);
    }

    let settings = Settings { apis, owner_scope: args.owner_scope, queue_limit: args.queue_limit };
    let stack = Stack::start(&args.dir, SocketAddr::new(args.listen, args.port), &settings).await?;
    let mut lab = Lab::default();
    if !args.no_agent {
        lab.start_agent(&stack, POLL);
    }
    if !args.no_worker {
        let program = programs::write(&stack.directory().join("programs"))?;
        lab.start_worker(&stack, vec!["python3".to_owned(), program.display().to_string()]);
    }
    let env = stack.directory().join("env");
    let lines = stack.environment().into_iter().map(|(name, value)| format!("export {name}={}\n", quote(&value)));
    write_for_owner(&env, &format!("{UNSET}{}", lines.collect::<String>()))?;

    let directory = args.dir.display();
    say(&format!("bcrlapi is up; its data stays in {directory}. Ctrl-C stops it; a job that is running then fails.\n"));
    for (name, value) in stack.environment().into_iter().filter(|(name, _)| !name.contains("KEY")) {
        say(&format!("  {name:<26} {value}"));
    }
    say(&format!("  {:<26} {directory}/principals.json", "other test callers' keys"));
    say(&format!("\nIn another shell:\n\n  . {directory}/env\n  {}", submit_example(&settings.apis)));
    if args.no_agent {
        say(&format!("\nNo agent runs, so no job reaches the lab. In one more shell:\n\n{}", agent_example(&args.dir)));
    }
    if args.no_worker {
        say(&format!(
            "\nNo worker runs, so jobs wait. In one more shell, one of these:\n\n{}",
            worker_example(&args.dir)
        ));
    }

    tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
    say("stopping");
    lab.stop().await;
    Ok(())
}

/// What would be used beside these keys, or in their place: a shell may have the keys of a role, or a profile.
const UNSET: &str = "unset AWS_SESSION_TOKEN AWS_PROFILE AWS_DEFAULT_PROFILE\n";

/// Writes a file that holds a secret.
fn write_for_owner(file: &Path, content: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(file)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(content.as_bytes())
}

fn note_what_the_worker_cannot_run(apis: &[ApiName]) {
    let served = programs::APIS;
    if apis.is_empty() {
        let served = served.join(" and ");
        say(&format!(
            "note: the built-in worker has programs for {served} only; bring your own worker with --no-worker"
        ));
    }
    for api in apis.iter().filter(|api| !served.contains(&api.as_str())) {
        say(&format!("note: the built-in worker has no program for {api}; bring your own worker with --no-worker"));
    }
}

fn submit_example(apis: &[ApiName]) -> String {
    let submit = "bcrlapi submit";
    match apis.first().map_or("soc", |api| api.as_str()) {
        "soc" => format!("{submit} soc examples/soc/request.json --wait"),
        api => format!("echo '{{}}' | {submit} {api} --wait"),
    }
}

fn agent_example(directory: &Path) -> String {
    format!("  . {}/env\n  bcrlapi-agent", directory.display())
}

/// The worker with a program, and the script for cron.
fn worker_example(directory: &Path) -> String {
    let directory = directory.display();
    let program = "examples/app-server/main.py     # or your own program";
    let worker = format!("  . {directory}/env && bcrlapi-worker -- python3 {program}");
    let script = format!("  python3 examples/app-server/cron.py {directory}/shared     # runs one job each time");
    format!("{worker}\n{script}")
}

/// The value as one word for any POSIX shell.
fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}
