//! What comes back: from the API, or from somebody between here and it.

use std::time::{Duration, SystemTime};

use bcrlapi_api::ProblemBody;
use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use serde::de::DeserializeOwned;

use crate::ClientError;
use crate::error::{chain, root_cause};

/// More than the largest answer of API Gateway (10 MB): a body that has no end is not read to it.
const ANSWER_MAX_BYTES: usize = 16 << 20;
/// How much of an answer that is not the API's is shown.
const SHOWN_MAX_CHARS: usize = 120;
/// A pause that is asked for is at most so long: a date far away is a slip.
const RETRY_AFTER_MAX_S: f64 = 86_400.0;

/// An answer, all of it.
#[derive(Debug)]
pub(crate) struct Answer {
    host: String,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Reads the body. The inner error is an answer that is too large to be the API's.
    pub(crate) async fn read(
        host: &str,
        mut response: reqwest::Response,
    ) -> Result<Result<Self, ClientError>, reqwest::Error> {
        let mut answer = Self {
            host: host.to_owned(),
            status: response.status(),
            headers: response.headers().clone(),
            body: Vec::new(),
        };
        while let Some(chunk) = response.chunk().await? {
            if answer.body.len() + chunk.len() > ANSWER_MAX_BYTES {
                return Ok(Err(answer.unexpected("more than any answer of the API".to_owned())));
            }
            answer.body.extend_from_slice(&chunk);
        }
        Ok(Ok(answer))
    }

    /// The answer, where it is not a refusal.
    pub(crate) fn accepted(self) -> Result<Self, ClientError> {
        if self.status.is_success() { Ok(self) } else { Err(self.refused()) }
    }

    /// Refuses a web page: whoever serves one in the place of the API is to be named, not what it lacks.
    pub(crate) fn refuse_page(&self) -> Result<(), ClientError> {
        if self.is_page() { Err(self.unexpected(self.in_a_few_words())) } else { Ok(()) }
    }

    /// What it says of why not.
    pub(crate) fn refused(&self) -> ClientError {
        let location = self.headers.get(LOCATION).filter(|_| self.status.is_redirection());
        if let Some(location) = location {
            return ClientError::Redirected {
                host: self.host.clone(),
                status: self.status,
                location: without_secrets(&String::from_utf8_lossy(location.as_bytes())),
            };
        }
        match serde_json::from_slice::<ProblemBody>(&self.body) {
            Ok(problem) => ClientError::Refused { problem: Box::new(problem), retry_after: retry_after(&self.headers) },
            Err(_) => self.unexpected(self.in_a_few_words()),
        }
    }

    /// The JSON that is in it.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            tracing::debug!(%error, "not the JSON that was expected");
            self.unexpected(self.in_a_few_words())
        })
    }

    /// AWS's name for the request.
    pub(crate) fn request_id(&self) -> Option<&str> {
        let names = ["x-amzn-requestid", "x-amz-request-id"];
        names.iter().find_map(|name| self.headers.get(*name)?.to_str().ok())
    }

    fn unexpected(&self, what: String) -> ClientError {
        ClientError::Unexpected {
            host: self.host.clone(),
            status: self.status,
            what,
            request_id: self.request_id().map(str::to_owned),
            retry_after: retry_after(&self.headers),
        }
    }

    fn is_page(&self) -> bool {
        let kind = self.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        kind.starts_with(b"text/html") || self.body.trim_ascii_start().starts_with(b"<")
    }

    fn in_a_few_words(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let text = text.trim();
        if text.is_empty() {
            return "an empty answer".to_owned();
        }
        if self.is_page() {
            let title = title_of(text).map(|title| format!(" with the title {title:?}")).unwrap_or_default();
            return format!("a web page{title}, such as that of a proxy or of a login");
        }
        let shown: String = text.chars().take(SHOWN_MAX_CHARS).collect();
        let dots = if shown.len() < text.len() { "..." } else { "" };
        format!("{shown}{dots}")
    }
}

/// No answer at all.
pub(crate) fn unreachable(host: &str, error: reqwest::Error, limit: Duration) -> ClientError {
    let may_have_arrived = !error.is_connect() && !error.is_builder();
    let reason = if error.is_timeout() {
        let what = if may_have_arrived { "no whole answer" } else { "no connection" };
        format!("{what} within {} s", limit.as_secs())
    } else {
        root_cause(&error)
    };
    tracing::debug!(error = chain(&error.without_url()), "the way is not free");
    ClientError::Unreachable { host: host.to_owned(), reason, may_have_arrived }
}

/// Host and port of a URL.
pub(crate) fn host_of(url: &str) -> String {
    let authority = url.parse::<Uri>().ok().and_then(|uri| uri.authority().map(ToString::to_string));
    authority.unwrap_or_else(|| "the API".to_owned())
}

/// The pause that is asked for: in seconds, also parts of one, or until a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(date) = httpdate::parse_http_date(text) {
        let pause = date.duration_since(SystemTime::now()).unwrap_or_default();
        return Some(pause.min(Duration::from_secs_f64(RETRY_AFTER_MAX_S)));
    }
    let seconds: f64 = text.parse().ok().filter(|seconds: &f64| seconds.is_finite())?;
    Some(Duration::from_secs_f64(seconds.clamp(0.0, RETRY_AFTER_MAX_S)))
}

/// What stands behind a question mark, or in front of an @, may be a secret.
fn without_secrets(location: &str) -> String {
    let end = location.find(['?', '#']).unwrap_or(location.len());
    let shown: String = location[..end].chars().take(SHOWN_MAX_CHARS).collect();
    match shown.split_once("://") {
        Some((scheme, rest)) => {
            let authority_end = rest.find('/').unwrap_or(rest.len());
            let host_start = rest[..authority_end].rfind('@').map_or(0, |at| at + 1);
            format!("{scheme}://{}", &rest[host_start..])
        }
        None => shown,
    }
}

fn title_of(html: &str) -> Option<String> {
    let lower = html.to_ascii_lowercase();
    let start = lower.find("<title>")? + "<title>".len();
    let end = start + lower[start..].find("</title>")?;
    Some(html[start..end].trim().chars().take(SHOWN_MAX_CHARS).collect())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let status = StatusCode::from_u16(status).unwrap();
        Answer { host: "api.example".to_owned(), status, headers, body: body.as_bytes().to_vec() }
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_is_told_as_such() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let impatient = reqwest::Client::builder().no_proxy().timeout(Duration::from_millis(1)).build().unwrap();
        let error = impatient.get(url).send().await.unwrap_err();
        let error = unreachable("api.example", error, Duration::from_secs(40));
        assert_eq!(error.to_string(), "cannot reach api.example: no whole answer within 40 s");
    }

    #[tokio::test]
    async fn a_request_that_found_nobody_has_not_arrived() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let error = unreachable("x", http.get(format!("http://{free}")).send().await.unwrap_err(), Duration::ZERO);
        assert!(!error.may_have_arrived());
        assert_eq!(error.to_string(), "cannot reach x: Connection refused (os error 111)");
    }

    #[test]
    fn a_pause_may_be_a_number_a_part_of_one_or_a_date() {
        let pause = |text: &str| retry_after(&answer(503, &[("retry-after", text)], "").headers);
        assert_eq!(pause("7"), Some(Duration::from_secs(7)));
        assert_eq!(pause(" 1.5 "), Some(Duration::from_millis(1500)));
        assert_eq!(pause("-3"), Some(Duration::ZERO));
        assert_eq!(pause("1e300"), Some(Duration::from_hours(24)));
        assert_eq!(pause("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO), "it is over");
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(90));
        assert!(pause(&soon).is_some_and(|pause| pause > Duration::from_mins(1)));
        for nonsense in ["", "soon", "NaN", "inf"] {
            assert_eq!(pause(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn what_is_not_the_apis_is_named() {
        let said = |status, headers: &[_], body: &str| answer(status, headers, body).refused().to_string();
        let portal = "<!DOCTYPE html><html><head><TITLE> Log in </TITLE></head></html>";
        assert_eq!(
            said(511, &[], portal),
            "api.example does not answer as the API does: a web page with the title \"Log in\", such as that of a proxy \
             or of a login (HTTP 511)"
        );
        assert_eq!(
            said(403, &[("x-amzn-requestid", "1-2")], r#"{"message":"Forbidden"}"#),
            "api.example does not answer as the API does: {\"message\":\"Forbidden\"} (HTTP 403, request 1-2)"
        );
        assert!(said(502, &[], "").contains("an empty answer"));
        let error = answer(200, &[], portal).parse::<ProblemBody>().unwrap_err().to_string();
        assert!(error.contains("a web page"), "{error}");
    }

    #[test]
    fn a_redirect_is_told_without_what_may_be_secret() {
        let location = "https://joe:SECRET@portal.example/login?token=SECRET";
        assert_eq!(
            answer(307, &[("location", location)], "").refused().to_string(),
            "api.example answers with a redirect (HTTP 307) to https://portal.example/login; nothing was sent there"
        );
    }
}
