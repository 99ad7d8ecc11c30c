//! A request as API Gateway (REST, Lambda proxy) hands it to a function.

use std::borrow::Cow;
use std::collections::HashMap;

use bcrlapi_api::{Function, Route};
use http::header::HOST;
use http::request::Parts;
use http::{HeaderName, HeaderValue};
use lambda_http::aws_lambda_events::apigw::ApiGatewayProxyRequest;
use lambda_http::request::LambdaRequest;
use lambda_http::{Body, Request};
use percent_encoding::percent_decode_str;

use super::Principal;

/// The largest event that a function is handed, as JSON. Source: Lambda quotas, "Invocation payload".
pub(super) const EVENT_MAX_BYTES: usize = 6 * 1024 * 1024;
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Where a path that is none of the API's leads: the function there says so.
const ANY_OTHER: (&str, Function) = ("/{proxy+}", Function::Status);

/// Which template a path fits, whatever the method; who serves it; and its parameters.
pub(super) struct Matched {
    template: &'static str,
    pub(super) function: Function,
    parameters: HashMap<String, String>,
}

/// Finds the template that the path fits.
pub(super) fn match_path(path: &str) -> Matched {
    let matched = Route::ALL.into_iter().find_map(|route| {
        let parameters = fit(route.template(), path)?;
        Some(Matched { template: route.template(), function: route.function(), parameters })
    });
    let (template, function) = ANY_OTHER;
    matched.unwrap_or_else(|| Matched { template, function, parameters: HashMap::new() })
}

/// The request that a function gets, with the caller's identity filled in; none where Lambda would not take the event.
pub(super) fn to_lambda_request(
    parts: Parts,
    body: Vec<u8>,
    matched: Matched,
    caller: &Principal,
    request_id: &str,
) -> Option<Request> {
    let path = parts.uri.path().to_owned();
    let mut event = ApiGatewayProxyRequest::default();
    event.resource = Some(matched.template.to_owned());
    event.path = Some(path.clone());
    event.http_method = parts.method.clone();
    event.path_parameters = matched.parameters;
    event.multi_value_query_string_parameters = parts.uri.query().unwrap_or_default().parse().unwrap_or_default();

    let context = &mut event.request_context;
    context.account_id = Some(Principal::ACCOUNT_ID.to_owned());
    context.request_id = Some(request_id.to_owned());
    context.resource_path = Some(matched.template.to_owned());
    context.path = Some(path);
    context.http_method = parts.method;
    context.domain_name = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
    context.identity.account_id = Some(caller.account_id.clone());
    context.identity.caller = Some(caller.caller.clone());
    context.identity.user = Some(caller.caller.clone());
    context.identity.user_arn = Some(caller.user_arn.clone());
    context.identity.access_key = Some(caller.access_key_id.clone());

    event.multi_value_headers = parts.headers;
    event.multi_value_headers.values_mut().for_each(make_readable);
    event.multi_value_headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    // The deployed API takes every media type for a binary one, so that a body's size in the event is the same whatever
    // is in it: base64.
    let encoded_bytes = body.len().div_ceil(3) * 4;
    if serde_json::to_vec(&event).ok()?.len() + encoded_bytes > EVENT_MAX_BYTES {
        return None;
    }
    let mut request = Request::from(LambdaRequest::ApiGatewayV1(event));
    // Set here and not in the event, where the bytes would first have to become base64 and back.
    *request.body_mut() = if body.is_empty() { Body::Empty } else { Body::Binary(body) };
    Some(request)
}

/// An event is JSON: bytes that are no text are replaced, and a function that reads this header refuses it.
fn make_readable(value: &mut HeaderValue) {
    if let Cow::Owned(readable) = String::from_utf8_lossy(value.as_bytes())
        && let Ok(readable) = HeaderValue::from_str(&readable)
    {
        *value = readable;
    }
}

fn fit(template: &str, path: &str) -> Option<HashMap<String, String>> {
    let mut parameters = HashMap::new();
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(parameters),
            (Some(wanted), Some(given)) => match wanted.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                Some(name) if !given.is_empty() => {
                    parameters.insert(name.to_owned(), percent_decode_str(given).decode_utf8_lossy().into_owned());
                }
                None if wanted == given => {}
                _ => return None,
            },
            _ => return None,
        }
    }
}
