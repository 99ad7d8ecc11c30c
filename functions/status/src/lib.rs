//! `status`: how far a job is. Only reads the table.

use bcrlapi_api::JobResource;
use bcrlapi_api::routes::{RETRY_AFTER_S, Route};
use bcrlapi_cloud::JobStore;
use bcrlapi_common::{Answer, Call, Deployment, json_response, respond};
use chrono::{DateTime, Utc};
use http::header::RETRY_AFTER;
use http::{Response, StatusCode};
use lambda_http::{Body, Request};

/// Answers one call that came in at `now`.
pub async fn handle(deployment: &Deployment, request: Request, now: DateTime<Utc>) -> Response<Body> {
    let store = &deployment.store;
    respond(deployment.owner_scope, request, async |call: Call| match call.route {
        Some(Route::Status) => status(store, &call, now).await,
        _ => Err(call.no_such_route()),
    })
    .await
}

async fn status(store: &JobStore, call: &Call, now: DateTime<Utc>) -> Answer {
    let job = call.own_job(store, now).await?;
    let mut response = json_response(StatusCode::OK, &JobResource::new(&job, &call.base_url));
    if !job.state.is_done() {
        response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S.into());
    }
    Ok(response)
}
