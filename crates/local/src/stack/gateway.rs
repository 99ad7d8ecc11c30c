//! What stands in front of the functions: checks the signature, finds the route, and hands the function the event that
//! API Gateway would.

use std::net::{IpAddr, TcpListener};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::serve::Listener;
use bcrlapi::Signer;
use bcrlapi_agent::refuse_page;
use bcrlapi_api::{Function, Problem, ProblemKind};
use bcrlapi_common::problem_response;
use chrono::{TimeDelta, Utc};
use http_body_util::LengthLimitError;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::event::EVENT_MAX_BYTES;
use super::{Authorizer, Principal, REGION, event};

/// The largest body that passes. Source: API Gateway quotas, "Payload size".
const BODY_MAX_BYTES: usize = 10 * 1024 * 1024;
/// How far the caller's clock may be off. Source: API Gateway's answer "Signature expired".
const CLOCK_SKEW_MAX: TimeDelta = TimeDelta::minutes(5);

struct Gateway {
    /// What the functions need; `submit` needs the most.
    state: bcrlapi_submit::State,
    principals: Vec<Principal>,
    /// Where it listens.
    address: IpAddr,
}

/// Serves until `stop`.
pub(super) fn serve(
    listener: TcpListener,
    state: bcrlapi_submit::State,
    principals: Vec<Principal>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let address = listener.local_addr()?.ip();
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let app = Router::new().fallback(answer).with_state(Arc::new(Gateway { state, principals, address }));
    tokio::spawn(serve_connections(listener, app, stop));
    Ok(())
}

/// Until `stop`; then what has begun is finished.
async fn serve_connections(mut listener: tokio::net::TcpListener, app: Router, stop: CancellationToken) {
    let mut http = http1::Builder::new();
    // A client that has said all it has to say may close its half of the connection, and still wants the answer.
    http.half_close(true).timer(TokioTimer::new());
    let graceful = GracefulShutdown::new();
    while let Some((socket, _)) = stop.run_until_cancelled(Listener::accept(&mut listener)).await {
        // Answers are small, and somebody waits for each.
        let _ = socket.set_nodelay(true);
        let connection = http.serve_connection(TokioIo::new(socket), TowerToHyperService::new(app.clone()));
        tokio::spawn(graceful.watch(connection));
    }
    graceful.shutdown().await;
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
        let forbidden = |reason: &str| Problem::new(ProblemKind::Forbidden, reason);
        // The deployed API has a host of its own and TLS; here a page could play a caller's host.
        refuse_page(&parts.headers, self.address).map_err(forbidden)?;
        let body = to_bytes(body, BODY_MAX_BYTES).await.map_err(unreadable)?;

        let authorizer = Authorizer {
            principals: &self.principals,
            region: REGION,
            service: Signer::SERVICE,
            clock_skew_max: CLOCK_SKEW_MAX,
        };
        let caller = authorizer.authorize(&parts, &body, Utc::now());
        let caller = caller.map_err(|refused| forbidden(&refused.to_string()))?;

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
