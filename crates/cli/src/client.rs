use std::time::Duration;

use bcrlapi_api::{JobResource, ProblemBody, routes};
use bcrlapi_domain::{ApiName, JobId, Status};
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use serde::de::DeserializeOwned;

use crate::{ClientError, Signer};

/// API Gateway gives up after 29 s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);
/// The pause between two looks at a job: short at first, for quick programs, then longer.
const WAIT_PAUSE_MIN: Duration = Duration::from_millis(100);
const WAIT_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How many looks in a row may fail before waiting is given up.
const WAIT_FAILURES_MAX: u32 = 5;
/// How much of an answer that is not the API's is shown.
const UNEXPECTED_MAX_CHARS: usize = 200;

/// A client of one API. Cheap to clone; the clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base_url: String,
    signer: Option<Signer>,
}

impl Client {
    /// A client of the API at this URL: scheme, host and stage. Without a signer its requests go unsigned.
    pub fn new(base_url: &str, signer: impl Into<Option<Signer>>) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).build();
        Ok(Self {
            http: http.map_err(|error| unreachable(&error))?,
            base_url: base_url.trim_end_matches('/').to_owned(),
            signer: signer.into(),
        })
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

    /// Asks for the job until it is done; shows every answer to `on_look`. Bears with a few failures in a row.
    pub async fn wait(&self, id: JobId, mut on_look: impl FnMut(&JobResource)) -> Result<JobResource, ClientError> {
        let mut pause = WAIT_PAUSE_MIN;
        let mut failures = 0;
        loop {
            match self.job(id).await {
                Ok(job) => {
                    failures = 0;
                    on_look(&job);
                    if job.status == Status::Done {
                        return Ok(job);
                    }
                }
                Err(error) if is_passing(&error) && failures < WAIT_FAILURES_MAX => failures += 1,
                Err(error) => return Err(error),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(WAIT_PAUSE_MAX);
        }
    }

    /// Sends any request; gives the body of a good answer.
    pub async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Vec<u8>, ClientError> {
        let mut request = http::Request::builder().method(method).uri(format!("{}{path}", self.base_url));
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let mut request = request.body(body).map_err(|error| ClientError::Unreachable(error.to_string()))?;
        if let Some(signer) = &self.signer {
            signer.sign(&mut request).await?;
        }
        let request = request.try_into().map_err(|error| unreachable(&error))?;
        let response = self.http.execute(request).await.map_err(|error| unreachable(&error))?;
        let status = response.status();
        let body = response.bytes().await.map_err(|error| unreachable(&error))?;
        if status.is_success() { Ok(body.into()) } else { Err(refused(status, &body)) }
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

fn is_passing(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable(_) => true,
        ClientError::Refused(problem) => problem.status >= 500,
        ClientError::Unexpected { status, .. } => status.is_server_error(),
        ClientError::Unsigned(_) => false,
    }
}

fn unreachable(error: &reqwest::Error) -> ClientError {
    let inner = std::iter::successors(std::error::Error::source(error), |error| error.source()).last();
    let reason = inner.map(|inner| format!(" ({inner})")).unwrap_or_default();
    ClientError::Unreachable(format!("{error}{reason}"))
}
