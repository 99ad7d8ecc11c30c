//! A job is taken back, as far as that can still be done.

use bcrlapi_api::routes::RETRY_AFTER_S;
use bcrlapi_api::{JobResource, Problem, ProblemKind};
use bcrlapi_cloud::JobStore;
use bcrlapi_common::{Answer, Call, json_response, store_problem};
use bcrlapi_domain::{Outcome, State};
use chrono::{DateTime, Utc};
use http::StatusCode;
use http::header::RETRY_AFTER;

pub(crate) async fn cancel(store: &JobStore, call: &Call, now: DateTime<Utc>) -> Answer {
    let id = call.own_job(store, now).await?.id;
    let job = store.cancel(id, now).await.map_err(store_problem)?;
    let job = job.ok_or_else(|| Problem::internal(format!("the row of job {id} is gone")))?;
    let resource = JobResource::new(&job, &call.base_url);
    match job.state {
        State::Done(Outcome::Canceled) => Ok(json_response(StatusCode::OK, &resource)),
        State::Done(outcome) => {
            let detail = format!("job {id} is done already; its outcome is {}", outcome.as_str());
            Err(Problem::new(ProblemKind::AlreadyDone, detail))
        }
        State::Processing => {
            let detail = format!("job {id} is being processed; only a job that waits can be canceled");
            Err(Problem::new(ProblemKind::NotCancelable, detail))
        }
        State::Pending => {
            let mut response = json_response(StatusCode::ACCEPTED, &resource);
            response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S.into());
            Ok(response)
        }
    }
}
