//! The scripts that the documents print, each from end to end: what they take they end, whatever
//! happens to them.
//!
//! `.ci/scripts` plays this under old and new Pythons, other shells and other locales:
//! `BCRLAPI_SCRIPTS_PYTHON`, `BCRLAPI_SCRIPTS_SHELL` and `BCRLAPI_SCRIPTS_LOCALE` name them.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use bcrlapi_api::JobResource;
use bcrlapi_domain::{JobId, Outcome, State, Status};
use bcrlapi_exchange::{Entry, layout};
use bcrlapi_local::until;
use bcrlapi_tests::{Process, System};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::documents::{SHARED_DIRECTORY, blocks};

const CRON_PY: &str = include_str!("../examples/app-server/cron.py");
const TURN_SH: &str = include_str!("../examples/app-server/turn.sh");
const PROGRAM: &str = include_str!("scripts/trouble.py");
const README: &str = include_str!("../README.md");
const README_JA: &str = include_str!("../README.ja.md");

/// Whose text survives no careless program.
const JAPANESE: &str = "入力が範囲外です";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Script {
    Python,
    Shell,
}

impl Script {
    fn text(self) -> &'static str {
        match self {
            Self::Python => CRON_PY,
            Self::Shell => TURN_SH,
        }
    }

    fn interpreter(self) -> PathBuf {
        match self {
            Self::Python => python(),
            Self::Shell => env::var_os("BCRLAPI_SCRIPTS_SHELL").unwrap_or_else(|| "/bin/sh".into()).into(),
        }
    }
}

/// Where Python really is: cron knows no other name for it.
fn python() -> PathBuf {
    let name = env::var_os("BCRLAPI_SCRIPTS_PYTHON").unwrap_or_else(|| "python3".into());
    let output = Command::new(name).args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().into()
}

/// A lab whose cron runs one of the scripts.
struct Lab {
    system: System,
    script: Script,
    agent: Option<Process>,
}

impl Lab {
    async fn start(script: Script) -> Self {
        Self::start_with(script, PROGRAM).await
    }

    async fn start_with(script: Script, program: &str) -> Self {
        let system = System::start().await;
        let agent = Some(system.start_agent());
        until("the queue", async || system.queue()).await.unwrap();
        fs::create_dir(system.path("app")).unwrap();
        fs::write(system.path("app/main.py"), program).unwrap();
        fs::write(system.path("app/turn"), script.text()).unwrap();
        Self { system, script, agent }
    }

    /// A turn, in an environment as poor as cron's.
    fn command(&self) -> Command {
        let interpreter = self.script.interpreter();
        let python = python();
        let mut command = Command::new(interpreter);
        command.arg(self.system.path("app/turn")).arg(self.system.shared("")).current_dir("/").env_clear();
        // Only the shell's script looks for python3: it may be a program of any language.
        let path = match self.script {
            Script::Python => "/nowhere".to_owned(),
            Script::Shell => format!("{}:/usr/bin:/bin", python.parent().unwrap().display()),
        };
        command.env("PATH", path);
        command.env("LC_ALL", env::var_os("BCRLAPI_SCRIPTS_LOCALE").unwrap_or_else(|| "C".into()));
        command.envs(env::var_os("LOCPATH").map(|locales| ("LOCPATH", locales)));
        command
    }

    fn turn(&self) -> Output {
        self.command().output().unwrap()
    }

    #[track_caller]
    fn good_turn(&self) {
        let output = self.turn();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    #[track_caller]
    fn refused_turn(&self) -> String {
        let output = self.turn();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && !said.is_empty(), "it leaves with a word: {said}");
        said
    }

    /// A turn that goes on beside the test.
    fn start_turn(&self) -> Process {
        Process::start(&mut self.command(), &self.system.path(""))
    }

    async fn submit(&self, input: Value) -> JobId {
        let id = self.system.submit("mock", &input).await.uuid;
        self.system.entry(id).await;
        id
    }

    async fn ended(&self, id: JobId) -> JobResource {
        self.system.reached(id, Status::Done).await
    }

    fn stop_agent(&mut self) {
        assert!(self.agent.take().unwrap().terminate().success());
    }

    fn status(&self) -> Vec<u8> {
        fs::read(self.system.shared(layout::STATUS)).unwrap()
    }

    fn write_status(&self, bytes: impl AsRef<[u8]>) {
        fs::write(self.system.shared(layout::STATUS), bytes).unwrap();
    }

    fn state(&self, id: JobId) -> Option<State> {
        self.system.queue().unwrap().entry(id).and_then(Entry::state)
    }

    /// The jobs whose programs were started, in that order.
    fn runs(&self) -> Vec<JobId> {
        let runs = fs::read_to_string(self.system.path("app/runs")).unwrap_or_default();
        runs.lines().map(|uuid| uuid.parse().unwrap()).collect()
    }

    async fn started(&self, id: JobId) {
        until("the program to start", async || self.runs().contains(&id).then_some(())).await.unwrap();
    }

    fn open(&self, gate: &str) {
        fs::write(self.system.path("app").join(gate), "").unwrap();
    }

    /// No file lies about that was to become another one.
    fn assert_tidy(&self) {
        let files = |folder: &str| {
            let entries = fs::read_dir(self.system.shared(folder)).unwrap().map(Result::unwrap);
            let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
            files.map(|entry| entry.file_name().into_string().unwrap()).collect::<Vec<_>>()
        };
        let responses: Vec<_> = files("response").into_iter().filter(|name| name.starts_with('.')).collect();
        let queues: Vec<_> = files("request").into_iter().filter(|name| name == ".status.json.turn").collect();
        assert_eq!([responses, queues].concat(), Vec::<String>::new());
    }
}

/// Each of these is a test of each script.
macro_rules! for_each_script {
    ($($name:ident),* $(,)?) => {
        mod python {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::Script::Python).await;
            })*
        }

        mod shell {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::Script::Shell).await;
            })*
        }
    };
}

for_each_script!(
    serves_the_queue_from_the_top,
    ends_every_job_with_its_reason,
    ends_a_job_whose_request_is_missing,
    tells_progress_in_japanese,
    does_not_overlap,
    ends_its_job_when_it_is_stopped,
    ends_its_job_whenever_it_is_stopped,
    ends_the_job_of_a_turn_that_was_killed,
    leaves_half_a_queue_as_it_is,
    gives_its_files_the_mode_of_their_folder,
    takes_nothing_without_a_program,
);

async fn serves_the_queue_from_the_top(script: Script) {
    let lab = Lab::start(script).await;
    let before = lab.status();
    lab.good_turn();
    assert_eq!(lab.status(), before, "where nothing waits, nothing is done");

    let mut jobs = Vec::new();
    for number in 0..3 {
        jobs.push(lab.submit(json!({"does": "answer", "says": format!("{JAPANESE} {number}")})).await);
    }
    for _ in &jobs {
        lab.good_turn();
    }

    assert_eq!(lab.runs(), jobs, "the first from the top first");
    for (number, id) in jobs.into_iter().enumerate() {
        assert_eq!(lab.ended(id).await.outcome.as_deref(), Some("succeeded"));
        let result: Value = serde_json::from_slice(&lab.system.result(id).await).unwrap();
        assert_eq!(result, json!({"uuid": id, "said": format!("{JAPANESE} {number}")}));
    }
    lab.assert_tidy();
}

async fn ends_every_job_with_its_reason(script: Script) {
    let lab = Lab::start(script).await;
    let quoted = "a \"quoted\" \\1 & $reason\nof two lines";
    let cases = [
        (json!({"does": "raise", "says": JAPANESE}), vec!["exit code 1", "RuntimeError", JAPANESE]),
        (json!({"does": "raise", "says": quoted}), vec!["exit code 1", "quoted", "1 & $reason", "of two lines"]),
        (json!({"does": "exit"}), vec!["exit code 3"]),
        (json!({"does": "nothing", "prints": JAPANESE}), vec!["wrote no response", JAPANESE]),
        (json!({"does": "nan", "prints": JAPANESE}), vec!["not JSON", "NaN", JAPANESE]),
        (json!({"does": "half", "prints": "so far"}), vec!["not JSON", "so far"]),
        (json!({"does": "csv", "prints": "so far"}), vec!["not JSON", "so far"]),
    ];
    for (input, reasons) in cases {
        let id = lab.submit(input.clone()).await;
        lab.good_turn();

        let job = lab.ended(id).await;
        assert_eq!(job.outcome.as_deref(), Some("failed"), "{input}");
        let error = job.error.unwrap();
        assert!(reasons.iter().all(|reason| error.contains(reason)), "{input}: {error}");
        assert!(!lab.system.shared(&layout::response(id)).exists());
    }
    lab.assert_tidy();
}

async fn ends_a_job_whose_request_is_missing(script: Script) {
    let mut lab = Lab::start(script).await;
    let id = lab.submit(json!({"does": "answer"})).await;
    // It would bring the file again.
    lab.stop_agent();
    fs::remove_file(lab.system.shared(&layout::request(id))).unwrap();
    lab.good_turn();
    let queue = lab.system.queue().unwrap();
    let entry = queue.entry(id).unwrap();
    assert_eq!(entry.state(), Some(State::Done(Outcome::Failed)));
    assert!(entry.error().unwrap().contains("no request file"));
    assert_eq!(lab.runs(), []);
}

async fn tells_progress_in_japanese(script: Script) {
    let lab = Lab::start(script).await;
    let id = lab.submit(json!({"does": "answer", "gate": "open"})).await;
    let turn = lab.start_turn();
    let client = lab.system.client();
    let said = async || client.job(id).await.ok().filter(|job| job.progress.is_some());
    let said = until("its progress", said).await.unwrap();
    assert_eq!((said.progress, said.message.as_deref()), (Some(40), Some("試料を読んでいます")));
    lab.open("open");
    assert!(turn.wait().success());
    assert_eq!(lab.ended(id).await.outcome.as_deref(), Some("succeeded"));
}

async fn does_not_overlap(script: Script) {
    let lab = Lab::start(script).await;
    let long = lab.submit(json!({"does": "answer", "gate": "open"})).await;
    let next = lab.submit(json!({"does": "answer"})).await;
    let turn = lab.start_turn();
    lab.started(long).await;

    lab.good_turn();
    assert_eq!(lab.state(next), Some(State::Pending), "the minute's second turn takes nothing");

    lab.open("open");
    assert!(turn.wait().success());
    lab.good_turn();
    for id in [long, next] {
        assert_eq!(lab.ended(id).await.outcome.as_deref(), Some("succeeded"));
    }
    assert_eq!(lab.runs(), [long, next]);
}

async fn ends_its_job_when_it_is_stopped(script: Script) {
    let lab = Lab::start(script).await;
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let id = lab.submit(json!({"does": "answer", "gate": "never"})).await;
        let turn = lab.start_turn();
        lab.started(id).await;
        kill_process(turn.pid(), signal).unwrap();
        turn.wait();
        let job = lab.ended(id).await;
        assert_eq!(job.outcome.as_deref(), Some("failed"));
        assert!(job.error.as_deref().unwrap().contains("the script was stopped"), "{signal:?}: {:?}", job.error);
    }
    lab.assert_tidy();
    let is_left = async || (!is_running(&lab.system.path("app/main.py"))).then_some(());
    until("the programs to be ended with their scripts", is_left).await.unwrap();
}

/// Whether any process has this path in its command line.
fn is_running(program: &Path) -> bool {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let command_lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let wanted = program.display().to_string();
    command_lines.into_iter().any(|line| String::from_utf8_lossy(&line).contains(&wanted))
}

async fn ends_its_job_whenever_it_is_stopped(script: Script) {
    const STOPS: u32 = 12;
    // In all, longer than a turn takes.
    let step = match script {
        Script::Python => Duration::from_millis(25),
        Script::Shell => Duration::from_millis(60),
    };
    let lab = Lab::start(script).await;
    let mut jobs = Vec::new();
    for _ in 0..STOPS {
        jobs.push(lab.submit(json!({"does": "answer"})).await);
    }
    let first_in = |state| jobs.iter().find(|id| lab.state(**id) == Some(state));

    for stop in 0..STOPS {
        let turn = lab.start_turn();
        // Not a wait for anything: each stop comes at another step of a turn.
        tokio::time::sleep(step * stop).await;
        turn.terminate();
        assert_eq!(first_in(State::Processing), None, "stop {stop} leaves no job behind");
    }
    for _ in 0..STOPS {
        if first_in(State::Pending).is_some() {
            lab.good_turn();
        }
    }

    for id in &jobs {
        let job = lab.ended(*id).await;
        let was_stopped = job.error.as_deref().is_some_and(|error| error.contains("the script was stopped"));
        assert!(job.has_succeeded() || was_stopped, "{:?}", job.error);
    }
    let mut runs = lab.runs();
    let started = runs.len();
    runs.sort_unstable();
    runs.dedup();
    assert_eq!(runs.len(), started, "no program runs twice");
    lab.assert_tidy();
}

async fn ends_the_job_of_a_turn_that_was_killed(script: Script) {
    let lab = Lab::start(script).await;
    let killed = lab.submit(json!({"does": "answer", "gate": "open"})).await;
    let next = lab.submit(json!({"does": "answer"})).await;
    let turn = lab.start_turn();
    lab.started(killed).await;
    turn.kill();
    assert_eq!(lab.state(killed), Some(State::Processing));

    lab.good_turn();

    let job = lab.ended(killed).await;
    assert_eq!(job.outcome.as_deref(), Some("failed"));
    assert!(job.error.as_deref().unwrap().contains("the script was killed"), "{:?}", job.error);
    assert_eq!(lab.ended(next).await.outcome.as_deref(), Some("succeeded"));
    // The program that has lost its script ends too.
    lab.open("open");
}

async fn leaves_half_a_queue_as_it_is(script: Script) {
    let mut lab = Lab::start(script).await;
    lab.submit(json!({"does": "answer"})).await;
    lab.stop_agent();
    let whole = lab.status();
    let half = &whole[..whole.len() / 2];
    lab.write_status(half);

    let started = Instant::now();
    lab.refused_turn();

    assert!(started.elapsed() > Duration::from_secs(5), "somebody may have been writing it: it looks again");
    assert_eq!(lab.status(), half);
    assert_eq!(lab.runs(), []);
}

async fn gives_its_files_the_mode_of_their_folder(script: Script) {
    let mut lab = Lab::start(script).await;
    let id = lab.submit(json!({"does": "answer"})).await;
    lab.stop_agent();
    let mode = |path: &str| fs::metadata(lab.system.shared(path)).unwrap().permissions().mode() & 0o7777;
    for folder in [layout::REQUEST_DIR, layout::RESPONSE_DIR] {
        fs::set_permissions(lab.system.shared(folder), fs::Permissions::from_mode(0o2770)).unwrap();
    }
    let turn = lab.command();
    let mut under_umask = Command::new("/bin/sh");
    under_umask.args(["-c", "umask 077 && exec \"$@\"", "sh"]).arg(turn.get_program()).args(turn.get_args());
    under_umask.env_clear().envs(turn.get_envs().filter_map(|(name, value)| Some((name, value?))));
    assert!(under_umask.status().unwrap().success());

    for file in [layout::STATUS, &layout::response(id)] {
        assert_eq!(mode(file), 0o660, "{file}");
    }
}

async fn takes_nothing_without_a_program(script: Script) {
    let lab = Lab::start(script).await;
    let id = lab.submit(json!({"does": "answer"})).await;
    fs::remove_file(lab.system.path("app/main.py")).unwrap();
    assert!(lab.refused_turn().contains("main.py"));
    assert_eq!(lab.state(id), Some(State::Pending));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_script_reads_what_others_write_and_keeps_it() {
    let mut lab = Lab::start(Script::Python).await;
    let id = lab.submit(json!({"does": "answer"})).await;
    lab.stop_agent();
    let job = lab.system.queue().unwrap().entry(id).unwrap().line().to_owned();
    // An error in cp932, entries that are no job's, fields of somebody's own, a byte order mark,
    // and CRLF.
    let theirs = b"{\"uuid\": \"x\", \"status\": \"done\", \"error\": \"\x93\xfc\x97\xcd\"}".as_slice();
    let others = b"{\"note\": {\"kept\": 1},\r\n \"jobs\": [7, {\"status\": \"pending\"},\r\n".as_slice();
    lab.write_status([b"\xef\xbb\xbf", others, theirs, b",\r\n", job.as_bytes(), b"]}\r\n"].concat());

    lab.good_turn();

    assert_eq!(lab.state(id).map(State::is_done), Some(true));
    let status = lab.status();
    assert!(status.is_ascii(), "whatever locale the next script has, it can read it");
    let status: Value = serde_json::from_slice(&status).unwrap();
    assert_eq!(status["note"], json!({"kept": 1}));
    assert_eq!([&status["jobs"][0], &status["jobs"][1]], [&json!(7), &json!({"status": "pending"})]);
    assert_eq!(status["jobs"][2]["status"], "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shell_script_leaves_another_layout_as_it_is() {
    let mut lab = Lab::start(Script::Shell).await;
    lab.submit(json!({"does": "answer"})).await;
    lab.stop_agent();
    let queue: Value = serde_json::from_slice(&lab.status()).unwrap();
    for other in [serde_json::to_vec_pretty(&queue).unwrap(), serde_json::to_vec(&queue).unwrap()] {
        lab.write_status(&other);
        assert!(lab.refused_turn().contains("one job a line"));
        assert_eq!(lab.status(), other);
    }
    assert_eq!(lab.runs(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scripts_may_take_turns_with_each_other() {
    let lab = Lab::start(Script::Python).await;
    let shell = Lab { script: Script::Shell, ..lab };
    fs::write(shell.system.path("app/turn"), TURN_SH).unwrap();
    let first = shell.submit(json!({"does": "answer"})).await;
    let second = shell.submit(json!({"does": "raise", "says": JAPANESE})).await;
    let third = shell.submit(json!({"does": "answer"})).await;
    shell.good_turn();
    let python = Lab { script: Script::Python, ..shell };
    fs::write(python.system.path("app/turn"), CRON_PY).unwrap();
    python.good_turn();
    let shell = Lab { script: Script::Shell, ..python };
    fs::write(shell.system.path("app/turn"), TURN_SH).unwrap();
    shell.good_turn();
    for (id, outcome) in [(first, "succeeded"), (second, "failed"), (third, "succeeded")] {
        assert_eq!(shell.ended(id).await.outcome.as_deref(), Some(outcome));
    }
}

/// The programs that README.md shows, as they stand there.
async fn serves(program: &str, input: Value, result: Value) {
    let lab = Lab::start_with(Script::Python, program).await;
    let id = lab.submit(input).await;
    lab.good_turn();
    let job = lab.ended(id).await;
    assert!(job.has_succeeded(), "{:?}", job.error);
    assert_eq!(serde_json::from_slice::<Value>(&lab.system.result(id).await).unwrap(), result);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_programs_of_the_readme_take_any_text() {
    let [double, main] = blocks(README, "python")[..] else { panic!("README.md has two programs") };
    serves(double, json!(JAPANESE), json!([JAPANESE, JAPANESE].concat())).await;
    serves(main, json!({"試料": JAPANESE}), json!({"soc_percent": 64.9})).await;
}

#[test]
fn what_the_documents_print_is_what_is_in_the_examples() {
    assert_eq!(blocks(SHARED_DIRECTORY, "python"), [CRON_PY.trim_end()]);
    assert_eq!(blocks(SHARED_DIRECTORY, "sh"), [TURN_SH.trim_end()]);
    assert_eq!(blocks(README, "python"), blocks(README_JA, "python"));
}
