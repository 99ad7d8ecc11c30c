//! `status`: how far a job is. Only reads the table.

use bcrlapi_api::JobResource;
use bcrlapi_api::routes::{RETRY_AFTER_S, Route};
use bcrlapi_cloud::JobStore;
use bcrlapi_common::{Answer, Call, json_response, respond};
use chrono::{DateTime, Utc};
use http::header::RETRY_AFTER;
use http::{Response, StatusCode};
use lambda_http::{Body, Request};

/// Answers one call that came in at `now`.
pub async fn handle(store: &JobStore, request: Request, now: DateTime<Utc>) -> Response<Body> {
    respond(request, async |call: Call| match call.route {
        Some(Route::Status) => status(store, &call, now).await,
        _ => Err(call.method_not_allowed()),
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
