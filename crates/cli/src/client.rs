use std::time::{Duration, Instant};

use bcrlapi_api::{JobResource, ProblemBody, routes};
use bcrlapi_domain::{ApiName, JobId, Status};
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode, Uri};
use serde::de::DeserializeOwned;

use crate::error::chain;
use crate::{ClientError, Signer};

/// API Gateway gives up after 29 s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);
/// The pause between two looks at a job: short at first, for quick programs, then longer.
const WAIT_PAUSE_MIN: Duration = Duration::from_millis(100);
const WAIT_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long nothing but failures may come back before waiting is given up.
pub const WAIT_FAILURE_LIMIT: Duration = Duration::from_secs(30);
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

impl Client {
    /// A client of the API at this URL: scheme, host and stage.
    pub fn new(base_url: &str, signer: Signer) -> Result<Self, ClientError> {
        let base_url = check_url(base_url)?.to_owned();
        let mut http = reqwest::Client::builder().timeout(REQUEST_TIMEOUT);
        if base_url.starts_with(LOOPBACK) {
            http = http.no_proxy();
        }
        let http = http.build().map_err(|error| ClientError::Unreachable(chain(&error)))?;
        Ok(Self { http, base_url, signer })
    }

    /// Submits a job.
    pub async fn submit(&self, api: &ApiName, input: Vec<u8>) -> Result<JobResource, ClientError> {
        parse(&self.send(Method::POST, &routes::submit(api), input).await?)
    }

    /// Asks for a job.
    pub async fn job(&self, id: JobId) -> Result<JobResource, ClientError> {
        parse(&self.send(Method::GET, &routes::job(id), Vec::new()).await?)
    }

    /// Fetches a job's result, byte for byte.
    pub async fn result(&self, id: JobId) -> Result<Vec<u8>, ClientError> {
        self.send(Method::GET, &routes::result(id), Vec::new()).await
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

    async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Vec<u8>, ClientError> {
        let url = format!("{}{path}", self.base_url);
        let mut request = http::Request::builder().method(method).uri(&url);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let mut request = request.body(body).map_err(|_| ClientError::BadUrl(url))?;
        self.signer.sign(&mut request).await?;
        let unreachable = |error: reqwest::Error| ClientError::Unreachable(chain(&error));
        let response = self.http.execute(request.try_into().map_err(unreachable)?).await.map_err(unreachable)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unreachable)?;
        if status.is_success() { Ok(body.into()) } else { Err(refused(status, &body)) }
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

fn refused(status: StatusCode, body: &[u8]) -> ClientError {
    let problem: Result<ProblemBody, _> = serde_json::from_slice(body);
    problem.map_or_else(|_| unexpected(status, body), |problem| ClientError::Refused(Box::new(problem)))
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
        ClientError::Refused(problem) => is_passing(problem.status),
        ClientError::Unexpected { status, .. } => is_passing(status.as_u16()),
        ClientError::BadUrl(_) | ClientError::Unsigned(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::check_url;

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
