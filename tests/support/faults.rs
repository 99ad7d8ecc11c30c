use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// What becomes of a request on its way to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It passes.
    Pass,
    /// It passes, this much later.
    Delay(Duration),
    /// Nobody ever answers.
    Hang,
    /// The connection is cut before it arrives.
    Cut,
    /// It has its effect, and the answer is lost.
    LoseAnswer,
    /// It has its effect, and the answer is cut off in the middle.
    CutAnswer,
    /// The store refuses with a status of HTTP and a code of AWS.
    Refuse(u16, &'static str),
    /// DynamoDB answers with this status of HTTP and this body, and does nothing.
    Answer(u16, &'static str),
}

/// A proxy on loopback, between somebody and a server of the stack, that decides over each request's fate.
#[derive(Clone, Debug)]
pub struct Faults {
    url: String,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    upstream: String,
    client: reqwest::Client,
    mode: Mutex<Mode>,
    requests: AtomicU64,
}

#[derive(Debug)]
enum Mode {
    Always(Fate),
    First(u32, Fate),
    Every { left: u32, of: u32, fate: Fate },
    Sometimes(Rng, Vec<Fate>),
}

const JSON_OF_DYNAMODB: &str = "application/x-amz-json-1.0";

type Body = BoxBody<Bytes, std::io::Error>;

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the answer is lost, as the test wants it")]
struct Lost;

impl Faults {
    /// Starts one, through which everything passes; serves as long as the test runs.
    pub async fn start(upstream_url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it listens"));
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client can be made");
        let (upstream, mode) = (upstream_url.to_owned(), Mutex::new(Mode::Always(Fate::Pass)));
        let inner = Arc::new(Inner { upstream, client, mode, requests: AtomicU64::new(0) });
        let of_server = Arc::clone(&inner);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let inner = Arc::clone(&of_server);
                let service = service_fn(move |request| Arc::clone(&inner).handle(request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { url, inner }
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on every request has this fate.
    pub fn always(&self, fate: Fate) {
        self.set(Mode::Always(fate));
    }

    /// The next so many requests have this fate; after them everything passes.
    pub fn first(&self, requests: u32, fate: Fate) {
        self.set(Mode::First(requests, fate));
    }

    /// From now on the last one of each so many requests has this fate.
    pub fn every(&self, of: u32, fate: Fate) {
        self.set(Mode::Every { left: of, of, fate });
    }

    /// From now on every other request, on average, has one of these fates.
    pub fn sometimes(&self, seed: u64, fates: &[Fate]) {
        self.set(Mode::Sometimes(Rng::with_seed(seed), fates.to_vec()));
    }

    /// How many requests have come so far.
    pub fn requests(&self) -> u64 {
        self.inner.requests.load(Ordering::SeqCst)
    }

    fn set(&self, mode: Mode) {
        *self.inner.mode.lock().expect("nobody panics while choosing") = mode;
    }
}

impl Inner {
    fn next_fate(&self) -> Fate {
        match &mut *self.mode.lock().expect("nobody panics while choosing") {
            Mode::Always(fate) => *fate,
            Mode::First(0, _) => Fate::Pass,
            Mode::First(left, fate) => {
                *left -= 1;
                *fate
            }
            Mode::Every { left: left @ 1, of, fate } => {
                *left = *of;
                *fate
            }
            Mode::Every { left, .. } => {
                *left -= 1;
                Fate::Pass
            }
            Mode::Sometimes(random, fates) => {
                if random.bool() {
                    fates[random.usize(..fates.len())]
                } else {
                    Fate::Pass
                }
            }
        }
    }

    async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Lost> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        match self.next_fate() {
            Fate::Pass => self.forward(request).await.map(|answer| answer.map(whole)),
            Fate::Delay(delay) => {
                // The fate itself, and not a wait for anything.
                tokio::time::sleep(delay).await;
                self.forward(request).await.map(|answer| answer.map(whole))
            }
            Fate::Hang => std::future::pending().await,
            Fate::Cut => Err(Lost),
            Fate::LoseAnswer => self.forward(request).await.and(Err(Lost)),
            Fate::CutAnswer => self.forward(request).await.map(|answer| answer.map(|bytes| half(&bytes))),
            Fate::Refuse(status, code) => {
                let is_dynamodb = request.headers().contains_key("x-amz-target");
                read_to_end(request).await;
                Ok(if is_dynamodb { refusal_of_dynamodb(status, code) } else { refusal_of_s3(status, code) })
            }
            Fate::Answer(status, body) => {
                read_to_end(request).await;
                Ok(answer(status, JSON_OF_DYNAMODB, body))
            }
        }
    }

    async fn forward(&self, request: Request<Incoming>) -> Result<Response<Bytes>, Lost> {
        let (mut parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Lost)?.to_bytes();
        let url = format!("{}{}", self.upstream, parts.uri);
        parts.headers.remove(TRANSFER_ENCODING);
        let forwarded = self.client.request(parts.method, url).headers(parts.headers).body(body).send().await;
        let answer = forwarded.map_err(|_| Lost)?;
        let mut response = Response::builder().status(answer.status());
        *response.headers_mut().expect("it is well-formed") = answer.headers().clone();
        let body = answer.bytes().await.map_err(|_| Lost)?;
        let mut response = response.body(body).expect("it is well-formed");
        response.headers_mut().remove(TRANSFER_ENCODING);
        Ok(response)
    }
}

/// A client that is still sending would see a broken connection.
async fn read_to_end(request: Request<Incoming>) {
    let _ = request.into_body().collect().await;
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed()
}

fn half(bytes: &Bytes) -> Body {
    let frames = [Ok(Frame::data(bytes.slice(..bytes.len() / 2))), Err(std::io::ErrorKind::ConnectionReset.into())];
    StreamBody::new(futures::stream::iter(frames)).boxed()
}

fn refusal_of_dynamodb(status: u16, code: &str) -> Response<Body> {
    let json = format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"as the test wants it"}}"#);
    answer(status, JSON_OF_DYNAMODB, json)
}

fn refusal_of_s3(status: u16, code: &str) -> Response<Body> {
    let xml =
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>as the test wants it</Message></Error>");
    answer(status, "application/xml", xml)
}

fn answer(status: u16, content_type: &str, body: impl Into<Bytes>) -> Response<Body> {
    let body = body.into();
    let response = Response::builder().status(StatusCode::from_u16(status).expect("a status of HTTP"));
    let response = response.header(CONTENT_TYPE, content_type).header(CONTENT_LENGTH, body.len());
    response.body(whole(body)).expect("it is well-formed")
}
