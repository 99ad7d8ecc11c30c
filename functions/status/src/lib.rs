//! `status`: how far jobs are, how the lab is, and what the API offers. Only reads the table.

use bcrlapi_api::routes::{RETRY_AFTER_S, Route};
use bcrlapi_api::{JobResource, LabPresence, LabState};
use bcrlapi_cloud::JobStore;
use bcrlapi_common::{
    Answer, Call, Deployment, etag_of, is_known, json_response, not_modified, raw_json_response, respond,
    store_problem, tagged,
};
use chrono::{DateTime, Utc};
use http::header::RETRY_AFTER;
use http::{Response, StatusCode};
use lambda_http::{Body, Request};

mod cursor;
mod list;

/// `infra/openapi.yaml` as JSON.
const OPENAPI: &str = include_str!(concat!(env!("OUT_DIR"), "/openapi.json"));

/// Answers one call that came in at `now`.
pub async fn handle(deployment: &Deployment, request: Request, now: DateTime<Utc>) -> Response<Body> {
    let store = &deployment.store;
    respond(deployment.owner_scope, request, async |call: Call| match call.route {
        Some(Route::Status) => status(store, &call, now).await,
        Some(Route::List) => list::list(store, &call, now).await,
        Some(Route::Lab) => lab(store, now).await,
        Some(Route::OpenApi) => Ok(openapi(&call)),
        _ => Err(call.no_such_route()),
    })
    .await
}

async fn status(store: &JobStore, call: &Call, now: DateTime<Utc>) -> Answer {
    let job = call.own_job(store, now).await?;
    let response = json_response(StatusCode::OK, &JobResource::new(&job, &call.base_url));
    let etag = etag_of(response.body());
    let mut response = if is_known(call.headers(), &etag) { not_modified(etag) } else { tagged(response, etag) };
    if !job.state.is_done() {
        response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S.into());
    }
    Ok(response)
}

/// A lab that never said anything is offline, with nothing in it.
async fn lab(store: &JobStore, now: DateTime<Utc>) -> Answer {
    let heartbeat = store.heartbeat().await.map_err(store_problem)?;
    let last_sync = heartbeat.as_ref().map(|heartbeat| heartbeat.last_sync);
    let (pending, processing) = heartbeat.map(|lab| (lab.pending, lab.processing)).unwrap_or_default();
    let lab = LabState { state: LabPresence::at(last_sync, now), last_sync, pending, processing };
    Ok(json_response(StatusCode::OK, &lab))
}

fn openapi(call: &Call) -> Response<Body> {
    let etag = etag_of(OPENAPI.as_bytes());
    if is_known(call.headers(), &etag) {
        return not_modified(etag);
    }
    tagged(raw_json_response(StatusCode::OK, Body::from(OPENAPI)), etag)
}
