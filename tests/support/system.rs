use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bcrlapi::{Client, Signer};
use bcrlapi_api::{JobResource, routes};
use bcrlapi_cloud::{JobStore, LocalEndpoints};
use bcrlapi_domain::{JobId, Payload, Status};
use bcrlapi_exchange::{Entry, Queue, layout};
use bcrlapi_local::{FREE_PORTS, Principal, REGION, Settings, Stack, programs, until};
use chrono::Utc;
use http::Method;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::request::Request;
use crate::{Faults, Process, binary};

/// A program for tests: notes the job's uuid in `runs` beside it, waits for the file that the request names as its
/// `gate`, if it names one, and then does what `mock` does.
const RECORDING_PROGRAM: &str = r#"
import json, os, pathlib, runpy, sys, time
here = pathlib.Path(__file__).resolve().parent
request = json.load(open(sys.argv[1], encoding="utf-8"))
runs = os.open(here / "runs", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(runs, f"{request['uuid']}\n".encode())
while "gate" in request["input"] and not (here / request["input"]["gate"]).exists():
    time.sleep(0.01)
runpy.run_path(str(here / "programs" / "app-server" / "main.py"), run_name="__main__")
"#;

/// What a row says of a body.
pub fn payload(body: &str) -> Payload {
    Payload { size_bytes: body.len() as u64, sha256: BASE64_STANDARD.encode(Sha256::digest(body)) }
}

/// The variables of the environment that say where the two stores are.
pub const DYNAMODB_URL: &str = "AWS_ENDPOINT_URL_DYNAMODB";
/// See [`DYNAMODB_URL`].
pub const S3_URL: &str = "AWS_ENDPOINT_URL_S3";

/// A bcrlapi of the test's own, in a directory that goes with it: the API and its stores in this process; agents and
/// workers as real processes, where the test starts them.
#[derive(Debug)]
pub struct System {
    stack: Stack,
    // Dropped last: the stack's files are in it.
    directory: TempDir,
}

impl System {
    /// Starts one that offers the apis `soc` and `mock`.
    pub async fn start() -> Self {
        Self::start_with(Settings::default()).await
    }

    /// Starts one that offers the apis `soc` and `mock`, with other settings.
    pub async fn start_with(settings: Settings) -> Self {
        Self::start_at(FREE_PORTS, settings).await
    }

    /// Starts one that listens elsewhere than on loopback.
    pub async fn start_at(address: SocketAddr, settings: Settings) -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let settings =
            Settings { apis: programs::APIS.map(|api| api.parse().expect("a name of ours")).into(), ..settings };
        let stack = Stack::start(&directory.path().join("stack"), address, &settings).await.expect("the stack starts");
        programs::write(&directory.path().join("programs")).expect("the programs can be written");
        fs::write(directory.path().join("record.py"), RECORDING_PROGRAM).expect("the program can be written");
        Self { stack, directory }
    }

    /// The stack.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// A path in the test's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A path in the shared directory.
    pub fn shared(&self, name: &str) -> PathBuf {
        self.stack.shared().join(name)
    }

    /// Everybody with keys.
    pub fn alice(&self) -> &Principal {
        &self.stack.principals()[0]
    }

    /// Somebody else with keys.
    pub fn bob(&self) -> &Principal {
        &self.stack.principals()[1]
    }

    /// Somebody with keys, by name.
    pub fn principal(&self, name: &str) -> &Principal {
        let found = self.stack.principals().iter().find(|principal| principal.name == name);
        found.expect("there is somebody of this name")
    }

    /// Alice's client.
    pub fn client(&self) -> Client {
        self.stack.client(self.alice()).expect("a client can be made")
    }

    /// A request signed by Alice.
    pub fn request(&self, method: Method, path: &str, body: impl Into<Vec<u8>>) -> Request {
        self.request_of(self.alice(), method, path, body)
    }

    /// A request signed by somebody.
    pub fn request_of(&self, who: &Principal, method: Method, path: &str, body: impl Into<Vec<u8>>) -> Request {
        Request::new(method, &self.url(path), body, Some(Signer::new(who.credentials(), REGION)))
    }

    /// A path of the API as a URL.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.stack.api_url())
    }

    /// Submits a job of Alice's.
    pub async fn submit(&self, api: &str, input: &Value) -> JobResource {
        let api = api.parse().expect("a well-formed api name");
        self.client().submit(&api, input.to_string().into_bytes()).await.expect("the job is accepted")
    }

    /// Ends a job as the lab would, with this response.
    pub async fn finish(&self, id: JobId, response: &str) {
        let mut file = tempfile::tempfile().expect("a file can be made");
        file.write_all(response.as_bytes()).expect("it can be written");
        let payload = payload(response);
        let store = self.stack.store();
        store.put_response(id, &file, &payload, &[]).await.expect("it is uploaded");
        store.succeed(id, &payload, None, Utc::now()).await.expect("it is recorded").expect("there is such a job");
    }

    /// Waits until Alice's job has got this far.
    pub async fn reached(&self, id: JobId, status: Status) -> JobResource {
        let client = self.client();
        let look = async || client.job(id).await.ok().filter(|job| job.status >= status);
        until(&format!("job {id} to be {}", status.as_str()), look).await.expect("the job gets there")
    }

    /// The job's result as the API gives it, which must be what stands in the response file.
    pub async fn result(&self, id: JobId) -> Vec<u8> {
        let result = self.client().result(id).await.expect("there is a result");
        let file = fs::read(self.shared(&layout::response(id))).expect("there is a response file");
        assert_eq!(result, file, "the result is the response file, byte for byte");
        result
    }

    /// The names of the request bodies in the bucket.
    pub fn request_objects(&self) -> BTreeSet<String> {
        let files = fs::read_dir(self.stack.directory().join("s3/bcrlapi/request")).into_iter().flatten();
        files.map(|file| file.expect("it can be read").file_name().to_string_lossy().into_owned()).collect()
    }

    /// The queue as it is now.
    pub fn queue(&self) -> Option<Queue> {
        Queue::parse(fs::read(self.shared(layout::STATUS)).ok()?).ok()
    }

    /// Waits until the job is in the queue.
    pub async fn entry(&self, id: JobId) -> Entry {
        let look = async || self.queue()?.entry(id).cloned();
        until(&format!("the entry of {id}"), look).await.expect("it comes")
    }

    /// What the environment that `bcrlapi-local up` would write says of a name.
    pub fn environment(&self, name: &str) -> String {
        let environment = self.stack.environment().into_iter().find(|(other, _)| *other == name);
        environment.expect("there is such a name").1
    }

    /// One of the workspace's commands, in the environment that `bcrlapi-local up` would write.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(binary(name));
        command.current_dir(self.directory.path()).envs(self.stack.environment());
        command
    }

    /// Starts an agent.
    pub fn start_agent(&self) -> Process {
        self.start_agent_with(&[])
    }

    /// The stack's store, behind a proxy that decides over each request to DynamoDB.
    pub async fn store_behind(&self, dynamodb: &Faults) -> JobStore {
        let endpoints = LocalEndpoints {
            dynamodb_url: dynamodb.url().to_owned(),
            s3_url: self.environment(S3_URL),
            region: self.environment("AWS_REGION"),
            access_key_id: self.alice().access_key_id.clone(),
            secret_access_key: self.alice().secret_access_key.clone(),
        };
        let store = self.stack.store();
        JobStore::at_endpoints(&endpoints, store.table(), store.bucket()).await
    }

    /// Starts an agent with some of its environment changed.
    pub fn start_agent_with(&self, environment: &[(&str, &str)]) -> Process {
        let mut agent = self.command("bcrlapi-agent");
        Process::start(agent.args(["--poll", "100ms"]).envs(environment.iter().copied()), self.directory.path())
    }

    /// Starts an agent from a Python script that gets the agent's command line, changes what the agent may do, and ends
    /// in its `exec`.
    pub fn start_agent_from(&self, python: &str) -> Process {
        let mut agent = Command::new("python3");
        agent.args(["-c", python]).arg(binary("bcrlapi-agent")).args(["--poll", "100ms"]);
        agent.current_dir(self.directory.path()).envs(self.stack.environment());
        Process::start(&mut agent, self.directory.path())
    }

    /// Starts a worker that runs the recording program.
    pub fn start_worker(&self) -> Process {
        self.start_worker_with(&[])
    }

    /// Starts a worker that runs the recording program, with more arguments.
    pub fn start_worker_with(&self, arguments: &[&str]) -> Process {
        let mut worker = self.command("bcrlapi-worker");
        worker.args(arguments).args([OsStr::new("--"), OsStr::new("python3"), self.path("record.py").as_os_str()]);
        Process::start(&mut worker, self.directory.path())
    }

    /// The jobs that the recording program has run, in the order of their starts.
    pub fn runs(&self) -> Vec<JobId> {
        let runs = fs::read_to_string(self.path("runs")).unwrap_or_default();
        runs.lines().map(|uuid| uuid.parse().expect("the program notes uuids")).collect()
    }

    /// The path to submit to an api.
    pub fn submit_path(api: &str) -> String {
        routes::submit(&api.parse().expect("a well-formed api name"))
    }
}
