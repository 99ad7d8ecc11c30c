//! Checking SigV4, for the gateway as API Gateway's IAM authorizer does, and for DynamoDB. The canonical request is
//! written here by the published rules, and not by the crate that our client signs with: one mistake is not made on both
//! sides.
//!
//! A signature stands in the `authorization` header. One in the query (a presigned URL) is refused: API Gateway would
//! take it, but no caller needs it, and its parameters would go on to functions that know none of them.
//! Source: AWS Identity and Access Management, "Create a signed AWS API request".

use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode, utf8_percent_encode};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Principal;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
pub(super) const DATE_FORMAT: &str = "%Y%m%dT%H%M%SZ";
const DATE: &str = "x-amz-date";
const BODY_SHA256: &str = "x-amz-content-sha256";
const SESSION_TOKEN: &str = "x-amz-security-token";
/// All bytes that are encoded in a query; in a path the slash is not.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const RESERVED_IN_PATH: &AsciiSet = &RESERVED.remove(b'/');

/// Decides who has signed a request to one service in one region.
#[derive(Clone, Copy, Debug)]
pub struct Authorizer<'a> {
    /// Everybody who has keys.
    pub principals: &'a [Principal],
    /// The region that is signed for.
    pub region: &'a str,
    /// The service that is signed for.
    pub service: &'a str,
    /// How far the caller's clock may be off.
    pub clock_skew_max: TimeDelta,
}

/// Why nobody has signed a request, in words for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unauthorized {
    /// There is no signature.
    #[error("the request is not signed; sign it with SigV4")]
    NotSigned,
    /// It was made at another time.
    #[error("the signature's date is more than {} minutes off; set the clock", max.num_minutes())]
    Clock {
        /// When it says that it was made.
        date: DateTime<Utc>,
        /// What time it is.
        now: DateTime<Utc>,
        /// How far they may be apart.
        max: TimeDelta,
    },
    /// Its keys are nobody's.
    #[error("the access key is not known here")]
    UnknownKey,
    /// It is malformed, or another request's.
    #[error("{0}")]
    Wrong(&'static str),
}

impl From<&'static str> for Unauthorized {
    fn from(reason: &'static str) -> Self {
        Self::Wrong(reason)
    }
}

/// What the caller claims in the `authorization` header.
struct Claim<'a> {
    access_key_id: &'a str,
    scope: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Authorizer<'a> {
    /// Who has signed this request; or why nobody has, in words for the caller.
    pub fn authorize(&self, request: &Parts, body: &[u8], now: DateTime<Utc>) -> Result<&'a Principal, Unauthorized> {
        let authorization = header(request, AUTHORIZATION.as_str())?;
        let authorization = authorization.ok_or(Unauthorized::NotSigned)?;
        let claim = Claim::parse(authorization).ok_or("the authorization header is not of SigV4's form")?;
        let date = header_date(request)?;
        if (now - date).abs() > self.clock_skew_max {
            return Err(Unauthorized::Clock { date, now, max: self.clock_skew_max });
        }

        if claim.scope != format!("{}/{}/{}/aws4_request", date.format("%Y%m%d"), self.region, self.service) {
            return Err("the signature is for another date, region or service".into());
        }
        let known = self.principals.iter().find(|principal| principal.access_key_id == claim.access_key_id);
        let principal = known.ok_or(Unauthorized::UnknownKey)?;

        if header(request, SESSION_TOKEN)? != principal.session_token.as_deref() {
            return Err("the session token is not that of the access key".into());
        }

        let key = generate_signing_key(&principal.secret_access_key, date.into(), self.region, self.service);
        let is_signed = canonical_requests(request, claim.signed_headers, body)?.iter().any(|canonical| {
            let (date, digest) = (date.format(DATE_FORMAT), sha256(canonical.as_bytes()));
            let to_sign = format!("{ALGORITHM}\n{date}\n{}\n{digest}", claim.scope);
            let expected = calculate_signature(&key, to_sign.as_bytes());
            expected.as_bytes().ct_eq(claim.signature.as_bytes()).into()
        });
        let mismatch = "the signature does not match; check the secret key and what is signed";
        is_signed.then_some(principal).ok_or(mismatch.into())
    }
}

impl<'a> Claim<'a> {
    fn parse(header: &'a str) -> Option<Self> {
        let fields: Vec<_> = header.strip_prefix(ALGORITHM)?.strip_prefix(' ')?.split(',').map(str::trim).collect();
        let [credential, signed_headers, signature] = fields.as_slice() else { return None };
        let (access_key_id, scope) = credential.strip_prefix("Credential=")?.split_once('/')?;
        let signed_headers = signed_headers.strip_prefix("SignedHeaders=")?;
        let signature = signature.strip_prefix("Signature=")?;
        Some(Self { access_key_id, scope, signed_headers, signature })
    }
}

/// The texts of which one must have been signed. They differ in the query: the rules want each name and value decoded
/// and encoded anew, but botocore takes the query of a URL as it is written. No two queries of different meaning have a
/// text in common.
fn canonical_requests(request: &Parts, signed_headers: &str, body: &[u8]) -> Result<[String; 2], &'static str> {
    let method = request.method.as_str();
    let path = canonical_path(request.uri.path());
    let headers = canonical_headers(request, signed_headers)?;
    let body_sha256 = sha256(body);
    if header(request, BODY_SHA256)?.is_some_and(|claimed| claimed != body_sha256) {
        return Err("the x-amz-content-sha256 header is not the SHA-256 of the body");
    }
    let query = request.uri.query().unwrap_or_default();
    Ok([canonical_query(query, encoded_anew), canonical_query(query, str::to_owned)]
        .map(|query| [method, &path, &query, &headers, signed_headers, &body_sha256].join("\n")))
}

/// Without empty and dot segments, and encoded once more than it was sent.
fn canonical_path(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let end = if path.ends_with('/') && !segments.is_empty() { "/" } else { "" };
    utf8_percent_encode(&format!("/{}{end}", segments.join("/")), RESERVED_IN_PATH).to_string()
}

/// Sorted by names, then by values.
fn canonical_query(query: &str, form: fn(&str) -> String) -> String {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut pairs: Vec<_> = pairs.map(|(name, value)| (form(name), form(value))).collect();
    pairs.sort();
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

fn encoded_anew(part: &str) -> String {
    // Functions read a plus as a space; a plus that is meant is sent as %2B.
    let decoded: Vec<u8> = percent_decode_str(&part.replace('+', " ")).collect();
    percent_encode(&decoded, RESERVED).to_string()
}

/// A line for each signed header. The host must be signed, and all that is for AWS.
fn canonical_headers(request: &Parts, signed_headers: &str) -> Result<String, &'static str> {
    header(request, HOST.as_str())?.ok_or("the request names no host")?;
    let names: Vec<_> = signed_headers.split(';').collect();
    if !names.is_sorted_by(|a, b| a < b) || signed_headers.contains(|letter: char| letter.is_ascii_uppercase()) {
        return Err("the names in SignedHeaders must be in lower case, sorted, and no name twice");
    }
    let for_aws = request.headers.keys().map(HeaderName::as_str).filter(|name| name.starts_with("x-amz-"));
    if for_aws.chain([HOST.as_str()]).any(|name| !names.contains(&name)) {
        return Err("SignedHeaders must name host and each x-amz- header");
    }
    names.into_iter().map(|name| canonical_header(request, name)).collect()
}

fn canonical_header(request: &Parts, name: &str) -> Result<String, &'static str> {
    let mut values = Vec::new();
    for value in request.headers.get_all(name) {
        values.push(readable(value)?.split_ascii_whitespace().collect::<Vec<_>>().join(" "));
    }
    if values.is_empty() {
        return Err("SignedHeaders names a header that is not there");
    }
    Ok(format!("{name}:{}\n", values.join(",")))
}

fn header_date(request: &Parts) -> Result<DateTime<Utc>, &'static str> {
    let date = header(request, DATE)?.and_then(|date| NaiveDateTime::parse_from_str(date, DATE_FORMAT).ok());
    date.map(|date| date.and_utc()).ok_or("the x-amz-date header is missing or not of the form 20261122T093000Z")
}

/// A header that must not come twice.
fn header<'a>(request: &'a Parts, name: &str) -> Result<Option<&'a str>, &'static str> {
    let mut values = request.headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => value.map(readable).transpose(),
        _ => Err("a header of the signature comes twice"),
    }
}

fn readable(value: &HeaderValue) -> Result<&str, &'static str> {
    str::from_utf8(value.as_bytes()).map_err(|_| "a signed header is not readable text")
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
