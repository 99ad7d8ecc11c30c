use std::io::Write;
use std::time::{Duration, Instant};

use bcrlapi_api::{JobList, JobResource, LabState, ResultLink, routes};
use bcrlapi_domain::{ApiName, IdempotencyKey, JobId, Status};
use http::header::CONTENT_TYPE;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Uri};
use reqwest::Certificate;
use reqwest::redirect::Policy;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::answer::{self, Answer};
use crate::download::Download;
use crate::error::chain;
use crate::{ClientError, Signer};

/// How long one call may take: API Gateway gives up after 29 s.
const CALL_LIMIT: Duration = Duration::from_secs(40);
/// How long one look at a job may take. Far below the patience of a wait: a connection that a router has forgotten costs
/// one look.
const LOOK_LIMIT: Duration = Duration::from_secs(10);
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long a download may stand still.
const STALL_LIMIT: Duration = Duration::from_mins(1);
/// How long a connection that nobody uses is kept. Routers forget theirs after some minutes, without a word.
const IDLE_LIMIT: Duration = Duration::from_secs(30);
/// The pause between two looks at a job: short at first, for quick programs, then longer.
const LOOK_PAUSE_MIN: Duration = Duration::from_millis(100);
const LOOK_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long a wait bears that nothing but failures come back: a VPN that is set up again, a train in a tunnel.
const WAIT_PATIENCE: Duration = Duration::from_mins(15);
/// How long, where the API has not answered yet: then the URL is perhaps wrong.
const FIRST_ANSWER_PATIENCE: Duration = Duration::from_mins(1);
/// How often a call is tried, the pause before the second try, which then doubles, and the longest pause that the API
/// may ask for: who is told to come back in a minute is told so.
const TRIES: u32 = 5;
const TRY_PAUSE_MIN: Duration = Duration::from_millis(200);
const TRY_PAUSE_MAX: Duration = Duration::from_secs(10);
/// The local stack's, which no proxy can reach.
const LOOPBACK: &str = "http://127.0.0.1:";

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

/// A request, before it is signed.
#[derive(Debug)]
struct Call {
    method: Method,
    /// Path and query.
    path: String,
    key: Option<HeaderValue>,
    body: Vec<u8>,
    limit: Duration,
}

impl Client {
    /// A client of the API at this URL: scheme, host and stage.
    ///
    /// # Errors
    ///
    /// The URL cannot be an API's.
    pub fn new(base_url: &str, signer: Signer) -> Result<Self, ClientError> {
        let base_url = check_url(base_url)?.to_owned();
        let mut http = reqwest::Client::builder()
            // The signature is for this host, and so are the session token and the body.
            .redirect(Policy::none())
            .connect_timeout(CONNECT_LIMIT)
            .read_timeout(STALL_LIMIT)
            .pool_idle_timeout(IDLE_LIMIT);
        if base_url.starts_with(LOOPBACK) {
            // Plain HTTP, links too: to read the system's certificates would take longer than most calls.
            http = http.no_proxy().tls_certs_only([]);
        } else if let Some(ca_bundle) = signer.ca_bundle() {
            let certificates = Certificate::from_pem_bundle(ca_bundle.pem());
            http = http.tls_certs_merge(certificates.expect("they were read before"));
        }
        let http = http.build().map_err(|error| ClientError::Unreachable {
            host: answer::host_of(&base_url),
            reason: chain(&error),
            may_have_arrived: false,
        })?;
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
        let call = Call { key: Some(key), body: input, ..Call::new(Method::POST, routes::submit(api)) };
        let answer = self.send(&call).await?;
        let is_replayed = answer.headers.contains_key(routes::IDEMPOTENCY_REPLAYED);
        Ok(Submitted { job: answer.parse()?, is_replayed })
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
        self.get(format!("{}?{}", routes::LIST, given.collect::<Vec<_>>().join("&"))).await
    }

    /// Cancels a job. One that waits in the lab is asked for, and the program may be quicker.
    pub async fn cancel(&self, id: JobId) -> Result<JobResource, ClientError> {
        self.send(&Call::new(Method::POST, routes::cancel(id))).await?.parse()
    }

    /// Asks how the lab is.
    pub async fn lab(&self) -> Result<LabState, ClientError> {
        self.get(routes::LAB.to_owned()).await
    }

    /// Asks for a job.
    pub async fn job(&self, id: JobId) -> Result<JobResource, ClientError> {
        self.get(routes::job(id)).await
    }

    /// Fetches a job's result into memory, byte for byte; through a link where it is too large for one answer.
    ///
    /// # Errors
    ///
    /// As for [`Client::fetch_result`].
    pub async fn result(&self, id: JobId) -> Result<Vec<u8>, ClientError> {
        let mut result = Vec::new();
        self.fetch_result(id, &mut result).await?;
        Ok(result)
    }

    /// Fetches a job's result, byte for byte, of any size; through a link where it is too large for one answer. Holds
    /// no more of it than one answer. Gives its size in bytes.
    ///
    /// # Errors
    ///
    /// Also where what arrived has not the digest that the API says: then what was written is to be thrown away.
    pub async fn fetch_result(&self, id: JobId, sink: &mut impl Write) -> Result<u64, ClientError> {
        match self.send(&Call::new(Method::GET, routes::result(id))).await {
            Err(ClientError::Refused { problem, .. }) if problem.link.is_some() => {
                let link = self.result_link(id).await?;
                self.follow(&link, sink).await
            }
            answer => {
                let answer = answer?;
                answer.refuse_page()?;
                let mut download = Download::of_answer(&answer.headers)?;
                download.write(&answer.body, sink)?;
                download.finish()
            }
        }
    }

    /// Gets a link to a job's result.
    pub async fn result_link(&self, id: JobId) -> Result<ResultLink, ClientError> {
        self.get(routes::result_link(id)).await
    }

    /// Asks for the job until it is done, and passes each answer and each tolerated failure to `on_look`. Failures are
    /// tolerated for 15 minutes, or for one minute before the first answer.
    pub async fn wait(
        &self,
        id: JobId,
        mut on_look: impl FnMut(Result<&JobResource, &ClientError>),
    ) -> Result<JobResource, ClientError> {
        let look = Call { limit: LOOK_LIMIT, ..Call::new(Method::GET, routes::job(id)) };
        let mut pause = LOOK_PAUSE_MIN;
        let mut last_answer = Instant::now();
        let mut has_answered = false;
        loop {
            let looked = match self.try_once(&look).await {
                Ok(answer) => answer.parse::<JobResource>(),
                Err(error) => Err(error),
            };

            let mut asked_pause = Duration::ZERO;
            match looked {
                Ok(job) => {
                    on_look(Ok(&job));
                    if job.status == Status::Done {
                        return Ok(job);
                    }
                    last_answer = Instant::now();
                    has_answered = true;
                }
                Err(error) => {
                    let patience = if has_answered { WAIT_PATIENCE } else { FIRST_ANSWER_PATIENCE };
                    let may_pass = if has_answered { error.is_on_the_way() } else { error.may_pass() };
                    if !may_pass || last_answer.elapsed() >= patience {
                        return Err(error);
                    }

                    on_look(Err(&error));
                    asked_pause = error.retry_after().unwrap_or_default().min(patience);
                }
            }

            tokio::time::sleep(pause.max(asked_pause)).await;
            pause = (pause * 3 / 2).min(LOOK_PAUSE_MAX);
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: String) -> Result<T, ClientError> {
        self.send(&Call::new(Method::GET, path)).await?.parse()
    }

    /// Sends a request; again, a few times, where the failure may pass. Every call of the API may be repeated: a submit
    /// carries a key. Not a library's loop, since the API says how long to pause.
    async fn send(&self, call: &Call) -> Result<Answer, ClientError> {
        let mut pause = TRY_PAUSE_MIN;
        let mut may_have_arrived = false;
        for _ in 1..TRIES {
            let error = match self.try_once(call).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            may_have_arrived |= error.may_have_arrived();
            let asked_pause = error.retry_after().unwrap_or_default();
            if !error.may_pass() || asked_pause > TRY_PAUSE_MAX {
                return Err(error);
            }
            tokio::time::sleep(pause.max(asked_pause)).await;
            pause *= 2;
        }

        self.try_once(call).await.map_err(|error| match error {
            // An earlier try may have arrived, if not this one.
            ClientError::Unreachable { host, reason, .. } if may_have_arrived => {
                ClientError::Unreachable { host, reason, may_have_arrived }
            }
            error => error,
        })
    }

    /// Signs and sends a request, and reads the whole answer.
    async fn try_once(&self, call: &Call) -> Result<Answer, ClientError> {
        let begin = Instant::now();
        let url = format!("{}{}", self.base_url, call.path);
        let request = call.to_request(&url)?;
        let answered = self.sign_and_send(request, call.limit).await;

        let ms = begin.elapsed().as_millis();
        match &answered {
            Ok(answer) => {
                let (status, request_id) = (answer.status.as_u16(), answer.request_id());
                tracing::debug!(method = %call.method, url, status, request_id, ms, "answered");
            }
            Err(error) => tracing::debug!(method = %call.method, url, ms, %error, "no answer"),
        }
        answered?.accepted()
    }

    async fn sign_and_send(&self, mut request: http::Request<Vec<u8>>, limit: Duration) -> Result<Answer, ClientError> {
        self.signer.sign(&mut request).await?;
        let host = answer::host_of(&self.base_url);
        let unreachable = |error| answer::unreachable(&host, error, limit);

        let mut request = reqwest::Request::try_from(request).map_err(unreachable)?;
        *request.timeout_mut() = Some(limit);
        let response = self.http.execute(request).await.map_err(unreachable)?;
        Answer::read(&host, response).await.map_err(unreachable)?
    }

    /// Follows a link, which must not be signed again.
    async fn follow(&self, link: &ResultLink, sink: &mut impl Write) -> Result<u64, ClientError> {
        let host = answer::host_of(&link.url);
        let unreachable = |error| answer::unreachable(&host, error, STALL_LIMIT);

        let mut response = self.http.get(&link.url).send().await.map_err(unreachable)?;
        if !response.status().is_success() {
            let answer = Answer::read(&host, response).await.map_err(unreachable)??;
            return Err(answer.refused());
        }
        let mut download = Download::of_link(link)?;
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            download.write(&chunk, sink)?;
        }
        download.finish()
    }
}

impl Call {
    fn new(method: Method, path: String) -> Self {
        Self { method, path, key: None, body: Vec::new(), limit: CALL_LIMIT }
    }

    fn to_request(&self, url: &str) -> Result<http::Request<Vec<u8>>, ClientError> {
        let mut headers = HeaderMap::new();
        if let Some(key) = &self.key {
            headers.insert(routes::IDEMPOTENCY_KEY, key.clone());
        }
        if !self.body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let mut request = http::Request::builder().method(&self.method).uri(url);
        if let Some(of_request) = request.headers_mut() {
            *of_request = headers;
        }
        request.body(self.body.clone()).map_err(|_| ClientError::BadUrl("it is malformed"))
    }
}

/// Paths are appended to the URL, so it ends where they begin. It is not shown where it is refused: it may have a
/// password in it.
fn check_url(url: &str) -> Result<&str, ClientError> {
    let parsed: Uri = url.parse().map_err(|_| ClientError::BadUrl("it is malformed"))?;
    let authority = parsed.authority().map(Authority::as_str).unwrap_or_default();

    if !matches!(parsed.scheme_str(), Some("http" | "https")) {
        return Err(ClientError::BadUrl("it does not begin with https:// or http://"));
    }
    if parsed.host().is_none_or(str::is_empty) {
        return Err(ClientError::BadUrl("it names no host"));
    }
    if authority.contains('@') {
        return Err(ClientError::BadUrl("it has a user or a password in it, and the API takes signatures"));
    }
    if url.contains(['?', '#']) {
        return Err(ClientError::BadUrl("it has a query or a fragment"));
    }
    Ok(url.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            "http://joe:secret@a",
        ] {
            assert!(check_url(bad).is_err(), "{bad:?}");
        }
    }
}
