//! `submit`: the only function that writes. Takes a program's input and makes a job of it, and takes
//! jobs back.

use std::collections::BTreeSet;
use std::num::ParseIntError;
use std::str::FromStr;

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

pub use queue_limit::{CallRate, QueueLimit};

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
    /// many jobs may be open; `BCRLAPI_CALLS_PER_SECOND` and `BCRLAPI_CALLS_AT_ONCE` are how many calls the stage lets in.
    pub async fn from_env() -> anyhow::Result<Self> {
        let listed = bcrlapi_common::optional("BCRLAPI_APIS").unwrap_or_default();
        let names = listed.split(',').map(str::trim).filter(|name| !name.is_empty());
        let apis = names.map(str::parse).collect::<Result<_, _>>().context("BCRLAPI_APIS")?;

        let rate = CallRate {
            per_second: number("BCRLAPI_CALLS_PER_SECOND", bcrlapi_common::optional("BCRLAPI_CALLS_PER_SECOND"))?
                .unwrap_or(CallRate::DEFAULT.per_second),
            at_once: number("BCRLAPI_CALLS_AT_ONCE", bcrlapi_common::optional("BCRLAPI_CALLS_AT_ONCE"))?
                .unwrap_or(CallRate::DEFAULT.at_once),
        };
        let limit = number("BCRLAPI_QUEUE_LIMIT", bcrlapi_common::optional("BCRLAPI_QUEUE_LIMIT"))?;
        let queue_limit = limit.map(|limit| QueueLimit::new(limit, rate));

        Ok(Self { deployment: Deployment::from_env().await?, apis, queue_limit })
    }
}

fn number<T>(name: &'static str, value: Option<String>) -> anyhow::Result<Option<T>>
where
    T: FromStr<Err = ParseIntError>,
{
    value.map(|value| value.parse()).transpose().context(name)
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
