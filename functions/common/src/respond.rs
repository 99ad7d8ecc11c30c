use bcrlapi_api::Problem;
use bcrlapi_domain::OwnerScope;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
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
    // A result is whatever a program wrote: no browser is to take it for a page.
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Mutex;

    use bcrlapi_api::{ProblemBody, Route};
    use lambda_http::aws_lambda_events::apigw::ApiGatewayProxyRequest;
    use lambda_http::request::LambdaRequest;
    use tempfile::NamedTempFile;

    use super::*;

    #[tokio::test]
    async fn what_the_caller_is_not_told_is_in_the_log_under_the_callers_request_id() {
        let log = NamedTempFile::new().unwrap();
        let writer = Mutex::new(log.reopen().unwrap());
        let _logs = tracing::subscriber::set_default(tracing_subscriber::fmt().with_writer(writer).finish());
        let mut event = ApiGatewayProxyRequest::default();
        event.http_method = Method::GET;
        event.request_context.resource_path = Some(Route::Lab.template().to_owned());
        event.request_context.request_id = Some("request-7".to_owned());
        event.request_context.identity.account_id = Some("123456789012".to_owned());
        event.request_context.identity.caller = Some("AIDAALICE".to_owned());
        let request = Request::from(LambdaRequest::ApiGatewayV1(event));
        let response =
            respond(OwnerScope::Principal, request, async |_| Err(Problem::unavailable("throttled by table t"))).await;
        let problem: ProblemBody = serde_json::from_slice(response.body()).unwrap();
        assert_eq!((problem.code(), problem.instance.as_str()), ("unavailable", "request-7"));
        assert!(!serde_json::to_string(&problem).unwrap().contains("throttled"), "{problem:?}");
        let logged = fs::read_to_string(log.path()).unwrap();
        assert!(logged.contains("throttled by table t") && logged.contains("request-7"), "{logged}");
    }
}
