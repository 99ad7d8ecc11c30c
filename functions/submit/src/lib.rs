//! `submit`: the only function that writes. Takes a program's input and makes a job of it.

use std::collections::BTreeSet;

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bcrlapi_api::routes::{RETRY_AFTER_S, Route};
use bcrlapi_api::{JobResource, Problem, ProblemKind};
use bcrlapi_common::{Answer, Call, Deployment, json_response, respond, store_problem};
use bcrlapi_domain::limits::REQUEST_MAX_BYTES;
use bcrlapi_domain::{ApiName, Job, JobId, Payload};
use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use lambda_http::{Body, Request};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// What the function needs for every call.
#[derive(Clone, Debug)]
pub struct State {
    /// What every function needs.
    pub deployment: Deployment,
    /// The apis that are offered; every well-formed name where none are listed.
    pub apis: BTreeSet<ApiName>,
}

impl State {
    /// Reads the function's environment; `BCRLAPI_APIS` lists the apis, separated by commas.
    pub async fn from_env() -> anyhow::Result<Self> {
        let listed = bcrlapi_common::optional("BCRLAPI_APIS").unwrap_or_default();
        let names = listed.split(',').map(str::trim).filter(|name| !name.is_empty());
        let apis = names.map(str::parse).collect::<Result<_, _>>().context("BCRLAPI_APIS")?;
        Ok(Self { deployment: Deployment::from_env().await?, apis })
    }
}

/// Answers one call.
pub async fn handle(state: &State, request: Request) -> Response<Body> {
    respond(state.deployment.owner_scope, request, async |call: Call| match call.route {
        Some(Route::Submit) => submit(state, call).await,
        _ => Err(call.no_such_route()),
    })
    .await
}

async fn submit(state: &State, call: Call) -> Answer {
    let api = offered_api(&state.apis, &call.path_parameter("api"))?;
    check_media_type(call.headers())?;
    let (owner, base_url) = (call.owner.clone(), call.base_url.clone());
    let body = call.into_body();
    check_body(&body)?;
    let job = Job::requested(new_id(), api, owner, payload_of(&body));
    state.deployment.store.submit(&job, body.into()).await.map_err(store_problem)?;
    Ok(accepted(&JobResource::new(&job, &base_url)))
}

fn offered_api(apis: &BTreeSet<ApiName>, name: &str) -> Result<ApiName, Problem> {
    let api = name.parse().ok().filter(|api| apis.is_empty() || apis.contains(api));
    api.ok_or_else(|| Problem::new(ProblemKind::NoSuchApi, format!("no api is called {name:?}; check its spelling")))
}

/// A body without a declared type is taken for what it has to be.
fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(declared) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let declared = declared.to_str().unwrap_or_default();
    let essence = declared.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let detail =
        format!("the body is declared as {declared:?}; send JSON with the header content-type: application/json");
    Err(Problem::new(ProblemKind::UnsupportedMediaType, detail))
}

fn check_body(body: &[u8]) -> Result<(), Problem> {
    if body.len() > REQUEST_MAX_BYTES {
        let detail = format!("the body has {} bytes; at most {REQUEST_MAX_BYTES} are accepted", body.len());
        return Err(Problem::new(ProblemKind::RequestTooLarge, detail));
    }
    let parsed: Result<&RawValue, _> = serde_json::from_slice(body);
    parsed.map(drop).map_err(|error| Problem::new(ProblemKind::InvalidJson, format!("the body is not JSON: {error}")))
}

/// Ids of one process are in order even within one millisecond.
fn new_id() -> JobId {
    JobId::try_from(Uuid::now_v7()).expect("a new version 7 uuid is a job id")
}

fn payload_of(body: &[u8]) -> Payload {
    Payload { size_bytes: body.len() as u64, sha256: BASE64_STANDARD.encode(Sha256::digest(body)) }
}

fn accepted(job: &JobResource) -> Response<Body> {
    let mut response = json_response(StatusCode::ACCEPTED, job);
    response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S.into());
    if let Ok(location) = HeaderValue::from_str(&job.links.this) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}
