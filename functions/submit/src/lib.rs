//! `submit`: the only function that writes. Takes a program's input and makes a job of it, and takes
//! jobs back.

use std::collections::BTreeSet;

use anyhow::Context;
use bcrlapi_api::Route;
use bcrlapi_common::{Call, Deployment, respond};
use bcrlapi_domain::ApiName;
use chrono::{DateTime, Utc};
use http::Response;
use lambda_http::{Body, Request};

mod cancel;
mod queue_limit;
mod submit;

pub use queue_limit::{CALLS_PER_S, QueueLimit};

/// What the function needs for every call.
#[derive(Clone, Debug)]
pub struct State {
    /// What every function needs.
    pub deployment: Deployment,
    /// The apis that are offered; every well-formed name where none are listed.
    pub apis: BTreeSet<ApiName>,
    /// How many jobs may be open before new ones are refused; any number where there is none.
    pub queue_limit: Option<QueueLimit>,
}

impl State {
    /// Reads the function's environment: `BCRLAPI_APIS` lists the apis, separated by commas; `BCRLAPI_QUEUE_LIMIT` is how
    /// many jobs may be open, and `BCRLAPI_CALLS_PER_SECOND` how many calls the stage lets in.
    pub async fn from_env() -> anyhow::Result<Self> {
        let listed = bcrlapi_common::optional("BCRLAPI_APIS").unwrap_or_default();
        let names = listed.split(',').map(str::trim).filter(|name| !name.is_empty());
        let apis = names.map(str::parse).collect::<Result<_, _>>().context("BCRLAPI_APIS")?;
        let calls_per_s = bcrlapi_common::optional("BCRLAPI_CALLS_PER_SECOND").map(|number| number.parse()).transpose();
        let calls_per_s = calls_per_s.context("BCRLAPI_CALLS_PER_SECOND")?.unwrap_or(CALLS_PER_S);

        let queue_limit = bcrlapi_common::optional("BCRLAPI_QUEUE_LIMIT").map(|limit| limit.parse()).transpose();
        let queue_limit = queue_limit.context("BCRLAPI_QUEUE_LIMIT")?;
        let queue_limit = queue_limit.map(|limit| QueueLimit::new(limit, calls_per_s));

        Ok(Self { deployment: Deployment::from_env().await?, apis, queue_limit })
    }
}

/// Answers one call that came in at `now`.
pub async fn handle(state: &State, request: Request, now: DateTime<Utc>) -> Response<Body> {
    respond(state.deployment.owner_scope, request, async |call: Call| match call.route {
        Some(Route::Submit) => submit::submit(state, call, now).await,
        Some(Route::Cancel) => cancel::cancel(&state.deployment.store, &call, now).await,
        _ => Err(call.no_such_route()),
    })
    .await
}
