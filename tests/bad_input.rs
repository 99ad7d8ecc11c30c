//! What no good client sends. Whatever it is, the answer is a problem of the client's (4xx) that says what to do.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use bcrlapi::Signer;
use bcrlapi_api::{Route, routes};
use bcrlapi_domain::JobId;
use bcrlapi_local::REGION;
use bcrlapi_tests::{Reply, Request, System};
use chrono::{TimeDelta, Utc};
use http::{HeaderValue, Method};
use serde_json::json;
use uuid::Uuid;

const MOCK: &str = "/v1/apis/mock/jobs";

fn submit(system: &System, body: impl Into<Vec<u8>>) -> Request {
    system.request(Method::POST, MOCK, body)
}

/// The routes with a job in their path.
fn job_routes() -> impl Iterator<Item = Route> {
    Route::ALL.into_iter().filter(|route| route.template().contains("{uuid}"))
}

async fn ask(system: &System, route: Route, uuid: &str) -> Reply {
    system.request(route.method(), &route.template().replace("{uuid}", uuid), "").send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_json_is_refused() {
    let system = System::start().await;
    for body in [
        b"".as_slice(),
        b"no json",
        b"{\"a\": ",
        b"[1, 2",
        b"\"open",
        b"{} {}",
        b"NaN",
        b"[Infinity]",
        b"{'a': 1}",
        b"{\"a\": 1,}",
        b"\xef\xbb\xbf{}",
        b"\"\xff\"",
        b"\xfe\xff\x00{\x00}",
        b"\"\t\"",
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\xae\x05\x00C\xbf\xa6\xa3\x02\x00\x00\x00",
    ] {
        let problem = submit(&system, body).send().await.assert_problem(400, "invalid-json");
        assert!(problem.detail.starts_with("the body is not JSON: "), "{body:?}: {}", problem.detail);
    }
    assert_eq!(system.request_objects().len(), 0, "nothing is kept of what was refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_json_is_named_as_what_it_is() {
    let system = System::start().await;

    for (body, words) in [
        (b"".as_slice(), "it is empty"),
        (b" \n", "it is empty"),
        (b"\xef\xbb\xbf{}", "a byte order mark"),
        (b"\xff\xfe{\x00}\x00", "UTF-16"),
        (b"{\x00}\x00", "UTF-16"),
        (b"{\"a\": \"\x8f[\x93d\"}", "cp932"),
        (b"{\"a\": NaN}", "NaN at line 1"),
        (b"[-Infinity]", "-Infinity at line 1"),
        (b"<!doctype html><title>Log in</title>", "HTML"),
        (b"{\"a\": ", "ends in the middle"),
    ] {
        let problem = submit(&system, body).send().await.assert_problem(400, "invalid-json");
        assert!(problem.detail.contains(words), "{}", problem.detail);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_that_is_odd_but_json_reaches_the_program_unchanged() {
    let system = System::start().await;
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for body in [&deep, r#"{"a": 1, "a": 2}"#, " null ", "1e999", r#""\ud800""#, "-0", r#"{"": {}}"#] {
        let reply = submit(&system, body).send().await;
        assert_eq!(reply.status, 202, "{body}: {reply:?}");
        let id: JobId = reply.json()["uuid"].as_str().unwrap().parse().unwrap();
        let store = system.stack().store();
        let job = store.job(id).await.unwrap().unwrap();
        assert_eq!(store.read_request(id, &job.request).await.unwrap().unwrap(), body.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn four_mebibytes_are_accepted_and_one_byte_more_is_not() {
    let system = System::start().await;
    let limit = 4 * 1024 * 1024;
    let plain = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    let quotes = |bytes: usize| format!("\"{}\"", "\\\"".repeat(bytes / 2 - 1));
    for body in [plain(limit), quotes(limit)] {
        assert_eq!((body.len(), submit(&system, body).send().await.status.as_u16()), (limit, 202));
    }
    for body in [plain(limit + 1), quotes(limit + 2), plain(11 * 1024 * 1024)] {
        let problem = submit(&system, body).send().await.assert_problem(413, "request-too-large");
        assert!(problem.detail.contains("4194304") || problem.detail.contains("10485760"), "{}", problem.detail);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_declared_as_something_else_is_refused() {
    let system = System::start().await;
    for (name, value) in [
        ("content-type", "application/x-www-form-urlencoded"),
        ("content-type", "application/jsonp"),
        ("content-type", ""),
        ("content-encoding", "gzip"),
        ("content-encoding", "gzip, identity"),
    ] {
        let reply = submit(&system, "{}").header(name, value).send().await;
        reply.assert_problem(415, "unsupported-media-type");
    }
    for (name, value) in [
        ("content-type", "application/JSON; charset=utf-8"),
        ("content-encoding", "identity"),
        ("content-encoding", "Identity"),
        ("prefer", "respond-async, wait=10"),
    ] {
        assert_eq!(submit(&system, "{}").header(name, value).send().await.status, 202, "{name}: {value}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_are_malformed_or_come_twice_are_refused() {
    let system = System::start().await;
    let key = |key: &str| submit(&system, "{}").header("idempotency-key", key).send();
    let longest = "x".repeat(255);
    for good in [longest.clone(), format!("\"{longest}\""), "!~".to_owned()] {
        assert_eq!(key(&good).await.status, 202, "{good}");
    }
    for bad in ["", "\"\"", "\"open", "a b", &format!("{longest}x"), &format!("\"{longest}x\"")] {
        key(bad).await.assert_problem(400, "invalid-header");
    }
    let digest = "sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:";
    let values = [
        ("idempotency-key", "k"),
        ("content-digest", digest),
        ("content-type", "application/json"),
        ("content-encoding", "identity"),
    ];
    for (name, value) in values {
        let mut twice = submit(&system, "{}").header(name, value);
        twice.signed.headers_mut().append(name, value.parse().unwrap());
        let problem = twice.send().await.assert_problem(400, "invalid-header");
        assert!(problem.detail.contains(name), "{}", problem.detail);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_text_are_refused_in_a_header_that_is_read_and_no_matter_in_any_other() {
    let system = System::start().await;
    let unreadable = |name: &'static str| {
        submit(&system, "{}").send_tampered(move |request| {
            request.headers_mut().insert(name, HeaderValue::from_bytes(b"caf\xe9").unwrap());
        })
    };
    assert_eq!(unreadable("x-note").await.status, 202);
    let problem = unreadable("idempotency-key").await.assert_problem(400, "invalid-header");
    assert_eq!(problem.detail, "the header idempotency-key is not readable text");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_its_half_of_the_connection_still_gets_the_answer() {
    let system = System::start().await;
    let [host, request] = signed_text(&system, Method::GET, routes::LAB).await;
    let exchange = move || {
        let mut socket = TcpStream::connect(host).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    };
    let answer = tokio::task::spawn_blocking(exchange).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_is_none_is_refused() {
    let system = System::start().await;
    let long = "x".repeat(300);
    for api in ["nothing", "so%2Fc", "%2E%2E%2Fmock", "%E9%9B%BB%E6%B1%A0", "mock%00", "%FF", "mock%20", "-mock", &long]
    {
        let reply = system.request(Method::POST, &format!("/v1/apis/{api}/jobs"), "{}").send().await;
        reply.assert_problem(404, "no-such-api");
    }
    for path in ["/v1/apis/../jobs", "/v1/apis/./jobs"] {
        let status = send_as_written(&system, Method::POST, path).await;
        assert!(status == 404 || status == 403, "{path}: {status}");
    }
}

/// The host, and a signed request as it goes over the wire.
async fn signed_text(system: &System, method: Method, path: &str) -> [String; 2] {
    let mut request = http::Request::builder().method(&method).uri(system.url(path)).body(Vec::new()).unwrap();
    Signer::new(system.alice().credentials(), REGION).sign(&mut request).await.unwrap();
    let host = request.uri().authority().unwrap().to_string();
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: 0\r\n");
    for (name, value) in request.headers() {
        text += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    [host, format!("{text}\r\n")]
}

/// Sends a path that every good client would tidy up; gives the status.
async fn send_as_written(system: &System, method: Method, path: &str) -> u16 {
    let [host, text] = signed_text(system, method, path).await;
    let exchange = move || {
        let mut socket = TcpStream::connect(host).unwrap();
        socket.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    };
    tokio::task::spawn_blocking(exchange).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_uuid_that_is_no_jobs_leads_to_no_job() {
    let system = System::start().await;
    let own = system.submit("mock", &json!({})).await.uuid.to_string();
    for uuid in [
        own.to_uppercase(),
        own.replace('-', ""),
        format!("%7B{own}%7D"),
        format!("urn:uuid:{own}"),
        format!("{own}%0A"),
        format!("%20{own}"),
        format!("{}4{}", &own[..14], &own[15..]),
        Uuid::new_v4().to_string(),
        Uuid::nil().to_string(),
        Uuid::max().to_string(),
        Uuid::now_v7().to_string(),
        "..%2Flab".to_owned(),
        "%E9%9B%BB".to_owned(),
        "x".repeat(300),
    ] {
        for route in job_routes() {
            ask(&system, route, &uuid).await.assert_problem(404, "no-such-job");
        }
    }
    assert_eq!(ask(&system, Route::Status, &own).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_uuid_older_than_a_week_is_gone_on_every_route() {
    let system = System::start().await;
    for (age, status, code) in [(TimeDelta::days(7), 410, "expired"), (TimeDelta::days(6), 404, "no-such-job")] {
        let id = JobId::earliest(Utc::now() - age).to_string();
        for route in job_routes() {
            ask(&system, route, &id).await.assert_problem(status, code);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_are_unknown_malformed_or_come_twice_are_refused() {
    let system = System::start().await;
    for _ in 0..3 {
        system.submit("mock", &json!({})).await;
    }
    let get = async |query: &str| system.request(Method::GET, &format!("{}?{query}", routes::LIST), "").send().await;
    let cursor = get("limit=1").await.json()["next_cursor"].as_str().unwrap().to_owned();
    assert_eq!(get(&format!("api=mock&cursor={cursor}&limit=100&status=pending")).await.status, 200);
    for bad in [
        "limit=0",
        "limit=101",
        "limit=256",
        "limit=-1",
        "limit=%2B5",
        "limit=1.5",
        "limit=",
        "limit=99999999999999999999",
        "status=Done",
        "status=",
        "status=done,pending",
        "api=",
        "api=..%2F..",
        "api=%E9%9B%BB",
        "cursor=",
        "cursor=null",
        "cursor=..%2F..",
        "owner=somebody",
        "Limit=5",
        "limit=5&limit=5",
        "api=mock&api=soc",
        &format!("cursor={cursor}%3D"),
        &format!("cursor={}", cursor.to_lowercase()),
        &format!("cursor={}", &cursor[1..]),
        &format!("cursor={cursor}{cursor}"),
    ] {
        let problem = get(bad).await.assert_problem(400, "invalid-parameter");
        assert!(problem.detail.len() < 500, "{bad}: {}", problem.detail);
    }
}
