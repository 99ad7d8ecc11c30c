//! Functions as Lambda runs them: a process for each, which asks a stand-in of the Runtime API for its invocations.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use crate::python::{root, tool};
use crate::system::{Running, System};

/// How long a function may take for anything.
const LIMIT: Duration = Duration::from_secs(30);
/// Long after any of this is over, in milliseconds.
const DEADLINE_MS: u64 = 4_102_444_800_000;

/// In what a function is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Rust,
    Python,
}

/// One function and its process, which ends with it.
#[derive(Debug)]
pub(crate) struct Function {
    process: Running,
    api: Arc<RuntimeApi>,
    started: Instant,
    /// When it has first asked for an invocation.
    pub(crate) ready_after: Duration,
}

/// What an invocation came to.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) answer: Value,
    /// From the moment the function got the event.
    pub(crate) took: Duration,
}

/// Holds events until they are asked for, and answers until they are wanted.
#[derive(Debug)]
struct RuntimeApi {
    events: UnboundedSender<Bytes>,
    asked: tokio::sync::Mutex<UnboundedReceiver<Instant>>,
    answered: tokio::sync::Mutex<UnboundedReceiver<(StatusCode, Bytes, Instant)>>,
    handed_over: Arc<Mutex<Option<Instant>>>,
}

impl Function {
    /// Starts `submit`, `status` or `result`, with these stores, and waits until it is ready.
    pub(crate) async fn start(
        language: Language,
        name: &str,
        system: &System,
        stores: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let api = Arc::new(RuntimeApi::serve(listener));
        let mut command = match language {
            Language::Rust => system.command(name)?,
            Language::Python => {
                let mut python = Command::new(tool("python")?);
                python.args(["-m", "awslambdaric", &format!("functions.{name}")]);
                python
            }
        };
        command
            .current_dir(root().join("bench/python"))
            .envs(system.stack().environment())
            .envs(stores.iter().copied());
        command.envs([("AWS_LAMBDA_RUNTIME_API", address.as_str()), ("AWS_LAMBDA_FUNCTION_NAME", name)]);
        command.envs([("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"), ("AWS_LAMBDA_FUNCTION_VERSION", "1")]);
        command.envs([("AWS_LAMBDA_LOG_GROUP_NAME", "bench"), ("AWS_LAMBDA_LOG_STREAM_NAME", "bench")]);
        let started = Instant::now();
        let process = Running::start(&mut command)?;
        let mut function = Self { process, api, started, ready_after: Duration::ZERO };
        let asked = timeout(LIMIT, async { function.api.asked.lock().await.recv().await }).await;
        let asked = asked.with_context(|| format!("{name} in {language:?} never became ready"))?;
        function.ready_after = asked.context("the server lives")? - started;
        Ok(function)
    }

    /// Hands it an event and waits for the answer; one that is no success is an error.
    pub(crate) async fn invoke(&self, event: &Value) -> anyhow::Result<Answered> {
        self.api.events.send(serde_json::to_vec(event)?.into())?;
        let answered = timeout(LIMIT, async { self.api.answered.lock().await.recv().await }).await;
        let (status, body, answered) = answered.context("the function never answered")?.context("the server lives")?;
        let handed_over = *self.api.handed_over.lock().expect("nobody panics with it");
        let answer: Value = serde_json::from_slice(&body)?;
        if status != StatusCode::ACCEPTED || answer["statusCode"].as_u64().is_none_or(|code| code >= 300) {
            bail!("the function answered {answer}");
        }
        Ok(Answered { answer, took: answered - handed_over.context("an event was handed over")? })
    }

    /// How long it has been since its start.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}

impl RuntimeApi {
    fn serve(listener: TcpListener) -> Self {
        let (events, waiting) = unbounded_channel();
        let (ask, asked) = unbounded_channel();
        let (answer, answered) = unbounded_channel();
        let handed_over = Arc::default();
        let desk = Arc::new(Desk {
            waiting: tokio::sync::Mutex::new(waiting),
            ask,
            answer,
            handed_over: Arc::clone(&handed_over),
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let desk = Arc::clone(&desk);
                drop(stream.set_nodelay(true));
                let service = service_fn(move |request| Arc::clone(&desk).handle(request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        let (asked, answered) = (tokio::sync::Mutex::new(asked), tokio::sync::Mutex::new(answered));
        Self { events, asked, answered, handed_over }
    }
}

/// The server's side.
struct Desk {
    waiting: tokio::sync::Mutex<UnboundedReceiver<Bytes>>,
    ask: UnboundedSender<Instant>,
    answer: UnboundedSender<(StatusCode, Bytes, Instant)>,
    handed_over: Arc<Mutex<Option<Instant>>>,
}

impl Desk {
    async fn handle(self: Arc<Self>, request: Request<Incoming>) -> anyhow::Result<Response<Full<Bytes>>> {
        if request.method() == Method::GET {
            let _ = self.ask.send(Instant::now());
            let event = self.waiting.lock().await.recv().await.context("the benchmark is over")?;
            let response = Response::builder()
                .header("lambda-runtime-aws-request-id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd")
                .header("lambda-runtime-deadline-ms", DEADLINE_MS)
                .header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:ap-northeast-1:123456789012:function:f")
                .header("lambda-runtime-trace-id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0")
                .header("content-type", "application/json");
            *self.handed_over.lock().expect("nobody panics with it") = Some(Instant::now());
            return Ok(response.body(event.into())?);
        }
        let is_answer = request.uri().path().ends_with("/response");
        let status = if is_answer { StatusCode::ACCEPTED } else { StatusCode::INTERNAL_SERVER_ERROR };
        let body = request.into_body().collect().await?.to_bytes();
        let _ = self.answer.send((status, body, Instant::now()));
        Ok(Response::builder().status(StatusCode::ACCEPTED).body(Full::default())?)
    }
}

/// A call as API Gateway (REST) hands it to a function, made by a user of the stack's account.
pub(crate) fn event(method: &str, resource: &str, parameter: (&str, &str), body: Option<&str>) -> Value {
    let (name, value) = parameter;
    let path = resource.replace(&format!("{{{name}}}"), value);
    json!({
        "resource": resource,
        "path": path,
        "httpMethod": method,
        "headers": {"Host": "api.example", "Content-Type": "application/json", "X-Forwarded-Proto": "https"},
        "multiValueHeaders": {
            "Host": ["api.example"], "Content-Type": ["application/json"], "X-Forwarded-Proto": ["https"],
        },
        "queryStringParameters": null,
        "multiValueQueryStringParameters": null,
        "pathParameters": {name: value},
        "stageVariables": null,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "a1b2c3d4e5",
            "httpMethod": method,
            "identity": {"accountId": "123456789012", "caller": "AIDAEXAMPLE", "userArn": "arn:aws:iam::1:user/a"},
            "path": path,
            "requestId": "4b1f6f5e-0a6e-4f5e-9f0a-3d7a3f2f6c11",
            "resourcePath": resource,
            "stage": "prod",
        },
        "body": body,
        "isBase64Encoded": false,
    })
}

/// The event that submits a job.
pub(crate) fn submit_event(body: &str) -> Value {
    event("POST", "/v1/apis/{api}/jobs", ("api", "mock"), Some(body))
}

/// The event that asks for a job, or for its result.
pub(crate) fn job_event(function: &str, uuid: &str) -> Value {
    let resource = if function == "result" { "/v1/jobs/{uuid}/result" } else { "/v1/jobs/{uuid}" };
    event("GET", resource, ("uuid", uuid), None)
}

/// What a field of the JSON in a function's answer says.
pub(crate) fn field(answered: &Answered, name: &str) -> anyhow::Result<String> {
    let body = answered.answer["body"].as_str().context("a function's answer has a body")?;
    let body: Value = serde_json::from_str(body)?;
    Ok(body[name].as_str().with_context(|| format!("the answer has no {name}"))?.to_owned())
}
