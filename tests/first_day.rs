//! The first day of a newcomer: the commands under "Try it" in README.md, from top to bottom, as they stand there.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use bcrlapi_exchange::layout;
use bcrlapi_local::until;
use bcrlapi_tests::{Process, announce, binary};
use tempfile::TempDir;

use crate::documents::blocks;

const README: &str = include_str!("../README.md");
const README_JA: &str = include_str!("../README.ja.md");

/// The chapter with this heading.
fn chapter(document: &'static str, heading: &str) -> &'static str {
    document.split("\n## ").find(|chapter| chapter.starts_with(heading)).unwrap()
}

/// The commands to type, one after the other.
fn commands() -> Vec<String> {
    let shown = blocks(chapter(README, "Try it\n"), "sh").join("\n").replace("\\\n", " ");
    shown.lines().map(str::to_owned).collect()
}

/// A clone of the project, and what runs in its shells.
struct Newcomer {
    clone: TempDir,
    stack: Option<Process>,
    worker: Option<Process>,
    /// A command that waits for somebody to serve its job.
    waiting: Option<tokio::task::JoinHandle<String>>,
    /// Whether the stack runs without a worker.
    must_serve: bool,
}

impl Newcomer {
    fn new() -> Self {
        let clone = tempfile::tempdir().unwrap();
        symlink(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples"), clone.path().join("examples")).unwrap();
        let double = blocks(README, "python")[0];
        fs::write(clone.path().join("double.py"), double).unwrap();
        Self { clone, stack: None, worker: None, waiting: None, must_serve: false }
    }

    /// A shell of the clone in which this is typed.
    fn shell(&self, typed: &str) -> Command {
        let binaries = binary("bcrlapi-local").parent().unwrap().to_owned();
        let setting_up = "if [ -e .bcrlapi/env ]; then . .bcrlapi/env; fi";
        let mut bash = Command::new("bash");
        bash.args(["-euo", "pipefail", "-c", &format!("{setting_up}\n{typed}")]);
        bash.env("PATH", format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap()));
        bash.current_dir(self.clone.path()).stdin(Stdio::null());
        bash
    }

    /// Restarts the stack, on free ports: other tests run beside this one.
    async fn restart(&mut self, typed: &str) {
        for process in [self.worker.take(), self.stack.take()].into_iter().flatten() {
            process.terminate();
        }
        let env = self.clone.path().join(".bcrlapi/env");
        let _ = fs::remove_file(&env);
        let on_free_ports = typed.replace("bcrlapi-local up", "exec bcrlapi-local up --port 0");
        self.stack = Some(Process::start(&mut self.shell(&on_free_ports), self.clone.path()));
        self.must_serve = typed.contains("--no-worker");
        until("the stack", async || env.exists().then_some(())).await.unwrap();
    }

    /// Types a command, and gives what it prints; or nothing, if it waits for what is typed in another shell.
    async fn types(&mut self, typed: &str) -> Option<String> {
        if typed.starts_with("bcrlapi-local up") {
            self.restart(typed).await;
            return None;
        }

        if typed.starts_with("bcrlapi-worker") {
            self.worker = Some(Process::start(&mut self.shell(&format!("exec {typed}")), self.clone.path()));
            return None;
        }

        let mut shell = self.shell(typed);
        let command = typed.to_owned();
        let ran = tokio::task::spawn_blocking(move || {
            let ran = shell.output().unwrap();
            assert!(ran.status.success(), "{command}: {ran:?}");
            String::from_utf8(ran.stdout).unwrap()
        });
        if self.must_serve && self.worker.is_none() && typed.ends_with("--wait") {
            self.waiting = Some(ran);
            let status = self.clone.path().join(".bcrlapi/shared").join(layout::STATUS);
            let is_pending = || fs::read_to_string(&status).is_ok_and(|queue| queue.contains("\"pending\""));
            until("its job", async || is_pending().then_some(())).await.unwrap();
            return None;
        }

        let printed = ran.await.unwrap();
        match self.waiting.take() {
            Some(waiting) => Some(waiting.await.unwrap()),
            None => Some(printed),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_readme_work_from_top_to_bottom() {
    announce("the commands of README.md, from top to bottom, about 20 s");
    let mut newcomer = Newcomer::new();
    let mut printed = Vec::new();
    // Building and finding the commands is the test's own affair; .ci/clients runs the line for curl.
    let of_others = |line: &String| ["cargo ", "export ", "curl "].iter().any(|start| line.starts_with(start));
    for command in commands().into_iter().filter(|line| !of_others(line)) {
        let sooner = command.replace("--every 1s", "--every 10ms");
        printed.extend(newcomer.types(&sooner).await);
    }

    let words = ["State of charge", "\"soc_percent\"", "0 wrong", "\"soc_percent\"", "42"];
    assert_eq!(printed.len(), words.len(), "{printed:?}");
    for (printed, word) in printed.iter().zip(words) {
        assert!(printed.contains(word), "{word} in {printed}");
    }
}

#[test]
fn the_readme_has_the_same_commands_in_both_languages() {
    let without_comments = |document: &str| {
        let lines = blocks(document, "sh").join("\n");
        lines.lines().map(|line| line.split("  # ").next().unwrap().trim_end().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(without_comments(README), without_comments(README_JA));
    assert_eq!(blocks(README, "http"), blocks(README_JA, "http"));
}
