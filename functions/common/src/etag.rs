//! `ETag` and `If-None-Match` (RFC 9110, 13.1.2): an answer that the caller has already is not sent again.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use lambda_http::Body;
use sha2::{Digest, Sha256};

/// What a cache may do with an answer (RFC 9111). No shared cache may keep any.
#[derive(Clone, Copy, Debug)]
pub enum Caching {
    /// The caller's own cache keeps it, and asks each time: whether it is still the caller's is checked here.
    Revalidate,
    /// None keeps it. A result would outlive its week on the disk of whoever looked at it; a caller who has it in a
    /// file of its own may send the tag all the same.
    Never,
}

impl Caching {
    fn header(self) -> HeaderValue {
        match self {
            Self::Revalidate => HeaderValue::from_static("private, no-cache"),
            Self::Never => HeaderValue::from_static("private, no-store"),
        }
    }
}

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
pub fn tagged(mut response: Response<Body>, etag: HeaderValue, caching: Caching) -> Response<Body> {
    response.headers_mut().insert(ETAG, etag);
    response.headers_mut().insert(CACHE_CONTROL, caching.header());
    response
}

/// The answer to a caller who has it already.
pub fn not_modified(etag: HeaderValue, caching: Caching) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    tagged(response, etag, caching)
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
