//! Who the gateway lets in: what AWS publishes and what other clients sign, and nothing that was tampered with.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use bcrlapi::Signer;
use bcrlapi_local::{Authorizer, FREE_PORTS, Principal, REGION, Settings, Stack, Unauthorized};
use bcrlapi_tests::{Reply, Request, System};
use chrono::{NaiveDateTime, TimeDelta, Utc};
use http::request::Parts;
use http::{HeaderValue, Method};
use serde::Deserialize;
use serde_json::Value;

const SUBMIT: &str = "/v1/apis/mock/jobs";
const AUTHORIZATION: &str = "authorization";
const DATE_FORMAT: &str = "%Y%m%dT%H%M%SZ";
const MINUTE: Duration = Duration::from_mins(1);

/// Requests with their signatures, and where they come from.
#[derive(Deserialize)]
struct Vectors {
    aws: Group,
    botocore: Group,
    curl: Group,
}

#[derive(Deserialize)]
struct Group {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: String,
    /// Why a gateway has to refuse it.
    left_out: Option<String>,
}

static VECTORS: LazyLock<Vectors> =
    LazyLock::new(|| serde_json::from_str(include_str!("signature.json")).expect("the vectors are of this form"));

impl Vector {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Who the signature is of, with the secret that the publisher names.
    fn principal(&self, access_key_id: &str) -> Principal {
        let published = [
            ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            ("ANOTREAL", "notrealrnrELgWzOk3IfjzDKtFBhDby"),
        ];
        let (_, secret) = published.into_iter().find(|(id, _)| *id == access_key_id).unwrap();
        Principal {
            name: "somebody".to_owned(),
            account_id: "123456789012".to_owned(),
            caller: "AIDAEXAMPLE".to_owned(),
            user_arn: "arn:aws:iam::123456789012:user/somebody".to_owned(),
            access_key_id: access_key_id.to_owned(),
            secret_access_key: secret.to_owned(),
            session_token: self.header("x-amz-security-token").map(str::to_owned),
        }
    }

    /// The request as a gateway sees it, if one can.
    fn request(&self) -> Option<Parts> {
        let request = http::Request::builder().method(self.method.as_str()).uri(&self.target);
        let request = self.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        Some(request.body(()).ok()?.into_parts().0)
    }

    /// What the gateway's verifier says in the vector's own time, region and service.
    fn judge(&self, request: &Parts) -> Result<(), Unauthorized> {
        let scope = self.header(AUTHORIZATION).and_then(|header| header.split(['=', ',']).nth(1)).unwrap();
        let [key, _, region, service, _] = scope.split('/').collect::<Vec<_>>()[..] else { panic!("{scope}") };
        let now = NaiveDateTime::parse_from_str(self.header("x-amz-date").unwrap(), DATE_FORMAT).unwrap();
        let clock_skew_max = TimeDelta::minutes(5);
        let authorizer = Authorizer { principals: &[self.principal(key)], region, service, clock_skew_max };
        authorizer.authorize(request, self.body.as_bytes(), now.and_utc()).map(drop)
    }

    /// Accepted as it is, and refused with any other digit in its signature.
    fn assert_accepted(&self) {
        let mut request = self.request().unwrap();
        assert_eq!(self.judge(&request), Ok(()), "{}", self.name);
        let authorization = self.header(AUTHORIZATION).unwrap();
        for position in authorization.len() - 64..authorization.len() {
            let mut changed = authorization.as_bytes().to_vec();
            changed[position] = if changed[position] == b'0' { b'1' } else { b'0' };
            request.headers.insert(AUTHORIZATION, HeaderValue::from_bytes(&changed).unwrap());
            assert!(self.judge(&request).is_err(), "{} with digit {position} changed", self.name);
        }
    }
}

/// Accepts all vectors but those that are marked, and refuses those.
fn assert_group(group: &Group) {
    for vector in &group.vectors {
        match (&vector.left_out, vector.request()) {
            (None, _) => vector.assert_accepted(),
            (Some(reason), Some(request)) => assert!(vector.judge(&request).is_err(), "{}: {reason}", vector.name),
            (Some(_), None) => {}
        }
    }
}

/// The folder of a package that we are built from.
fn package_of(name: &str) -> PathBuf {
    let output = |command: &mut Command| command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap().stdout;
    let version = String::from_utf8(output(Command::new("rustc").arg("-vV"))).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let metadata = ["metadata", "--format-version", "1", "--filter-platform", host];
    let metadata: Value = serde_json::from_slice(&output(Command::new(env!("CARGO")).args(metadata))).unwrap();
    let package = metadata["packages"].as_array().unwrap().iter().find(|package| package["name"] == name).unwrap();
    Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned()
}

#[test]
fn the_signatures_that_aws_publishes_are_accepted() {
    assert_group(&VECTORS.aws);
}

/// The vectors are those that lie in the package of our signer, all of them, each with the header that stands there.
#[test]
fn no_published_vector_is_missing() {
    let folder = package_of("aws-sigv4").join("aws-signing-test-suite/v4");
    let published: BTreeSet<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let ours: BTreeSet<_> = VECTORS.aws.vectors.iter().map(|vector| vector.name.clone()).collect();
    assert_eq!(ours, published);
    for vector in &VECTORS.aws.vectors {
        let signed = fs::read_to_string(folder.join(&vector.name).join("header-signed-request.txt")).unwrap();
        assert!(signed.starts_with(&format!("{} {}", vector.method, vector.target)), "{signed}");
        assert!(signed.contains(vector.header(AUTHORIZATION).unwrap()), "{signed}");
    }
}

#[test]
fn what_botocore_signs_is_accepted() {
    assert_group(&VECTORS.botocore);
}

#[test]
fn what_curl_signs_is_accepted() {
    assert_group(&VECTORS.curl);
}

/// Changes a request after it was signed.
type Tamper = fn(&mut http::Request<Vec<u8>>);
/// Changes a text.
type Change = fn(&str) -> String;

/// Signs with all that can be chosen; `presigned` puts the signature into the query.
#[derive(Clone, Copy)]
pub(crate) struct Signing<'a> {
    pub(crate) who: &'a Principal,
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
    pub(crate) time: SystemTime,
    pub(crate) presigned: bool,
}

impl<'a> Signing<'a> {
    pub(crate) fn of(who: &'a Principal) -> Self {
        Self { who, region: REGION, service: Signer::SERVICE, time: SystemTime::now(), presigned: false }
    }

    pub(crate) fn sign(&self, request: &mut http::Request<Vec<u8>>) {
        let mut settings = SigningSettings::default();
        if self.presigned {
            settings.signature_location = SignatureLocation::QueryParams;
            settings.expires_in = Some(MINUTE);
        }
        let identity = self.who.credentials().into();
        let params = SigningParams::builder().identity(&identity).region(self.region).name(self.service);
        let params = params.time(self.time).settings(settings).build().unwrap().into();
        let uri = request.uri().to_string();
        let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
        let body = SignableBody::Bytes(request.body());
        let signable = SignableRequest::new(request.method().as_str(), uri, headers, body).unwrap();
        sign(signable, &params).unwrap().into_parts().0.apply_to_request_http1x(request);
    }
}

/// A good request to submit a job.
fn submission(system: &System) -> Request {
    let path = "/v1/apis/mock/jobs?a=1&b=2&b=3";
    system.request(Method::POST, path, r#"{"payload": 1}"#).header("idempotency-key", "one")
}

fn assert_refused(reply: &Reply, what: &str, reason: &str) {
    assert_eq!(reply.status, 403, "{what}: {reply:?}");
    let problem = reply.assert_problem(403, "forbidden");
    assert!(problem.detail.contains(reason), "{what}: {}", problem.detail);
}

fn edit(request: &mut http::Request<Vec<u8>>, name: &'static str, change: impl FnOnce(&str) -> String) {
    let old = request.headers()[name].to_str().unwrap().to_owned();
    let new = change(&old);
    assert_ne!(old, new, "the change changes something");
    request.headers_mut().insert(name, new.parse().unwrap());
}

fn put(request: &mut http::Request<Vec<u8>>, name: &'static str, value: &'static str) {
    request.headers_mut().insert(name, HeaderValue::from_static(value));
}

fn retarget(request: &mut http::Request<Vec<u8>>, from: &str, to: &str) {
    let old = request.uri().to_string();
    assert!(old.contains(from), "{old}");
    *request.uri_mut() = old.replace(from, to).parse().unwrap();
}

const MISMATCH: &str = "does not match";
const FORM: &str = "not of SigV4's form";
const SCOPE: &str = "another date, region or service";
const NAMES: &str = "lower case, sorted";

const TAMPERED_CONTENT: [(&str, &str, Tamper); 25] = [
    ("another body under the same signature", MISMATCH, |request| *request.body_mut() = b"{\"payload\": 2}".to_vec()),
    ("no body", MISMATCH, |request| request.body_mut().clear()),
    ("another method", MISMATCH, |request| *request.method_mut() = Method::PUT),
    ("another path", MISMATCH, |request| retarget(request, "mock", "soc")),
    ("a path that is written otherwise", MISMATCH, |request| retarget(request, "mock", "m%6Fck")),
    ("a parameter more", MISMATCH, |request| retarget(request, "b=3", "b=3&c=4")),
    ("a parameter less", MISMATCH, |request| retarget(request, "&b=3", "")),
    ("a parameter twice", MISMATCH, |request| retarget(request, "a=1", "a=1&a=1")),
    ("a value changed", MISMATCH, |request| retarget(request, "b=2", "b=4")),
    ("a name changed", MISMATCH, |request| retarget(request, "a=", "A=")),
    ("values of two names exchanged", MISMATCH, |request| retarget(request, "a=1&b=2", "a=2&b=1")),
    ("a plus for nothing", MISMATCH, |request| retarget(request, "a=1", "a=1+")),
    ("no query", MISMATCH, |request| retarget(request, "?a=1&b=2&b=3", "")),
    ("a signed header changed", MISMATCH, |request| edit(request, "idempotency-key", |_| "two".to_owned())),
    ("a signed header twice", MISMATCH, |request| {
        request.headers_mut().append("idempotency-key", HeaderValue::from_static("two"));
    }),
    ("a signed header gone", "a header that is not there", |request| {
        drop(request.headers_mut().remove("idempotency-key"));
    }),
    ("a signed header that is no text", "not readable text", |request| {
        drop(request.headers_mut().insert("idempotency-key", HeaderValue::from_bytes(b"\xff").unwrap()));
    }),
    ("another host", MISMATCH, |request| put(request, "host", "127.0.0.1:1")),
    ("an unsigned header for AWS", "each x-amz- header", |request| put(request, "x-amz-meta", "1")),
    ("an unsigned body hash", "each x-amz- header", |request| put(request, "x-amz-content-sha256", "UNSIGNED-PAYLOAD")),
    ("a session token added", "session token", |request| put(request, "x-amz-security-token", "token")),
    ("no date", "x-amz-date header is missing", |request| drop(request.headers_mut().remove("x-amz-date"))),
    ("a date of another form", "x-amz-date header is missing", |request| {
        edit(request, "x-amz-date", |date| date.replace('Z', "+0900"));
    }),
    ("two dates", "comes twice", |request| {
        let date = request.headers()["x-amz-date"].clone();
        request.headers_mut().append("x-amz-date", date);
    }),
    ("a second later", MISMATCH, |request| {
        edit(request, "x-amz-date", |date| {
            let date = NaiveDateTime::parse_from_str(date, DATE_FORMAT).unwrap();
            (date + TimeDelta::seconds(1)).format(DATE_FORMAT).to_string()
        });
    }),
];

/// What is put in the place of what in the `authorization` header.
const TAMPERED_AUTHORIZATION: [(&str, &str, &str); 24] = [
    ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512", FORM),
    ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", FORM),
    ("AWS4-HMAC-SHA256", "Basic", FORM),
    ("AWS4-HMAC-SHA256 ", "", FORM),
    ("Credential=", "", FORM),
    ("Credential=", "Credential=/", SCOPE),
    ("SignedHeaders=", "", FORM),
    ("Signature=", "", FORM),
    (", Signature=", ", Signature=0, Signature=", FORM),
    ("AKIA", "AKIB", "not known here"),
    ("/ap-northeast-1/", "/us-east-1/", SCOPE),
    ("/execute-api/", "/s3/", SCOPE),
    ("/aws4_request", "/aws4_reply", SCOPE),
    ("/aws4_request", "", SCOPE),
    ("/20", "/19", SCOPE),
    ("host;", "", "must name host"),
    ("host;", "Host;", NAMES),
    ("host;", "host;host;", NAMES),
    ("content-type;host;", "host;content-type;", NAMES),
    ("content-type;", "absent;content-type;", "a header that is not there"),
    ("content-type;", "", MISMATCH),
    (";x-amz-date", "", "each x-amz- header"),
    ("Signature=", "Signature=0", MISMATCH),
    ("Signature=", "Signature= ", MISMATCH),
];

/// What the signature itself is changed to.
const TAMPERED_SIGNATURES: [(&str, Change); 5] = [
    ("no signature", |_| String::new()),
    ("a signature without its end", |signature| signature[..63].to_owned()),
    ("a signature in upper case", str::to_uppercase),
    ("a signature backwards", |signature| signature.chars().rev().collect()),
    ("a signature with more behind it", |signature| format!("{signature}0")),
];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_tampered_with_reaches_a_function() {
    let system = System::start().await;
    for (what, reason, tamper) in TAMPERED_CONTENT {
        assert_refused(&submission(&system).send_tampered(tamper).await, what, reason);
    }
    for (from, to, reason) in TAMPERED_AUTHORIZATION {
        let tamper = |request: &mut _| edit(request, AUTHORIZATION, |header| header.replacen(from, to, 1));
        assert_refused(&submission(&system).send_tampered(tamper).await, to, reason);
    }
    for (what, change) in TAMPERED_SIGNATURES {
        let tamper = |request: &mut _| {
            edit(request, AUTHORIZATION, |header| {
                let (claim, signature) = header.rsplit_once('=').unwrap();
                format!("{claim}={}", change(signature))
            });
        };
        assert_refused(&submission(&system).send_tampered(tamper).await, what, MISMATCH);
    }
    let (alice, bob) = (&system.alice().access_key_id, &system.bob().access_key_id);
    let as_bob = |request: &mut _| edit(request, AUTHORIZATION, |header| header.replace(alice, bob));
    assert_refused(&submission(&system).send_tampered(as_bob).await, "another's key id", MISMATCH);

    assert_eq!(system.stack().store().inbox(Utc::now()).await.unwrap(), [], "no function was asked");
    assert_ne!(submission(&system).send().await.status, 403, "the request itself is good");
}

/// The order of parameters is not signed: the rules sort them, also the values of one name.
#[tokio::test(flavor = "multi_thread")]
async fn parameters_may_be_sent_in_another_order() {
    let system = System::start().await;
    for order in ["b=2&b=3&a=1", "b=3&a=1&b=2"] {
        let reply = submission(&system).send_tampered(|request| retarget(request, "a=1&b=2&b=3", order)).await;
        assert_ne!(reply.status, 403, "{order}: {reply:?}");
    }
}

/// Queries that look alike and mean something else do not share a signature, though two ways to write one are known.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_of_another_meaning_needs_another_signature() {
    let system = System::start().await;
    for (signed, sent) in [("b%2Bc", "b+c"), ("b+c", "b%2Bc"), ("%252B", "%2B"), ("%2B", "%252B"), ("%26c=", "&c=")] {
        let request = system.request(Method::POST, &format!("{SUBMIT}?a={signed}"), "{}");
        let reply = request.clone().send_tampered(|request| retarget(request, signed, sent)).await;
        assert_refused(&reply, sent, MISMATCH);
        assert_ne!(request.send().await.status, 403, "{signed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_signature_for_something_else_is_refused() {
    let system = System::start().await;
    let good = Signing::of(system.alice());
    let now = SystemTime::now();
    let submission = || Request::new(Method::POST, &system.url(SUBMIT), "{}", None);
    let send = async |signing: Signing<'_>, mut request: Request| {
        signing.sign(&mut request.signed);
        request.send().await
    };
    for (what, reason, signing) in [
        ("20 minutes ago", "5 minutes off", Signing { time: now - 20 * MINUTE, ..good }),
        ("in 20 minutes", "5 minutes off", Signing { time: now + 20 * MINUTE, ..good }),
        ("yesterday", "5 minutes off", Signing { time: now - 24 * 60 * MINUTE, ..good }),
        ("another region", SCOPE, Signing { region: "us-east-1", ..good }),
        ("another service", SCOPE, Signing { service: "lambda", ..good }),
        ("in the query", "is not signed", Signing { presigned: true, ..good }),
    ] {
        assert_refused(&send(signing, submission()).await, what, reason);
    }
    let no_hash_of_it = "x-amz-content-sha256 header is not";
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for hash in [empty, "UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", ""] {
        let lying = submission().header("x-amz-content-sha256", hash);
        assert_refused(&send(good, lying).await, hash, no_hash_of_it);
    }
    assert_eq!(system.stack().store().inbox(Utc::now()).await.unwrap(), [], "no function was asked");

    for time in [now - 4 * MINUTE, now + 4 * MINUTE] {
        assert_eq!(send(Signing { time, ..good }, submission()).await.status, 202, "4 minutes are no harm");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_session_are_good_with_their_token_only() {
    let directory = tempfile::tempdir().unwrap();
    let person = |name: &str, session_token: Option<&str>| Principal {
        name: name.to_owned(),
        account_id: "123456789012".to_owned(),
        caller: format!("AROAEXAMPLE:{name}"),
        user_arn: format!("arn:aws:sts::123456789012:assumed-role/caller/{name}"),
        access_key_id: format!("ASIA{name}"),
        secret_access_key: "secret".to_owned(),
        session_token: session_token.map(str::to_owned),
    };
    let carol = person("CAROL", Some("FwoGZXIvYXdzEXAMPLE//8=+"));
    let everybody = [person("ALICE", None), carol.clone(), person("DAVE", Some("another"))];
    fs::write(directory.path().join("principals.json"), serde_json::to_vec(&everybody).unwrap()).unwrap();
    let stack = Stack::start(directory.path(), FREE_PORTS, &Settings::default()).await.unwrap();
    let send = async |token: Option<&str>| {
        let who = Principal { session_token: token.map(str::to_owned), ..carol.clone() };
        let mut request = Request::new(Method::POST, &format!("{}{SUBMIT}", stack.api_url()), "{}", None);
        Signing::of(&who).sign(&mut request.signed);
        request.send().await
    };
    for token in [None, Some("FwoGZXIvYXdzEXAMPLE//8="), Some("another")] {
        assert_refused(&send(token).await, token.unwrap_or("no token"), "session token");
    }
    assert_eq!(send(carol.session_token.as_deref()).await.status, 202);
}

/// Every body that the contract allows comes through, whatever is in it: in the event it is base64.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_lambda_would_not_take_is_refused_at_the_gateway() {
    let system = System::start().await;
    let send = async |body: Vec<u8>| system.request(Method::POST, SUBMIT, body).send().await;
    let too_large = send(vec![0xff; 5_000_000]).await.assert_problem(413, "request-too-large");
    assert!(too_large.detail.contains("6291456"), "{}", too_large.detail);
    let far_too_large = send(vec![b' '; 10 * 1024 * 1024 + 1]).await.assert_problem(413, "request-too-large");
    assert!(far_too_large.detail.contains("10485760"), "{}", far_too_large.detail);
}
