//! What stands in front of the functions: checks the signature, finds the route, and hands the function the event that
//! API Gateway would.

use std::net::TcpListener;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::serve::ListenerExt;
use bcrlapi::Signer;
use bcrlapi_api::{Function, Problem, ProblemKind};
use bcrlapi_common::problem_response;
use chrono::Utc;
use http_body_util::LengthLimitError;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::event::EVENT_MAX_BYTES;
use super::{Authorizer, Principal, REGION, event};

/// The largest body that passes. Source: API Gateway quotas, "Payload size".
const BODY_MAX_BYTES: usize = 10 * 1024 * 1024;

struct Gateway {
    /// What the functions need; `submit` needs the most.
    state: bcrlapi_submit::State,
    principals: Vec<Principal>,
}

/// Serves until `stop`.
pub(super) fn serve(
    listener: TcpListener,
    state: bcrlapi_submit::State,
    principals: Vec<Principal>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?.tap_io(|socket| drop(socket.set_nodelay(true)));
    let app = Router::new().fallback(answer).with_state(Arc::new(Gateway { state, principals }));
    tokio::spawn(async move { axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await });
    Ok(())
}

async fn answer(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let request_id = Uuid::new_v4().to_string();
    let answer = gateway.dispatch(request, &request_id).await;
    let mut response = answer.unwrap_or_else(|problem| problem_response(&problem, &request_id));
    if let Ok(id) = request_id.parse() {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response.map(|body| match body {
        lambda_http::Body::Text(text) => Body::from(text),
        lambda_http::Body::Binary(bytes) => Body::from(bytes),
        _ => Body::empty(),
    })
}

impl Gateway {
    async fn dispatch(&self, request: Request, request_id: &str) -> Result<http::Response<lambda_http::Body>, Problem> {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, BODY_MAX_BYTES).await.map_err(unreadable)?;
        let forbidden = |reason: &str| Problem::new(ProblemKind::Forbidden, reason);
        let authorizer = Authorizer { principals: &self.principals, region: REGION, service: Signer::SERVICE };
        let caller = authorizer.authorize(&parts, &body, Utc::now()).map_err(forbidden)?;
        if !event::has_usable_host(&parts) {
            return Err(forbidden("the host header names no host"));
        }
        let matched = event::match_path(parts.uri.path());
        let function = matched.function;
        let request = event::to_lambda_request(parts, body.into(), matched, caller, request_id).ok_or_else(|| {
            let detail = format!("the request takes over {EVENT_MAX_BYTES} bytes with its body as a JSON string");
            Problem::new(ProblemKind::RequestTooLarge, detail)
        })?;
        let deployment = &self.state.deployment;
        Ok(match function {
            Function::Submit => bcrlapi_submit::handle(&self.state, request, Utc::now()).await,
            Function::Status => bcrlapi_status::handle(deployment, request, Utc::now()).await,
            Function::Result => bcrlapi_result::handle(deployment, request, Utc::now()).await,
        })
    }
}

fn unreadable(error: axum::Error) -> Problem {
    if error.into_inner().is::<LengthLimitError>() {
        Problem::new(ProblemKind::RequestTooLarge, format!("the body has over {BODY_MAX_BYTES} bytes"))
    } else {
        Problem::new(ProblemKind::InvalidJson, "the body came to an end before its time")
    }
}
