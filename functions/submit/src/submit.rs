//! A program's input becomes a job; the same submit under the same key becomes one job only.

use std::collections::BTreeSet;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bcrlapi_api::content_digest::CONTENT_DIGEST;
use bcrlapi_api::routes::{self, RETRY_AFTER_S};
use bcrlapi_api::{ContentDigest, InvalidContentDigest, JobResource, JsonFault, Problem, ProblemKind};
use bcrlapi_cloud::{JobStore, KeyedSubmit};
use bcrlapi_common::{Answer, Call, json_response, store_problem};
use bcrlapi_domain::limits::REQUEST_MAX_BYTES;
use bcrlapi_domain::{ApiName, IdempotencyKey, InvalidIdempotencyKey, Job, JobId, Payload};
use chrono::{DateTime, Utc};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use lambda_http::Body;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::State;

pub(crate) async fn submit(state: &State, call: Call, now: DateTime<Utc>) -> Answer {
    let api = offered_api(&state.apis, &call.path_parameter("api"))?;
    check_media_type(&call)?;
    let digest = declared_digest(&call)?;
    let key = idempotency_key(&call)?;
    let (owner, base_url) = (call.owner.clone(), call.base_url.clone());
    let body = call.into_body();
    check_size(&body)?;
    let sha256 = Sha256::digest(&body).into();
    check_digest(digest.as_ref(), &sha256)?;
    bcrlapi_api::check_json(&body).map_err(|fault| not_json(&fault))?;

    let payload = Payload { size_bytes: body.len() as u64, sha256: BASE64_STANDARD.encode(sha256) };
    let job = Job::requested(new_id(), api, owner, payload);
    match record(state, &job, body, key.as_ref(), now).await? {
        None => Ok(accepted(&JobResource::new(&job, &base_url))),
        Some(earlier) => replay(&state.deployment.store, &job, &earlier, &base_url).await,
    }
}

/// Records the job, or gives the earlier submit that has its key.
async fn record(
    state: &State,
    job: &Job,
    body: Vec<u8>,
    key: Option<&IdempotencyKey>,
    now: DateTime<Utc>,
) -> Result<Option<KeyedSubmit>, Problem> {
    let store = &state.deployment.store;
    let queue = state.queue_limit.as_ref();

    if let Some(queue) = queue
        && !queue.has_room(store, now).await.map_err(store_problem)?
    {
        // The same submit again needs no free place.
        let earlier = match key {
            Some(key) => store.keyed_submit(job, key, now).await.map_err(store_problem)?,
            None => None,
        };
        return earlier.map(Some).ok_or_else(|| queue_full(queue.limit()));
    }

    let earlier = match key {
        // Not looked for before: nearly every submit is new, and the transaction finds an earlier one too.
        Some(key) => store.submit_keyed(job, body.into(), key, now).await.map_err(store_problem)?,
        None => store.submit(job, body.into()).await.map(|()| None).map_err(store_problem)?,
    };

    if let (None, Some(queue)) = (&earlier, queue) {
        queue.count_one();
    }
    Ok(earlier)
}

/// The answer to the same submit again: the job that there is, as it is now.
async fn replay(store: &JobStore, job: &Job, earlier: &KeyedSubmit, base_url: &str) -> Answer {
    if earlier.request_sha256 != job.request.sha256 {
        let detail = "this idempotency key was used with another body; take a new key for a new job";
        return Err(Problem::new(ProblemKind::IdempotencyKeyReused, detail));
    }
    let found = store.job(earlier.id).await.map_err(store_problem)?;
    let found = found.ok_or_else(|| Problem::internal(format!("job {} has a key and no row", earlier.id)))?;
    let mut response = accepted(&JobResource::new(&found, base_url));
    response.headers_mut().insert(routes::IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

fn offered_api(apis: &BTreeSet<ApiName>, name: &str) -> Result<ApiName, Problem> {
    let api = name.parse().ok().filter(|api| apis.is_empty() || apis.contains(api));
    api.ok_or_else(|| Problem::new(ProblemKind::NoSuchApi, format!("no api is called {name:?}; check its spelling")))
}

/// A body without a declared type is taken for what it has to be.
fn check_media_type(call: &Call) -> Result<(), Problem> {
    let unsupported = |detail| Err(Problem::new(ProblemKind::UnsupportedMediaType, detail));
    let declared = call.header(&CONTENT_TYPE)?.unwrap_or("application/json");
    let essence = declared.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return unsupported(format!(
            "the body is declared as {declared:?}; send JSON with the header content-type: application/json"
        ));
    }
    match call.header(&CONTENT_ENCODING)? {
        None => Ok(()),
        Some(encoding) if encoding.eq_ignore_ascii_case("identity") => Ok(()),
        Some(encoding) => unsupported(format!("the body is encoded as {encoding:?}; send it as it is")),
    }
}

/// Refuses a digest that cannot be checked: whoever sends one must not believe that it was.
fn declared_digest(call: &Call) -> Result<Option<ContentDigest>, Problem> {
    let Some(value) = call.header(&CONTENT_DIGEST)? else { return Ok(None) };
    let digest = value.parse().map_err(|error| unchecked_digest(value, error))?;
    Ok(Some(digest))
}

fn unchecked_digest(value: &str, error: InvalidContentDigest) -> Problem {
    let detail = format!("{CONTENT_DIGEST} is {value:?}: {error}; send sha-256=:BASE64:, or no digest");
    Problem::new(ProblemKind::InvalidHeader, detail)
}

fn idempotency_key(call: &Call) -> Result<Option<IdempotencyKey>, Problem> {
    let key = call.header(&routes::IDEMPOTENCY_KEY)?.map(str::parse).transpose();
    key.map_err(|error: InvalidIdempotencyKey| Problem::new(ProblemKind::InvalidHeader, error.to_string()))
}

fn check_size(body: &[u8]) -> Result<(), Problem> {
    if body.len() <= REQUEST_MAX_BYTES {
        return Ok(());
    }
    let detail = format!("the body has {} bytes; at most {REQUEST_MAX_BYTES} are accepted", body.len());
    Err(Problem::new(ProblemKind::RequestTooLarge, detail))
}

fn check_digest(declared: Option<&ContentDigest>, sha256: &[u8; 32]) -> Result<(), Problem> {
    if declared.is_none_or(|declared| *declared == ContentDigest::from_sha256(*sha256)) {
        return Ok(());
    }
    let detail = "the body that arrived is not the one that content-digest was made of; send it again";
    Err(Problem::new(ProblemKind::DigestMismatch, detail))
}

fn not_json(fault: &JsonFault) -> Problem {
    Problem::new(ProblemKind::InvalidJson, format!("the body is not JSON: {fault}"))
}

fn queue_full(limit: usize) -> Problem {
    let detail = format!("the queue is full: at most {limit} jobs may be open here; submit it again later");
    Problem::new(ProblemKind::QueueFull, detail)
}

/// Ids of one process are in order even within one millisecond.
fn new_id() -> JobId {
    JobId::try_from(Uuid::now_v7()).expect("a new version 7 uuid is a job id")
}

fn accepted(job: &JobResource) -> Response<Body> {
    let mut response = json_response(StatusCode::ACCEPTED, job);
    response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S.into());
    if let Ok(location) = HeaderValue::from_str(&job.links.this) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}
