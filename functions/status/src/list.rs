//! The caller's own jobs.

use std::str::FromStr;

use bcrlapi_api::{JobList, JobResource, Problem, ProblemKind};
use bcrlapi_cloud::{JobFilter, JobStore};
use bcrlapi_common::{Answer, Call, json_response, store_problem};
use chrono::{DateTime, Utc};
use http::StatusCode;

use crate::cursor;

/// How much of a wrong value is shown.
const SHOWN_MAX_CHARS: usize = 100;

pub(crate) async fn list(store: &JobStore, call: &Call, now: DateTime<Utc>) -> Answer {
    let filter = JobFilter {
        api: parsed(call, "api", "the name of an api")?,
        status: parsed(call, "status", "pending, processing or done")?,
    };
    let limit = limit(call)?;
    let after = call.parameter("cursor").map(|text| cursor::parse(text, &call.owner).ok_or(text)).transpose();
    let after = after.map_err(|text| invalid("cursor", text, "a next_cursor of yours"))?;

    let page = store.list(&call.owner, &filter, after, limit.into(), now).await.map_err(store_problem)?;
    let list = JobList {
        jobs: page.jobs.iter().map(|job| JobResource::new(job, &call.base_url)).collect(),
        next_cursor: page.more_after.map(|id| cursor::render(id, &call.owner)),
    };
    Ok(json_response(StatusCode::OK, &list))
}

fn limit(call: &Call) -> Result<u8, Problem> {
    let Some(text) = call.parameter("limit") else { return Ok(JobList::LIMIT_DEFAULT) };
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let limit = text.parse().ok().filter(|limit| is_number && (1..=JobList::LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| invalid("limit", text, &format!("a number from 1 to {}", JobList::LIMIT_MAX)))
}

fn parsed<T: FromStr>(call: &Call, name: &str, expected: &str) -> Result<Option<T>, Problem> {
    let Some(text) = call.parameter(name) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| invalid(name, text, expected))
}

fn invalid(name: &str, text: &str, expected: &str) -> Problem {
    let text: String = text.chars().take(SHOWN_MAX_CHARS).collect();
    Problem::new(ProblemKind::InvalidParameter, format!("{name} is {text:?}; expected is {expected}"))
}
