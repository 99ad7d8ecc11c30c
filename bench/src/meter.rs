//! A proxy between a program and one of the two stores that counts what passes: calls, bytes, units and time.

use std::mem;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use bcrlapi_local::{Principal, REGION};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

const TARGET: &str = "x-amz-target";

/// One call that has passed.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// As AWS names it for DynamoDB; the method for S3.
    pub(crate) operation: String,
    pub(crate) read_units: f64,
    pub(crate) write_units: f64,
    /// Of question and answer, heads and bodies.
    pub(crate) bytes: usize,
    /// From the question's beginning to the answer's end.
    pub(crate) took: Duration,
}

/// Counts the calls of whoever uses its URL.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    url: String,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Meter {
    /// Starts one in front of a store that these keys open; it serves as long as the runtime lives.
    pub(crate) async fn start(upstream_url: &str, keys: &Principal) -> anyhow::Result<Self> {
        let keys = Arc::new(keys.clone());
        let upstream = upstream_url.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let meter = Self { url: format!("http://{}", listener.local_addr()?), calls: Arc::default() };
        let calls = Arc::clone(&meter.calls);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, upstream.clone(), Arc::clone(&keys), Arc::clone(&calls)));
            }
        });
        Ok(meter)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What has passed since it was last asked.
    pub(crate) fn take(&self) -> Vec<Call> {
        mem::take(&mut *self.calls.lock().expect("nobody panics while counting"))
    }
}

async fn pass(
    client: TcpStream,
    upstream: String,
    keys: Arc<Principal>,
    calls: Arc<Mutex<Vec<Call>>>,
) -> anyhow::Result<()> {
    let upstream = TcpStream::connect(&upstream).await.context("the store listens")?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(upstream)).await?;
    tokio::spawn(connection);
    let sender = Arc::new(tokio::sync::Mutex::new(sender));
    let service = service_fn(move |request| {
        let (sender, keys, calls) = (Arc::clone(&sender), Arc::clone(&keys), Arc::clone(&calls));
        async move {
            let (call, response) = forward(request, &keys, &mut *sender.lock().await).await?;
            calls.lock().expect("nobody panics while counting").push(call);
            anyhow::Ok(response)
        }
    });
    Ok(http1::Builder::new().serve_connection(TokioIo::new(client), service).await?)
}

async fn forward(
    request: Request<Incoming>,
    keys: &Principal,
    upstream: &mut SendRequest<Full<Bytes>>,
) -> anyhow::Result<(Call, Response<Full<Bytes>>)> {
    let start = Instant::now();
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let operation = operation(&parts.method, &parts.headers);
    let asked_bytes = size_of_head(&parts.headers) + parts.uri.to_string().len() + body.len();
    let is_dynamodb = parts.headers.contains_key(TARGET);
    let mut forwarded = Request::from_parts(parts, body);
    // Written anew by the body's own length.
    forwarded.headers_mut().remove(CONTENT_LENGTH);
    if is_dynamodb {
        *forwarded.body_mut() = ask_for_units(forwarded.body())?;
        sign_again(&mut forwarded, keys)?;
    }

    upstream.ready().await?;
    let (parts, body) = upstream.send_request(forwarded.map(Full::new)).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    let bytes = asked_bytes + size_of_head(&parts.headers) + body.len();
    let units = if is_dynamodb { units_in(&body) } else { 0.0 };
    let is_read = ["GetItem", "Query", "Scan"].contains(&operation.as_str());
    let (read_units, write_units) = if is_read { (units, 0.0) } else { (0.0, units) };
    let mut response = Response::from_parts(parts, Full::new(body));
    response.headers_mut().remove(TRANSFER_ENCODING);
    Ok((Call { operation, read_units, write_units, bytes, took: start.elapsed() }, response))
}

fn operation(method: &Method, headers: &HeaderMap) -> String {
    let target = headers.get(TARGET).and_then(|target| target.to_str().ok());
    let name = target.and_then(|target| target.rsplit('.').next());
    name.map_or_else(|| format!("S3 {method}"), str::to_owned)
}

fn size_of_head(headers: &HeaderMap) -> usize {
    // The name, a colon, a space, the value, the end of the line.
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

fn ask_for_units(body: &Bytes) -> anyhow::Result<Bytes> {
    let mut question: Value = serde_json::from_slice(body)?;
    question["ReturnConsumedCapacity"] = json!("TOTAL");
    Ok(serde_json::to_vec(&question)?.into())
}

/// For the question that was changed on its way. Its host stays: the store takes every address of loopback.
fn sign_again(request: &mut Request<Bytes>, keys: &Principal) -> anyhow::Result<()> {
    request.headers_mut().remove(AUTHORIZATION);
    let identity = keys.credentials().into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(REGION)
        .name("dynamodb")
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()?
        .into();

    let headers = request.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).context("every SDK names the host")?;
    let url = format!("http://{host}{}", request.uri());
    let body = SignableBody::Bytes(request.body());
    let signable = SignableRequest::new(request.method().as_str(), url, headers, body)?;

    let (instructions, _) = sign(signable, &params)?.into_parts();
    instructions.apply_to_request_http1x(request);
    Ok(())
}

/// A transaction's answer has one for each table.
fn units_in(answer: &Bytes) -> f64 {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let units = |consumed: &Value| consumed["CapacityUnits"].as_f64().unwrap_or_default();
    match &answer["ConsumedCapacity"] {
        Value::Array(tables) => tables.iter().map(units).sum(),
        consumed => units(consumed),
    }
}
