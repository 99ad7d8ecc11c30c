use bcrlapi_api::Problem;
use bcrlapi_domain::OwnerScope;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, RequestExt};
use serde::Serialize;

use crate::Call;

/// What a use case comes to.
pub type Answer = Result<Response<Body>, Problem>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
/// AWS SDKs and the AWS CLI name an error by this header.
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// Reads the call, runs the use case and writes the answer. What a problem keeps from the caller goes to the log,
/// under the request id that the caller gets.
pub async fn respond(
    scope: OwnerScope,
    request: Request,
    use_case: impl AsyncFnOnce(Call) -> Answer,
) -> Response<Body> {
    let request_id = request_id(&request);
    let answer = match Call::from_request(request, scope) {
        Ok(call) => use_case(call).await,
        Err(problem) => Err(problem),
    };
    answer.unwrap_or_else(|problem| {
        let (code, detail) = (problem.kind.code(), &problem.detail);
        if let Some(cause) = &problem.cause {
            tracing::error!(request_id, code, cause, "request failed");
        } else {
            tracing::info!(request_id, code, detail, "request refused");
        }
        problem_response(&problem, &request_id)
    })
}

/// An answer with a JSON body made from a value.
pub fn json_response(status: StatusCode, body: &impl Serialize) -> Response<Body> {
    let text = serde_json::to_string(body).expect("a wire type is written to memory without fail");
    raw_json_response(status, Body::Text(text))
}

/// An answer with a body that is JSON already.
pub fn raw_json_response(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A problem as an answer.
pub fn problem_response(problem: &Problem, request_id: &str) -> Response<Body> {
    let mut response = json_response(problem.kind.status(), &problem.body(request_id));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, PROBLEM_JSON);
    headers.insert(ERROR_TYPE, HeaderValue::from_static(problem.kind.code()));
    if let Some(seconds) = problem.kind.retry_after_s() {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    let methods: Vec<_> = problem.allow.iter().map(Method::as_str).collect();
    if let Some(allow) = HeaderValue::from_str(&methods.join(", ")).ok().filter(|allow| !allow.is_empty()) {
        headers.insert(ALLOW, allow);
    }
    response
}

fn request_id(request: &Request) -> String {
    match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV1(context)) => context.request_id.clone().unwrap_or_default(),
        _ => String::new(),
    }
}
