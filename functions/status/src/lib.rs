//! `status`: how far jobs are, how the lab is, and what the API offers. Only reads the table.

use bcrlapi_api::routes::{RETRY_AFTER_S, Route};
use bcrlapi_api::{JobResource, LabPresence, LabState};
use bcrlapi_cloud::{Heartbeat, JobStore};
use bcrlapi_common::{
    Answer, Caching, Call, Deployment, etag_of, is_known, json_response, not_modified, raw_json_response, respond,
    store_problem, tagged,
};
use bcrlapi_domain::JobId;
use bcrlapi_domain::limits::RETENTION;
use chrono::{DateTime, Utc};
use http::header::RETRY_AFTER;
use http::{Response, StatusCode};
use lambda_http::{Body, Request};

mod cursor;
mod list;
mod metrics;

pub use metrics::{Measured, metrics_line};

/// `infra/openapi.yaml` as JSON. Its one server is [`BASE_URL`].
const OPENAPI: &str = include_str!(concat!(env!("OUT_DIR"), "/openapi.json"));
/// Stands for the URL that the caller has asked at, so that a tool that is given what is served finds the API.
const BASE_URL: &str = concat!("\"", env!("OPENAPI_BASE_URL"), "\"");

/// Answers one call that came in at `now`. An answer that says how the lab is carries what was [`Measured`] among its
/// extensions too, for whoever counts: see [`metrics_line`].
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
    let mut response = if is_known(call.headers(), &etag) {
        not_modified(etag, Caching::Revalidate)
    } else {
        tagged(response, etag, Caching::Revalidate)
    };
    if !job.state.is_done() {
        response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S.into());
    }
    Ok(response)
}

async fn lab(store: &JobStore, now: DateTime<Utc>) -> Answer {
    let seen = tokio::try_join!(store.heartbeat(), store.oldest_in_inbox(now));
    let (heartbeat, oldest_in_inbox) = seen.map_err(store_problem)?;
    let processing_since = heartbeat.as_ref().and_then(|lab| lab.processing_since);
    let failed_in_a_row = heartbeat.as_ref().map_or(0, |lab| lab.failed_in_a_row);
    let lab = lab_state(heartbeat, oldest_in_inbox, now);

    let mut response = json_response(StatusCode::OK, &lab);
    let LabState { state: presence, last_sync, waiting_since, .. } = lab;
    let measured = Measured { presence, last_sync, waiting_since, processing_since, failed_in_a_row };
    response.extensions_mut().insert(measured);
    Ok(response)
}

/// A lab that never said anything is offline, with nothing in it. What waits in the cloud the lab may not know of, least of
/// all while it is away; what waits in the lab only its last word tells.
fn lab_state(heartbeat: Option<Heartbeat>, oldest_in_inbox: Option<JobId>, now: DateTime<Utc>) -> LabState {
    let last_sync = heartbeat.as_ref().map(|lab| lab.last_sync);
    let (pending, processing) = heartbeat.as_ref().map(|lab| (lab.pending, lab.processing)).unwrap_or_default();
    // A lab that is away does not say that a job's week is over.
    let in_lab = heartbeat.and_then(|lab| lab.waiting_since).filter(|since| now - *since < RETENTION);
    let waiting_since = in_lab.into_iter().chain(oldest_in_inbox.map(JobId::request_date)).min();
    LabState { state: LabPresence::at(last_sync, now), last_sync, pending, processing, waiting_since }
}

fn openapi(call: &Call) -> Response<Body> {
    let base_url = serde_json::Value::from(call.base_url.as_str()).to_string();
    let document = OPENAPI.replacen(BASE_URL, &base_url, 1);
    let etag = etag_of(document.as_bytes());
    if is_known(call.headers(), &etag) {
        return not_modified(etag, Caching::Revalidate);
    }
    tagged(raw_json_response(StatusCode::OK, Body::from(document)), etag, Caching::Revalidate)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn the_longest_wait_is_the_clouds_or_the_labs() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let ago = |minutes| now - TimeDelta::minutes(minutes);
        let waiting_since = |in_lab: Option<i64>, in_cloud: Option<i64>| {
            let heartbeat = Heartbeat {
                last_sync: ago(0),
                agent_version: String::new(),
                pending: 1,
                processing: 0,
                waiting_since: in_lab.map(ago),
                processing_since: None,
                failed_in_a_row: 0,
                holder: None,
            };
            lab_state(Some(heartbeat), in_cloud.map(ago).map(JobId::earliest), now).waiting_since
        };
        assert_eq!(waiting_since(None, None), None);
        assert_eq!(waiting_since(Some(3), None), Some(ago(3)));
        assert_eq!(waiting_since(None, Some(2)), Some(ago(2)), "while the lab is away it grows too");
        assert_eq!(waiting_since(Some(3), Some(2)), Some(ago(3)));
        assert_eq!(waiting_since(Some(2), Some(3)), Some(ago(3)), "asked back after it was taken");
        assert_eq!(waiting_since(Some(7 * 24 * 60), Some(3)), Some(ago(3)), "that one is over");
    }
}
