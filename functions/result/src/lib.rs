//! `result`: the bytes that the lab's program wrote, or a link to them. Reads the job's row, then its response object.

use std::time::Duration;

use bcrlapi_api::content_digest::{self, CONTENT_DIGEST};
use bcrlapi_api::{JobResource, Problem, ProblemKind, ResultLink, Route};
use bcrlapi_cloud::JobStore;
use bcrlapi_common::{
    Answer, Caching, Call, Deployment, etag_of, is_known, json_response, not_modified, raw_json_response, respond,
    store_problem, tagged,
};
use bcrlapi_domain::{Job, Outcome, Payload, State};
use chrono::{DateTime, SubsecRound, Utc};
use http::{HeaderValue, Response, StatusCode};
use lambda_http::{Body, Request};

/// The largest body that one answer carries, in bytes as they are encoded in the function's own answer.
///
/// Lambda allows 6,291,556 bytes for the whole of it; the rest is for status and headers. Source: Lambda quotas.
const RESULT_MAX_ENCODED_BYTES: u64 = 6_291_556 - 16_384;

/// How long a link works; less where the job's own end comes before, and never no time at all.
const LINK_MAX: Duration = Duration::from_mins(15);
const LINK_MIN: Duration = Duration::from_secs(1);

/// Answers one call that came in at `now`.
pub async fn handle(deployment: &Deployment, request: Request, now: DateTime<Utc>) -> Response<Body> {
    let store = &deployment.store;
    respond(deployment.owner_scope, request, async |call: Call| match call.route {
        Some(Route::Result) => result(store, &call, now).await,
        Some(Route::ResultLink) => link(store, &call, now).await,
        _ => Err(call.no_such_route()),
    })
    .await
}

async fn result(store: &JobStore, call: &Call, now: DateTime<Utc>) -> Answer {
    let job = call.own_job(store, now).await?;
    let response = succeeded(&job)?;
    let etag = etag_of(response.sha256.as_bytes());
    if is_known(call.headers(), &etag) {
        return Ok(not_modified(etag, Caching::Never));
    }
    let too_large =
        |problem| Problem { link: Some(JobResource::new(&job, &call.base_url).links.result_link), ..problem };
    check_size(response.size_bytes).map_err(too_large)?;
    let bytes = store.read_response(job.id, response).await.map_err(store_problem)?;
    let bytes = bytes.ok_or_else(|| Problem::internal(format!("the response object of job {} is missing", job.id)))?;
    let text = String::from_utf8(bytes.into()).map_err(Problem::internal)?;
    check_size(encoded_bytes(&text)).map_err(too_large)?;
    let mut answer = tagged(raw_json_response(StatusCode::OK, Body::Text(text)), etag, Caching::Never);
    let digest = HeaderValue::from_str(&content_digest::render(&response.sha256)).map_err(Problem::internal)?;
    answer.headers_mut().insert(CONTENT_DIGEST, digest);
    Ok(answer)
}

async fn link(store: &JobStore, call: &Call, now: DateTime<Utc>) -> Answer {
    let job = call.own_job(store, now).await?;
    let response = succeeded(&job)?;
    let valid = (job.id.expiry_date() - now).to_std().unwrap_or_default().clamp(LINK_MIN, LINK_MAX);
    // S3 counts whole seconds.
    let valid = Duration::from_secs(valid.as_secs());
    let link = ResultLink {
        url: store.response_link(job.id, valid).await.map_err(store_problem)?,
        // The signature knows whole seconds too.
        expires_at: now.trunc_subsecs(0) + valid,
        size: response.size_bytes,
        content_digest: content_digest::render(&response.sha256),
    };
    Ok(json_response(StatusCode::OK, &link))
}

/// How far the job is, or how it ended, in a word.
fn describe(state: State) -> &'static str {
    state.outcome().map_or(state.status().as_str(), Outcome::as_str)
}

/// The response of a job that has one; otherwise why it has none.
fn succeeded(job: &Job) -> Result<&Payload, Problem> {
    let reason =
        || job.error.clone().unwrap_or_else(|| format!("job {} has no result: it is {}", job.id, describe(job.state)));
    match (job.state, &job.response) {
        (State::Done(Outcome::Succeeded), Some(response)) => Ok(response),
        (State::Done(Outcome::Succeeded), None) => {
            Err(Problem::internal(format!("job {} succeeded, but its row knows no response", job.id)))
        }
        (State::Done(Outcome::Failed), _) => Err(Problem::new(ProblemKind::JobFailed, reason())),
        (State::Done(Outcome::Canceled), _) => Err(Problem::new(ProblemKind::JobCanceled, reason())),
        (State::Done(Outcome::Lost), _) => Err(Problem::new(ProblemKind::JobLost, reason())),
        (State::Pending | State::Processing, _) => {
            let detail = format!("job {} is {}; ask again later", job.id, job.state.status().as_str());
            Err(Problem::new(ProblemKind::ResultNotReady, detail))
        }
    }
}

fn check_size(bytes: u64) -> Result<(), Problem> {
    if bytes <= RESULT_MAX_ENCODED_BYTES {
        return Ok(());
    }
    let detail = format!(
        "the result takes {bytes} bytes; one answer carries at most {RESULT_MAX_ENCODED_BYTES}; follow the link"
    );
    Err(Problem::new(ProblemKind::ResultTooLarge, detail))
}

/// How many bytes the text takes inside the JSON string that Lambda hands to API Gateway.
fn encoded_bytes(text: &str) -> u64 {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0x00..=0x1f => 6,
        _ => 1,
    };
    text.bytes().map(escaped).sum()
}

#[cfg(test)]
mod tests {
    use bcrlapi_domain::Owner;

    use super::*;

    #[test]
    fn a_job_without_a_result_says_why() {
        let id = "018aef2c-7a00-7000-8000-000000000001".parse().unwrap();
        let payload = Payload { size_bytes: 0, sha256: String::new() };
        let owner = Owner::from_identity("1", "AIDA").unwrap();
        let job = Job::requested(id, "soc".parse().unwrap(), owner, payload.clone());
        for (state, response, code) in [
            (State::Pending, None, "result-not-ready"),
            (State::Processing, None, "result-not-ready"),
            (State::Done(Outcome::Succeeded), None, "internal"),
            (State::Done(Outcome::Failed), None, "job-failed"),
            (State::Done(Outcome::Canceled), None, "job-canceled"),
            (State::Done(Outcome::Lost), Some(payload.clone()), "job-lost"),
        ] {
            let job = Job { state, response, ..job.clone() };
            assert_eq!(succeeded(&job).unwrap_err().kind.code(), code, "{state:?}");
        }
        let job = Job { state: State::Done(Outcome::Succeeded), response: Some(payload.clone()), ..job };
        assert_eq!(succeeded(&job).unwrap(), &payload);
    }

    #[test]
    fn escaping_is_counted_as_serde_json_does_it() {
        for text in ["", "{\"a\": \"b\\\\c\"}\n", "\u{1}\t\r\u{8}\u{c}", "充電率 92.5 %", "\u{7f}"] {
            let with_quotes = serde_json::to_string(text).unwrap().len() as u64;
            assert_eq!(encoded_bytes(text), with_quotes - 2, "{text:?}");
        }
    }
}
