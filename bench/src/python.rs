//! The other sides that are written in Python, and the tools that `bench/install` brings.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, ensure};

/// The project's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the benchmarks are in the project")
}

/// A tool that `bench/install` has installed.
pub(crate) fn tool(name: &str) -> anyhow::Result<PathBuf> {
    let path = root().join("target/tools/bench/bin").join(name);
    ensure!(path.exists(), "{} is missing; run bench/install", path.display());
    Ok(path)
}

/// A script of ours in Python.
pub(crate) fn script(name: &str) -> PathBuf {
    root().join("bench/python").join(name)
}

/// A script that does one thing for each line that it gets, and answers with a line.
pub(crate) struct Servant {
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Servant {
    pub(crate) fn start(name: &str, arguments: &[&Path], environment: &[(&str, String)]) -> anyhow::Result<Self> {
        let mut command = Command::new(tool("python")?);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.arg(script(name)).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let commands = process.stdin.take().context("its input is a pipe")?;
        let answers = BufReader::new(process.stdout.take().context("its output is a pipe")?);
        Ok(Self { process, commands, answers })
    }

    /// Has one thing done, and waits for its end.
    pub(crate) fn order(&mut self, command: &str) -> anyhow::Result<String> {
        writeln!(self.commands, "{command}")?;
        self.commands.flush()?;
        let mut answer = String::new();
        ensure!(self.answers.read_line(&mut answer)? > 0, "the script has ended at {command:?}");
        Ok(answer.trim().to_owned())
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Servant {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
