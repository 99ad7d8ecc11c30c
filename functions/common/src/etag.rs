//! `ETag` and `If-None-Match` (RFC 9110, 13.1.2): an answer that the caller has already is not sent again.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use lambda_http::Body;
use sha2::{Digest, Sha256};

/// The caller's own copy may be kept, and is asked for each time: whether it is still the caller's is checked here.
const REVALIDATE: HeaderValue = HeaderValue::from_static("private, no-cache");

/// The tag of a body.
pub fn etag_of(body: &[u8]) -> HeaderValue {
    let tag = format!("\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(body)));
    HeaderValue::from_str(&tag).expect("base64 is readable in a header")
}

/// Whether the caller has what the tag stands for.
pub fn is_known(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known.flat_map(|list| list.split(',')).map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

/// The answer with its tag.
pub fn tagged(mut response: Response<Body>, etag: HeaderValue) -> Response<Body> {
    response.headers_mut().insert(ETAG, etag);
    response.headers_mut().insert(CACHE_CONTROL, REVALIDATE);
    response
}

/// The answer to a caller who has it already.
pub fn not_modified(etag: HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    tagged(response, etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_known_in_a_list_weakly_or_by_a_star() {
        let etag = etag_of(b"{}");
        let text = etag.to_str().unwrap();
        let is_known = |value: &str| is_known(&HeaderMap::from_iter([(IF_NONE_MATCH, value.parse().unwrap())]), &etag);
        for known in [text, "*", &format!("W/{text}"), &format!("\"a\", {text}")] {
            assert!(is_known(known), "{known}");
        }
        for unknown in ["", "\"a\"", text.trim_matches('"')] {
            assert!(!is_known(unknown), "{unknown}");
        }
    }
}
