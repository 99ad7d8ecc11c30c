use std::time::{Duration, Instant};

use bcrlapi_api::{JobList, JobResource, LabState, ProblemBody, ResultLink, routes};
use bcrlapi_domain::{ApiName, IdempotencyKey, JobId, Status};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::request::Builder;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::error::chain;
use crate::{ClientError, Signer};

/// API Gateway gives up after 29 s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);
/// The pause between two looks at a job: short at first, for quick programs, then longer.
const WAIT_PAUSE_MIN: Duration = Duration::from_millis(100);
const WAIT_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long nothing but failures may come back before waiting is given up.
pub const WAIT_FAILURE_LIMIT: Duration = Duration::from_secs(30);
/// How often a submit is tried, the pause before the second try, which then doubles, and the longest pause that the API
/// may ask for: who is told to come back in a minute is told so.
const SUBMIT_TRIES: u32 = 5;
const SUBMIT_PAUSE_MIN: Duration = Duration::from_millis(200);
const SUBMIT_PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long a large result may take: as long as its link works.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_mins(15);
/// The local stack's, which no proxy can reach.
const LOOPBACK: &str = "http://127.0.0.1:";
/// How much of an answer that is not the API's is shown.
const UNEXPECTED_MAX_CHARS: usize = 200;

/// A client of one API. Cheap to clone; the clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base_url: String,
    signer: Signer,
}

/// What came of a submit.
#[derive(Clone, Debug)]
pub struct Submitted {
    /// The job.
    pub job: JobResource,
    /// Whether it is that of an earlier submit under the same key.
    pub is_replayed: bool,
}

/// Which jobs are listed; all where nothing is said.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// Only those for this api.
    pub api: Option<ApiName>,
    /// Only those in this status.
    pub status: Option<Status>,
}

impl Client {
    /// A client of the API at this URL: scheme, host and stage.
    pub fn new(base_url: &str, signer: Signer) -> Result<Self, ClientError> {
        let base_url = check_url(base_url)?.to_owned();
        let mut http = reqwest::Client::builder().timeout(REQUEST_TIMEOUT);
        if base_url.starts_with(LOOPBACK) {
            // Plain HTTP, links too: to read the system's certificates would take longer than most calls.
            http = http.no_proxy().tls_certs_only([]);
        }
        let http = http.build().map_err(|error| ClientError::Unreachable(chain(&error)))?;
        Ok(Self { http, base_url, signer })
    }

    /// Submits a job, under a key of its own, so that one that is tried again is one job.
    pub async fn submit(&self, api: &ApiName, input: Vec<u8>) -> Result<JobResource, ClientError> {
        Ok(self.submit_keyed(api, input, &Self::new_key()).await?.job)
    }

    /// A key that nobody has used.
    pub fn new_key() -> IdempotencyKey {
        Uuid::new_v4().to_string().parse().expect("a uuid is a key")
    }

    /// Submits a job under the caller's key; the same submit under the same key is one job. Failures that may pass are
    /// tried again, a few times.
    pub async fn submit_keyed(
        &self,
        api: &ApiName,
        input: Vec<u8>,
        key: &IdempotencyKey,
    ) -> Result<Submitted, ClientError> {
        let key = HeaderValue::from_str(key.as_str()).expect("a key is visible ASCII");
        let mut pause = SUBMIT_PAUSE_MIN;
        let mut tries_left = SUBMIT_TRIES;
        loop {
            tries_left -= 1;
            let request = http::Request::post(routes::submit(api)).header(routes::IDEMPOTENCY_KEY, &key);
            match self.send(request, input.clone()).await {
                Err(error) if tries_left > 0 && may_pass(&error) && asked_pause(&error) <= SUBMIT_PAUSE_MAX => {
                    tokio::time::sleep(pause.max(asked_pause(&error))).await;
                    pause *= 2;
                }
                answer => {
                    let answer = answer?;
                    let is_replayed = answer.headers().contains_key(routes::IDEMPOTENCY_REPLAYED);
                    return Ok(Submitted { job: parse(answer.body())?, is_replayed });
                }
            }
        }
    }

    /// Lists the caller's jobs, newest first, from a cursor on. A page may hold fewer than `limit`, and more still
    /// follow.
    pub async fn list(&self, query: &ListQuery, cursor: Option<&str>, limit: u8) -> Result<JobList, ClientError> {
        let limit = limit.to_string();
        let parameters = [
            ("api", query.api.as_ref().map(ApiName::as_str)),
            ("cursor", cursor),
            ("limit", Some(limit.as_str())),
            ("status", query.status.map(Status::as_str)),
        ];
        let given = parameters.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
        let path = format!("{}?{}", routes::LIST, given.collect::<Vec<_>>().join("&"));
        parse(&self.get(&path).await?)
    }

    /// Takes a job back; one that waits in the lab is asked back, and the program may be quicker.
    pub async fn cancel(&self, id: JobId) -> Result<JobResource, ClientError> {
        parse(self.send(http::Request::post(routes::cancel(id)), Vec::new()).await?.body())
    }

    /// Asks how the lab is.
    pub async fn lab(&self) -> Result<LabState, ClientError> {
        parse(&self.get(routes::LAB).await?)
    }

    /// Asks for a job.
    pub async fn job(&self, id: JobId) -> Result<JobResource, ClientError> {
        parse(&self.get(&routes::job(id)).await?)
    }

    /// Fetches a job's result, byte for byte; through a link where it is too large for one answer.
    pub async fn result(&self, id: JobId) -> Result<Vec<u8>, ClientError> {
        match self.get(&routes::result(id)).await {
            Err(ClientError::Refused { problem, .. }) if problem.link.is_some() => {
                self.follow(&self.result_link(id).await?).await
            }
            answer => answer,
        }
    }

    /// Gets a link to a job's result.
    pub async fn result_link(&self, id: JobId) -> Result<ResultLink, ClientError> {
        parse(&self.get(&routes::result_link(id)).await?)
    }

    /// Asks for the job until it is done; shows every answer to `on_look`. Failures that may pass are borne for
    /// [`WAIT_FAILURE_LIMIT`].
    pub async fn wait(&self, id: JobId, mut on_look: impl FnMut(&JobResource)) -> Result<JobResource, ClientError> {
        let mut pause = WAIT_PAUSE_MIN;
        let mut last_answer = Instant::now();
        loop {
            match self.job(id).await {
                Ok(job) => {
                    last_answer = Instant::now();
                    on_look(&job);
                    if job.status == Status::Done {
                        return Ok(job);
                    }
                }
                Err(error) if may_pass(&error) && last_answer.elapsed() < WAIT_FAILURE_LIMIT => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(WAIT_PAUSE_MAX);
        }
    }

    async fn get(&self, path: &str) -> Result<Vec<u8>, ClientError> {
        Ok(self.send(http::Request::get(path), Vec::new()).await?.into_body())
    }

    /// Sends a request whose URI is a path of the API.
    async fn send(&self, request: Builder, body: Vec<u8>) -> Result<Response<Vec<u8>>, ClientError> {
        let url = format!("{}{}", self.base_url, request.uri_ref().map(ToString::to_string).unwrap_or_default());
        let mut request = request.uri(&url);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let mut request = request.body(body).map_err(|_| ClientError::BadUrl(url))?;
        self.signer.sign(&mut request).await?;
        let unreachable = |error| unreachable(error, REQUEST_TIMEOUT);
        let response = self.http.execute(request.try_into().map_err(unreachable)?).await.map_err(unreachable)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.map_err(unreachable)?;
        if !status.is_success() {
            return Err(refused(status, retry_after(&headers), &body));
        }
        let mut answer = Response::new(body.into());
        *answer.headers_mut() = headers;
        Ok(answer)
    }

    /// Follows a link, which must not be signed again.
    async fn follow(&self, link: &ResultLink) -> Result<Vec<u8>, ClientError> {
        let unreachable = |error| unreachable(error, DOWNLOAD_TIMEOUT);
        let response = self.http.get(&link.url).timeout(DOWNLOAD_TIMEOUT).send().await.map_err(unreachable)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unreachable)?;
        if status.is_success() && body.len() as u64 == link.size {
            Ok(body.into())
        } else {
            Err(unexpected(status, &body))
        }
    }
}

fn unreachable(error: reqwest::Error, limit: Duration) -> ClientError {
    ClientError::Unreachable(if error.is_timeout() {
        format!("no whole answer within {} s; check the URL and the network", limit.as_secs())
    } else {
        chain(&error.without_url())
    })
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

/// How long the API has asked to wait.
fn asked_pause(error: &ClientError) -> Duration {
    match error {
        ClientError::Refused { retry_after, .. } => retry_after.unwrap_or_default(),
        _ => Duration::ZERO,
    }
}

/// Paths are appended to the URL, so it ends where they begin.
fn check_url(url: &str) -> Result<&str, ClientError> {
    let bad = || ClientError::BadUrl(url.to_owned());
    let parsed: Uri = url.parse().map_err(|_| bad())?;
    let is_http = matches!(parsed.scheme_str(), Some("http" | "https"));
    if is_http && parsed.host().is_some_and(|host| !host.is_empty()) && !url.contains(['?', '#']) {
        Ok(url.trim_end_matches('/'))
    } else {
        Err(bad())
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body).map_err(|_| unexpected(StatusCode::OK, body))
}

fn refused(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> ClientError {
    let problem: Result<ProblemBody, _> = serde_json::from_slice(body);
    let refused = |problem| ClientError::Refused { problem: Box::new(problem), retry_after };
    problem.map_or_else(|_| unexpected(status, body), refused)
}

fn unexpected(status: StatusCode, body: &[u8]) -> ClientError {
    let text = String::from_utf8_lossy(body).chars().take(UNEXPECTED_MAX_CHARS).collect();
    ClientError::Unexpected { status, text }
}

/// Whether the same call may go well a moment later.
fn may_pass(error: &ClientError) -> bool {
    let is_passing = |status: u16| status == StatusCode::TOO_MANY_REQUESTS.as_u16() || status >= 500;
    match error {
        ClientError::Unreachable(_) => true,
        ClientError::Refused { problem, .. } => is_passing(problem.status),
        ClientError::Unexpected { status, .. } => is_passing(status.as_u16()),
        ClientError::BadUrl(_) | ClientError::Unsigned(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_answer_that_does_not_come_is_told_as_such() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let impatient = reqwest::Client::builder().no_proxy().timeout(Duration::from_millis(1)).build().unwrap();
        let error = unreachable(impatient.get(url).send().await.unwrap_err(), REQUEST_TIMEOUT);
        assert_eq!(
            error.to_string(),
            "the API could not be reached: no whole answer within 40 s; check the URL and the network"
        );
    }

    #[test]
    fn a_url_without_scheme_or_host_or_with_more_than_a_path_is_refused() {
        for good in ["http://127.0.0.1:9000", "https://a1b2.execute-api.eu-west-1.amazonaws.com/prod/"] {
            assert_eq!(check_url(good).unwrap(), good.trim_end_matches('/'));
        }
        for bad in [
            "",
            "/prod",
            "127.0.0.1:9000",
            "localhost",
            "ftp://a",
            "http://",
            "http://a/?b",
            "http://a/#b",
            "http://a b",
        ] {
            assert!(check_url(bad).is_err(), "{bad:?}");
        }
    }
}
