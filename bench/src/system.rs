//! A bcrlapi of a benchmark's own: the cloud's half in this process, and the commands that are measured, as processes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, ensure};
use bcrlapi::Client;
use bcrlapi_local::{FREE_PORTS, Settings, Stack};
use serde_json::Value;
use tempfile::TempDir;

use crate::python::root;

/// The variables of the environment that say where the two stores are.
pub(crate) const DYNAMODB_URL: &str = "AWS_ENDPOINT_URL_DYNAMODB";
pub(crate) const S3_URL: &str = "AWS_ENDPOINT_URL_S3";

/// API and stores, in a directory that goes with them.
pub(crate) struct System {
    stack: Stack,
    // Dropped last: the stack's files are in it.
    directory: TempDir,
}

impl System {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let stack = Stack::start(&directory.path().join("stack"), FREE_PORTS, &Settings::default()).await?;
        Ok(Self { stack, directory })
    }

    pub(crate) fn stack(&self) -> &Stack {
        &self.stack
    }

    /// A path in the benchmark's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Somebody's client.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        self.stack.client(&self.stack.principals()[0])
    }

    /// What the environment of programs that use the stack says of a name.
    pub(crate) fn environment(&self, name: &str) -> anyhow::Result<String> {
        let found = self.stack.environment().into_iter().find(|(other, _)| *other == name);
        Ok(found.with_context(|| format!("the environment has no {name}"))?.1)
    }

    /// One of our commands, in that environment.
    pub(crate) fn command(&self, name: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(binary(name)?);
        command.current_dir(self.directory.path()).envs(self.stack.environment());
        Ok(command)
    }
}

/// A process that ends with the benchmark.
#[derive(Debug)]
pub(crate) struct Running(Child);

impl Running {
    /// Starts it; what it says is not heard.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(command.spawn().with_context(|| format!("cannot start {command:?}"))?))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The path of a command that is measured, built as this one is.
fn binary(name: &str) -> anyhow::Result<PathBuf> {
    static BINARIES: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();
    if BINARIES.get().is_none() {
        let built = build()?;
        BINARIES.get_or_init(|| built);
    }
    let path = BINARIES.get().and_then(|binaries| binaries.get(name));
    path.cloned().with_context(|| format!("no command is called {name}"))
}

fn build() -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--message-format", "json-render-diagnostics"]);
    // Together with this one: so they share all that they are made of.
    for package in ["bench", "agent", "submit", "status", "result"] {
        cargo.args(["--package", &format!("bcrlapi-{package}")]);
    }
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo.current_dir(root()).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the commands do not build");
    let messages = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>().map_while(Result::ok);
    Ok(messages.filter_map(|message| executable(&message)).collect())
}

fn executable(message: &Value) -> Option<(String, PathBuf)> {
    Some((message["target"]["name"].as_str()?.to_owned(), message["executable"].as_str()?.into()))
}
