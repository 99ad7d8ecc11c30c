//! What a web page in the developer's browser, or somebody without the keys, gets from the ports on loopback: nothing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use bcrlapi::Signer;
use bcrlapi_local::Settings;
use bcrlapi_tests::{DYNAMODB_URL, S3_URL, System};
use http::{HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::metrics;
use crate::signature::Signing;

const MINUTE: Duration = Duration::from_mins(1);
const PAGE: &str = "http://evil.example";
/// Headers by which a request is a page's.
const OF_PAGES: [(&str, &str); 7] = [
    ("origin", PAGE),
    ("origin", "null"),
    ("origin", "http://127.0.0.1:8080"),
    // A name of the page's own that leads to 127.0.0.1.
    ("host", "evil.example"),
    ("host", "evil.example:9001"),
    ("host", "127.0.0.1.evil.example"),
    ("host", "localhost.evil.example:80"),
];

/// A request that is fine, for one of the ports.
struct Fine {
    port: &'static str,
    /// The service that it is signed for, if it is signed.
    service: Option<&'static str>,
    request: http::Request<Vec<u8>>,
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: u16,
    cors: Vec<HeaderName>,
    text: String,
}

fn request(method: Method, url: &str, headers: &[(&str, &str)], body: &str) -> http::Request<Vec<u8>> {
    let request = http::Request::builder().method(method).uri(url);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(body.as_bytes().to_vec()).unwrap()
}

fn dynamodb(system: &System, operation: &str, body: &Value) -> http::Request<Vec<u8>> {
    let target = format!("DynamoDB_20120810.{operation}");
    let headers = [("x-amz-target", target.as_str()), ("content-type", "application/x-amz-json-1.0")];
    request(Method::POST, &format!("{}/", system.environment(DYNAMODB_URL)), &headers, &body.to_string())
}

fn scan(system: &System) -> http::Request<Vec<u8>> {
    dynamodb(system, "Scan", &json!({"TableName": "bcrlapi"}))
}

/// A list of the bucket.
fn s3(system: &System) -> http::Request<Vec<u8>> {
    let empty = hex_of(&Sha256::digest(b""));
    let url = format!("{}/bcrlapi?list-type=2", system.environment(S3_URL));
    request(Method::GET, &url, &[("x-amz-content-sha256", &empty)], "")
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

fn put(request: &mut http::Request<Vec<u8>>, name: &'static str, value: &str) {
    request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
}

async fn send(request: http::Request<Vec<u8>>) -> Answer {
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let answer = client.execute(request.try_into().unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let cors = answer.headers().keys().filter(|name| name.as_str().starts_with("access-control-")).cloned().collect();
    Answer { status, cors, text: answer.text().await.unwrap() }
}

impl Fine {
    /// Sends it with another header, and signed by who has the keys.
    async fn send_with(&self, system: &System, header: Option<(&'static str, &str)>) -> Answer {
        let mut request = self.request.clone();
        if let Some((name, value)) = header {
            put(&mut request, name, value);
        }
        if let Some(service) = self.service {
            Signing { service, ..Signing::of(system.alice()) }.sign(&mut request);
        }
        send(request).await
    }
}

/// Even a good signature does not help: a page that has got hold of one is still a page.
#[tokio::test(flavor = "multi_thread")]
async fn no_port_answers_a_web_page() {
    let system = System::start().await;
    system.submit("mock", &json!({"secret": 1})).await;
    let agent = system.start_agent_with(&[("BCRLAPI_METRICS", "127.0.0.1:0")]);
    let metrics_url = metrics::url(&agent).await;

    let list = request(Method::GET, &system.url("/v1/jobs"), &[], "");
    let ports = [
        Fine { port: "gateway", service: Some(Signer::SERVICE), request: list },
        Fine { port: "DynamoDB", service: Some("dynamodb"), request: scan(&system) },
        Fine { port: "S3", service: Some("s3"), request: s3(&system) },
        Fine { port: "metrics", service: None, request: request(Method::GET, &metrics_url, &[], "") },
    ];
    for fine in &ports {
        let good = fine.send_with(&system, None).await;
        assert_eq!(good.status, 200, "{}: {good:?}", fine.port);
        assert_eq!(good.cors, [""; 0], "{}: {good:?}", fine.port);

        for (name, value) in OF_PAGES {
            let answer = fine.send_with(&system, Some((name, value))).await;
            assert_eq!(answer.status, 403, "{} with {name} {value}: {answer:?}", fine.port);
            assert_eq!(answer.cors, [""; 0], "{} with {name} {value}: {answer:?}", fine.port);
            assert!(!answer.text.contains("secret") && answer.text.len() < 500, "{answer:?}");
        }

        let as_localhost = fine.send_with(&system, Some(("host", "localhost:9000"))).await;
        assert_eq!(as_localhost.status, 200, "{}: {as_localhost:?}", fine.port);
    }
}

/// Before a page may send headers of its own, the browser asks for permission, without any signature.
#[tokio::test(flavor = "multi_thread")]
async fn no_port_permits_a_page_anything() {
    let system = System::start().await;
    let agent = system.start_agent_with(&[("BCRLAPI_METRICS", "127.0.0.1:0")]);
    let urls = [
        system.url("/v1/jobs"),
        format!("{}/", system.environment(DYNAMODB_URL)),
        format!("{}/bcrlapi", system.environment(S3_URL)),
        metrics::url(&agent).await,
    ];
    for url in urls {
        for origin in [Some(PAGE), None] {
            let mut asked = request(Method::OPTIONS, &url, &[("access-control-request-method", "POST")], "");
            put(&mut asked, "access-control-request-headers", "authorization,x-amz-date,x-amz-target,content-type");
            if let Some(origin) = origin {
                put(&mut asked, "origin", origin);
            }
            let answer = send(asked).await;
            assert!(answer.status >= 400 && answer.cors.is_empty(), "{url}: {answer:?}");
        }
    }
}

/// A container reaches it at the address of its bridge. This test listens at the one address beside loopback that every
/// Linux has: that of loopback, as IPv6 writes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_stack_that_listens_elsewhere_answers_to_its_own_address_alone() {
    let elsewhere: IpAddr = Ipv4Addr::LOCALHOST.to_ipv6_mapped().into();
    assert!(!elsewhere.is_loopback());
    let system = System::start_at(SocketAddr::new(elsewhere, 0), Settings::default()).await;

    let list = request(Method::GET, &system.url("/v1/jobs"), &[], "");
    for fine in [
        Fine { port: "gateway", service: Some(Signer::SERVICE), request: list },
        Fine { port: "DynamoDB", service: Some("dynamodb"), request: scan(&system) },
        Fine { port: "S3", service: Some("s3"), request: s3(&system) },
    ] {
        assert_eq!(fine.request.uri().host(), Some("[::ffff:127.0.0.1]"), "{}", fine.port);
        // An address may be written in more than one way.
        for host in ["[::ffff:127.0.0.1]:9001", "[::ffff:7f00:1]:9001", "localhost:9001"] {
            let named = fine.send_with(&system, Some(("host", host))).await;
            assert_eq!(named.status, 200, "{} as {host}: {named:?}", fine.port);
        }

        for (name, value) in OF_PAGES.into_iter().chain([("host", "[::ffff:127.0.0.2]:9001")]) {
            let answer = fine.send_with(&system, Some((name, value))).await;
            assert_eq!(answer.status, 403, "{} with {name} {value}: {answer:?}", fine.port);
        }

        let unsigned = send(fine.request).await;
        assert!(unsigned.status == 400 || unsigned.status == 403, "{}: {unsigned:?}", fine.port);
        assert!(!unsigned.text.contains("names another host"), "{}: {unsigned:?}", fine.port);
    }
}

/// On a network, Prometheus calls the lab's server by a name.
#[tokio::test(flavor = "multi_thread")]
async fn metrics_on_a_network_are_served_under_every_name_but_not_across_origins() {
    let system = System::start().await;
    let agent = system.start_agent_with(&[("BCRLAPI_METRICS", "0.0.0.0:0")]);
    let url = metrics::url(&agent).await;
    let scraped = send(request(Method::GET, &url, &[("host", "lab.example:9464")], "")).await;
    assert_eq!(scraped.status, 200, "{scraped:?}");
    let page = send(request(Method::GET, &url, &[("origin", PAGE)], "")).await;
    assert_eq!((page.status, page.cors.len()), (403, 0), "{page:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamodb_opens_to_its_own_keys_alone() {
    let system = System::start().await;
    let job = system.submit("mock", &json!({})).await;
    let key = json!({"pk": {"S": format!("job#{}", job.uuid)}});
    let take_over = dynamodb(
        &system,
        "UpdateItem",
        &json!({
            "TableName": "bcrlapi",
            "Key": key,
            "UpdateExpression": "SET #o = :o",
            "ExpressionAttributeNames": {"#o": "owner"},
            "ExpressionAttributeValues": {":o": {"S": "evil"}},
        }),
    );
    let refused = async |what: &str, request: &http::Request<Vec<u8>>, code: &str| {
        let answer = send(request.clone()).await;
        assert_eq!(answer.status, 400, "{what}: {answer:?}");
        let error: Value = serde_json::from_str(&answer.text).unwrap();
        assert!(error["__type"].as_str().unwrap().ends_with(&format!("#{code}")), "{what}: {error}");
        error["message"].as_str().unwrap().to_owned()
    };
    let now = SystemTime::now();
    let good = Signing { service: "dynamodb", ..Signing::of(system.alice()) };
    let signed = |signing: Signing<'_>| {
        let mut request = take_over.clone();
        signing.sign(&mut request);
        request
    };

    refused("no signature", &take_over, "MissingAuthenticationTokenException").await;

    let mut made_up = take_over.clone();
    put(&mut made_up, "x-amz-date", "20200101T000000Z");
    let claim =
        "AWS4-HMAC-SHA256 Credential=anybody/20200101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0";
    put(&mut made_up, "authorization", claim);
    refused("made up", &made_up, "InvalidSignatureException").await;

    let of_bob = signed(Signing { who: system.bob(), ..good });
    refused("another caller's keys", &of_bob, "UnrecognizedClientException").await;

    let mut wrong = system.alice().clone();
    wrong.secret_access_key = "wrong".to_owned();
    let of_wrong_secret = signed(Signing { who: &wrong, ..good });
    refused("a wrong secret", &of_wrong_secret, "InvalidSignatureException").await;

    let for_the_gateway = signed(Signing { service: Signer::SERVICE, ..good });
    refused("for the gateway", &for_the_gateway, "InvalidSignatureException").await;

    let mut changed = signed(good);
    *changed.body_mut() = String::from_utf8(changed.body().clone()).unwrap().replace("evil", "worse").into_bytes();
    refused("a changed body", &changed, "InvalidSignatureException").await;

    let late = signed(Signing { time: now - 16 * MINUTE, ..good });
    let words = refused("too late", &late, "InvalidSignatureException").await;
    assert!(words.starts_with("Signature expired: ") && words.contains(" is now earlier than "), "{words}");
    let early = signed(Signing { time: now + 16 * MINUTE, ..good });
    let words = refused("too early", &early, "InvalidSignatureException").await;
    assert!(words.starts_with("Signature not yet current: ") && words.contains(" is now later than "), "{words}");

    let row = system.stack().store().job(job.uuid).await.unwrap().unwrap();
    assert_ne!(row.owner.as_str(), "evil", "no row was taken over");
    let accepted = send(signed(Signing { time: now - 14 * MINUTE, ..good })).await;
    assert_eq!(accepted.status, 200, "the request itself is good: {accepted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_opens_to_its_own_keys_alone() {
    let system = System::start().await;
    system.submit("mock", &json!({"secret": 1})).await;
    let mut wrong = system.alice().clone();
    wrong.secret_access_key = "wrong".to_owned();

    let unsigned = send(s3(&system)).await;
    assert_eq!(unsigned.status, 403, "{unsigned:?}");
    for who in [&wrong, system.bob()] {
        let mut request = s3(&system);
        Signing { service: "s3", ..Signing::of(who) }.sign(&mut request);
        let answer = send(request).await;
        assert_eq!(answer.status, 403, "{}: {answer:?}", who.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_is_unknown_has_no_effect() {
    let system = System::start().await;
    let mut request = dynamodb(&system, "DropEverything", &json!({}));
    Signing { service: "dynamodb", ..Signing::of(system.alice()) }.sign(&mut request);
    let answer = send(request).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text.contains("UnknownOperationException"), "{answer:?}");
}
