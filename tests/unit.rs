//! What a lab installs beside agent and worker: their units, the drop-ins, and `as_agent`, which runs the agent's other commands
//! as the unit runs the agent, and as `as_worker` those of the worker.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::documents::blocks;

const README: &str = include_str!("../infra/lab/README.md");

fn installed(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/lab")).join(name)
}

/// Puts a command of this name into the folder.
fn command(folder: &Path, name: &str, script: &str) {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What `as_agent check` would have root do, where the unit is installed with this drop-in; one argument a line.
fn as_agent_check(drop_in: &str) -> Vec<String> {
    check_as("agent", drop_in)
}

/// The same of the agent or the worker.
fn check_as(name: &str, drop_in: &str) -> Vec<String> {
    let commands = tempfile::tempdir().unwrap();
    let (unit, drop_in) = (installed(&format!("bcrlapi-{name}.service")), installed("drop-ins").join(drop_in));
    command(commands.path(), "systemctl", &format!("cat '{}' '{}'", unit.display(), drop_in.display()));
    command(commands.path(), "sudo", "printf '%s\\n' \"$@\"");
    let path = format!("{}:{}", commands.path().display(), std::env::var("PATH").unwrap());

    let ran = Command::new(installed(&format!("as_{name}"))).arg("check").env("PATH", path).output().unwrap();

    assert!(ran.status.success(), "{ran:?}");
    String::from_utf8(ran.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The values that a property is given, in this order.
fn values<'a>(arguments: &'a [String], property: &str) -> Vec<&'a str> {
    let given = arguments.iter().filter_map(|argument| argument.split_once('='));
    given.filter(|(name, _)| *name == property).map(|(_, value)| value).collect()
}

#[test]
fn as_agent_has_the_sandbox_of_the_unit_and_of_its_drop_ins() {
    let arguments = as_agent_check("home-directory.conf");
    assert_eq!(arguments[0], "systemd-run");
    assert_eq!(arguments[arguments.len() - 2..], ["/usr/local/bin/bcrlapi-agent", "check"]);

    let unit = fs::read_to_string(installed("bcrlapi-agent.service")).unwrap();
    let service = unit.split_once("\n[Service]\n").unwrap().1.split("\n[Install]").next().unwrap();
    let of_a_service_that_stays = [
        "ExecStart",
        "NotifyAccess",
        "Restart",
        "RestartSec",
        "TimeoutStartSec",
        "TimeoutStopSec",
        "Type",
        "WatchdogSec",
    ];
    let settings = service.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    let mut properties = 0;
    for (name, value) in settings {
        let is_given = values(&arguments, name).contains(&value);
        assert_eq!(is_given, !of_a_service_that_stays.contains(&name), "{name}={value}");
        properties += usize::from(is_given);
    }
    assert!(properties > 30, "the unit's sandbox is seen: {properties}");

    assert_eq!(values(&arguments, "ProtectHome"), ["yes", "tmpfs"], "the last one counts");
    assert_eq!(values(&arguments, "ReadWritePaths"), ["/shared/bcrlapi", ""], "an empty one takes all back");
    assert_eq!(values(&arguments, "BindPaths"), ["/home/lab/jobs"]);
    assert_eq!(values(&arguments, "RequiresMountsFor"), [""; 0], "only what stands under [Service]");
}

#[test]
fn as_agent_reads_keys_where_its_own_copy_lies() {
    let arguments = as_agent_check("keys.conf");
    assert_eq!(values(&arguments, "LoadCredential"), ["aws:/etc/bcrlapi/aws-credentials"]);
    let unit = arguments.iter().position(|argument| argument == "--unit").map(|flag| &arguments[flag + 1]).unwrap();
    let keys = format!("AWS_SHARED_CREDENTIALS_FILE=/run/credentials/{unit}.service/aws");
    assert_eq!(values(&arguments, "Environment"), ["HOME=/nonexistent", &keys]);
}

#[test]
fn the_drop_in_for_a_home_is_the_one_that_the_document_shows() {
    let file = fs::read_to_string(installed("drop-ins/home-directory.conf")).unwrap();
    let settings = file.lines().skip_while(|line| line.starts_with('#')).collect::<Vec<_>>().join("\n");
    assert_eq!(blocks(README, "ini"), [settings]);
}

#[test]
fn as_worker_has_the_workers_sandbox_and_program() {
    let arguments = check_as("worker", "home-directory.conf");
    assert_eq!(arguments[arguments.len() - 4..], ["/usr/local/bin/bcrlapi-worker", "check", "--", "$BCRLAPI_COMMAND"]);

    assert_eq!(values(&arguments, "EnvironmentFile"), ["/etc/bcrlapi/worker.env"]);
    assert_eq!(values(&arguments, "PrivateNetwork"), ["yes"]);
    assert_eq!(values(&arguments, "BindPaths"), ["/home/lab/jobs"]);
    assert_eq!(values(&arguments, "ExecStart"), [""; 0]);
}

#[test]
fn a_stop_of_the_worker_is_not_one_of_its_programs() {
    let unit = fs::read_to_string(installed("bcrlapi-worker.service")).unwrap();
    let settings: Vec<&str> = unit.lines().collect();
    assert!(settings.contains(&"KillMode=mixed"), "SIGTERM is for the worker, which lets them finish");
    assert!(!settings.iter().any(|line| line.starts_with("WatchdogSec=")), "nor does a slow file system end them");
}
