//! Checking SigV4 as API Gateway does: sign the request again with the caller's secret, and compare.

use std::time::SystemTime;

use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use bcrlapi::Signer;
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use subtle::ConstantTimeEq;

use super::{Principal, REGION};

/// How far the caller's clock may be off. Source: API Gateway's answer "Signature expired".
const CLOCK_SKEW_MAX: TimeDelta = TimeDelta::minutes(5);
const DATE_FORMAT: &str = "%Y%m%dT%H%M%SZ";
const DATE: &str = "x-amz-date";

/// What the caller claims in the `authorization` header.
struct Claim<'a> {
    access_key_id: &'a str,
    scope: &'a str,
    signed_headers: Vec<&'a str>,
    signature: &'a str,
}

/// Who has signed this request; or why nobody has, in words for the caller.
pub(super) fn check<'a>(
    principals: &'a [Principal],
    request: &Parts,
    body: &[u8],
    now: DateTime<Utc>,
) -> Result<&'a Principal, &'static str> {
    let header = header(request, AUTHORIZATION.as_str())?.ok_or("the request is not signed; sign it with SigV4")?;
    let claim = Claim::parse(header).ok_or("the authorization header is not of SigV4's form")?;
    let date = header_date(request)?;
    if (now - date).abs() > CLOCK_SKEW_MAX {
        return Err("the signature's date is more than 5 minutes off; set the clock");
    }
    if claim.scope != format!("{}/{REGION}/{}/aws4_request", date.format("%Y%m%d"), Signer::SERVICE) {
        return Err("the signature is for another date, region or service");
    }
    let known = principals.iter().find(|principal| principal.access_key_id == claim.access_key_id);
    let principal = known.ok_or("the access key is not known here")?;
    let expected = sign_again(principal, request, &claim.signed_headers, body, date.into())
        .ok_or("the request cannot be signed as it is written")?;
    if bool::from(expected.as_bytes().ct_eq(claim.signature.as_bytes())) {
        Ok(principal)
    } else {
        Err("the signature does not match; check the secret key and what is signed")
    }
}

impl<'a> Claim<'a> {
    fn parse(header: &'a str) -> Option<Self> {
        let fields: Vec<_> = header.strip_prefix("AWS4-HMAC-SHA256 ")?.split(',').map(str::trim).collect();
        let [credential, signed_headers, signature] = fields.as_slice() else { return None };
        let (access_key_id, scope) = credential.strip_prefix("Credential=")?.split_once('/')?;
        let signed_headers: Vec<_> = signed_headers.strip_prefix("SignedHeaders=")?.split(';').collect();
        let covers_the_target = [HOST.as_str(), DATE].iter().all(|name| signed_headers.contains(name));
        let signature = signature.strip_prefix("Signature=")?;
        covers_the_target.then_some(Self { access_key_id, scope, signed_headers, signature })
    }
}

fn sign_again(
    principal: &Principal,
    request: &Parts,
    signed_headers: &[&str],
    body: &[u8],
    date: SystemTime,
) -> Option<String> {
    let identity = principal.credentials().into();
    let mut settings = SigningSettings::default();
    settings.excluded_headers = None;
    let params = SigningParams::builder().identity(&identity).region(REGION).name(Signer::SERVICE).time(date);
    let params = params.settings(settings).build().ok()?.into();
    let mut headers = Vec::new();
    for name in signed_headers {
        for value in request.headers.get_all(*name) {
            headers.push((*name, value.to_str().ok()?));
        }
    }
    let url = format!("http://{}{}", header(request, HOST.as_str()).ok()??, request.uri.path_and_query()?);
    let signable =
        SignableRequest::new(request.method.as_str(), url, headers.into_iter(), SignableBody::Bytes(body)).ok()?;
    Some(sign(signable, &params).ok()?.signature().to_owned())
}

fn header_date(request: &Parts) -> Result<DateTime<Utc>, &'static str> {
    let date = header(request, DATE)?.and_then(|date| NaiveDateTime::parse_from_str(date, DATE_FORMAT).ok());
    date.map(|date| date.and_utc()).ok_or("the x-amz-date header is missing or not of the form 20261122T093000Z")
}

/// A header that must not come twice.
fn header<'a>(request: &'a Parts, name: &str) -> Result<Option<&'a str>, &'static str> {
    let mut values = request.headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| "a signed header is not readable text"),
        (Some(_), Some(_)) => Err("a header of the signature comes twice"),
    }
}
