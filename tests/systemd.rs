//! What systemd hears of the agent, at a socket as it gives it: that it is ready, that it comes further, and how it is.

use std::fs;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bcrlapi_domain::Status;
use bcrlapi_tests::{DYNAMODB_URL, Process, System, cuttable_proxy};
use rustix::process::{Signal, kill_process};
use serde_json::json;

/// The limit for what must come, much longer than it takes.
const LIMIT: Duration = Duration::from_mins(1);
/// How long it has to be silent to count as stuck: three beats.
const SILENCE: Duration = Duration::from_secs(3);

/// In systemd's place.
struct Listener {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Listener {
    fn bind(path: PathBuf) -> Self {
        Self { socket: UnixDatagram::bind(&path).unwrap(), path }
    }

    fn environment(&self) -> [(&str, &str); 1] {
        [("NOTIFY_SOCKET", self.path.to_str().unwrap())]
    }

    /// What is said within this time; `None` if it is nothing.
    fn next(&self, limit: Duration) -> Option<String> {
        let mut buffer = [0; 8192];
        self.socket.set_read_timeout(Some(limit)).unwrap();
        match self.socket.recv(&mut buffer) {
            Ok(length) => Some(String::from_utf8(buffer[..length].to_vec()).unwrap()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// What is said first with these words in it, and what was said before.
    fn wait_for(&self, words: &str) -> (String, Vec<String>) {
        let deadline = Instant::now() + LIMIT;
        let mut before = Vec::new();
        while let Some(said) =
            self.next(deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)))
        {
            if said.contains(words) {
                return (said, before);
            }
            before.push(said);
        }
        panic!("nobody says {words}, but {before:?}");
    }

    /// What was said already is heard, and then nothing more.
    fn assert_falls_silent(&self) {
        let deadline = Instant::now() + LIMIT;
        while self.next(SILENCE).is_some() {
            assert!(Instant::now() < deadline, "it goes on");
        }
    }

    /// Stops the process in the middle of whatever it does, and lets it go on.
    fn assert_beats_only_while_it_runs(&self, process: &Process) {
        self.wait_for("WATCHDOG=1");
        kill_process(process.pid(), Signal::STOP).unwrap();
        self.assert_falls_silent();
        kill_process(process.pid(), Signal::CONT).unwrap();
        self.wait_for("WATCHDOG=1");
    }
}

/// The parts of what is said, in their order.
fn assignments(said: &str) -> Vec<(&str, &str)> {
    said.lines().map(|line| line.split_once('=').unwrap_or_else(|| panic!("{said}"))).collect()
}

fn status(said: &str) -> &str {
    assignments(said).into_iter().find(|(name, _)| *name == "STATUS").unwrap_or_else(|| panic!("{said}")).1
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_is_ready_when_it_has_looked_and_then_tells_how_it_is() {
    let system = System::start().await;
    let systemd = Listener::bind(system.path("notify"));
    let agent = system.start_agent_with(&systemd.environment());

    let (ready, before) = systemd.wait_for("READY=1");
    assert!(before[0].starts_with("STATUS="), "{before:?}");
    let (serving, last_look) = status(&ready).split_once(" (last look: ").unwrap();
    assert_eq!(serving, format!("serving {}: 0 pending, 0 processing", system.stack().shared().display()));
    assert!(last_look.ends_with("+09:00)"), "as the lab's files have it: {last_look}");

    let job = system.submit("mock", &json!({"gate": "open"})).await;
    systemd.wait_for(": 1 pending, 0 processing");
    let _worker = system.start_worker();
    systemd.wait_for(": 0 pending, 1 processing");
    fs::write(system.path("open"), "").unwrap();
    systemd.wait_for(": 0 pending, 0 processing");
    assert!(system.reached(job.uuid, Status::Done).await.has_succeeded());

    systemd.assert_beats_only_while_it_runs(&agent);

    assert_eq!(agent.terminate().code(), Some(0));
    let (stopping, _) = systemd.wait_for("STOPPING=1");
    assert_eq!(status(&stopping), "stopping: finishing what is under way");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_the_cloud_is_ready_and_says_what_is_missing() {
    let system = System::start().await;
    let systemd = Listener::bind(system.path("notify"));
    let (proxy, cut) = cuttable_proxy(&system.environment(DYNAMODB_URL)).await;
    cut.cut();
    let mut environment = systemd.environment().to_vec();
    environment.push((DYNAMODB_URL, &proxy));
    let _agent = system.start_agent_with(&environment);

    let (ready, _) = systemd.wait_for("READY=1");
    let trouble = status(&ready);
    assert!(trouble.starts_with("cannot look, trying again (last look: never): "), "{trouble}");
    assert!(trouble.contains("AWS does not answer") && trouble.contains("open outbound HTTPS"), "{trouble}");
    systemd.wait_for("WATCHDOG=1");

    cut.mend();
    systemd.wait_for("STATUS=serving ");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_comes_before_its_keys_names_them_and_waits() {
    let system = System::start().await;
    let systemd = Listener::bind(system.path("notify"));
    let keys = system.path("aws-credentials");
    let mut agent = system.command("bcrlapi-agent");
    agent.args(["--poll", "100ms"]).envs(systemd.environment());
    agent
        .env("AWS_SHARED_CREDENTIALS_FILE", &keys)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("HOME", "/nonexistent");
    agent.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    let agent = Process::start(&mut agent, &system.path(""));

    let (ready, _) = systemd.wait_for("READY=1");
    let missing = format!("AWS_SHARED_CREDENTIALS_FILE names {}, which cannot be read: No such file", keys.display());
    assert!(status(&ready).contains(&missing), "{ready}");
    let log = agent.log();
    assert!(log.lines().all(|line| line.contains(" bcrlapi_agent::")), "one line a try, in its own words:\n{log}");

    let [id, secret] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].map(|name| system.environment(name));
    let profile = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
    fs::write(&keys, profile).unwrap();
    systemd.wait_for("STATUS=serving ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_is_not_there_is_no_obstacle() {
    let system = System::start().await;
    let _agent = system.start_agent_with(&[("NOTIFY_SOCKET", "/nowhere/notify")]);
    let job = system.submit("mock", &json!({})).await;
    system.entry(job.uuid).await;
}
