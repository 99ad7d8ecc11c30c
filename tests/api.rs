//! The HTTP contract, as a client meets it.

use std::collections::BTreeSet;

use bcrlapi::Signer;
use bcrlapi_api::{Route, routes};
use bcrlapi_common::Deployment;
use bcrlapi_domain::{JobId, OwnerScope, Status};
use bcrlapi_tests::{Request, System};
use chrono::Utc;
use http::Method;
use lambda_http::aws_lambda_events::apigw::ApiGatewayProxyRequest;
use lambda_http::request::LambdaRequest;
use serde_json::json;
use uuid::Uuid;

/// Changes a request after it was signed.
type Tamper = fn(&mut http::Request<Vec<u8>>);

/// A job id that was never given out.
fn unknown_id() -> JobId {
    Uuid::now_v7().try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_from_submit_to_result() {
    let system = System::start().await;
    let reply = system.request(Method::POST, "/v1/apis/mock/jobs", r#"{"payload": "電池"}"#).send().await;
    assert_eq!(reply.status, 202, "{reply:?}");
    let job = reply.json();
    let id: JobId = job["uuid"].as_str().unwrap().parse().unwrap();
    assert_eq!(reply.header("location"), system.url(&routes::job(id)));
    assert_eq!(job["links"]["self"], system.url(&routes::job(id)));
    assert_eq!(reply.header("retry-after"), "5");
    assert_eq!((&job["api"], &job["status"], &job["outcome"]), (&json!("mock"), &json!("pending"), &json!(null)));

    let early = system.request(Method::GET, &routes::result(id), "").send().await;
    early.assert_problem(404, "result-not-ready");
    assert_eq!((early.header("retry-after"), early.header("cache-control")), ("5", "no-store"));

    let (_agent, _worker) = (system.start_agent(), system.start_worker());
    let done = system.reached(id, Status::Done).await;
    assert_eq!((done.outcome.as_deref(), done.error.as_deref()), (Some("succeeded"), None));
    assert!(done.request_date <= done.finish_date.unwrap());

    let result =
        system.request(Method::GET, job["links"]["result"].as_str().unwrap().trim_start_matches(&system.url("")), "");
    let result = result.send().await;
    assert_eq!((result.status.as_u16(), result.header("content-type")), (200, "application/json"));
    assert_eq!(result.json()["payload"], "電池");
    assert_eq!(result.body, system.result(id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_program_is_a_failed_job_with_its_stderr() {
    let system = System::start().await;
    let (_agent, _worker) = (system.start_agent(), system.start_worker());
    let job = system.submit("soc", &json!({"capacity_ah": -1, "initial_soc_percent": 50, "samples": []})).await;
    let done = system.reached(job.uuid, Status::Done).await;
    assert_eq!(done.outcome.as_deref(), Some("failed"));
    assert_eq!(done.error.as_deref(), Some("bad input: capacity_ah must be greater than 0"));
    let result = system.request(Method::GET, &routes::result(job.uuid), "").send().await;
    assert_eq!(result.assert_problem(422, "job-failed").detail, "bad input: capacity_ah must be greater than 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_callers_job_looks_like_none() {
    let system = System::start().await;
    let (_agent, _worker) = (system.start_agent(), system.start_worker());
    let job = system.submit("mock", &json!({})).await;
    system.reached(job.uuid, Status::Done).await;
    for path in [routes::job(job.uuid), routes::result(job.uuid)] {
        let other = system.request_of(system.bob(), Method::GET, &path, "").send().await;
        other.assert_problem(404, "no-such-job");
        let nobodys_path = path.replace(&job.uuid.to_string(), &unknown_id().to_string());
        let nobodys = system.request_of(system.bob(), Method::GET, &nobodys_path, "").send().await;
        nobodys.assert_problem(404, "no-such-job");
        assert_eq!(other.headers.keys().collect::<Vec<_>>(), nobodys.headers.keys().collect::<Vec<_>>());
        assert!(system.request(Method::GET, &path, "").send().await.status.is_success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_in_without_a_good_signature() {
    let system = System::start().await;
    let post = || system.request(Method::POST, "/v1/apis/mock/jobs", "{}");
    assert_eq!(post().send().await.status, 202, "the request itself is good");

    let unsigned = Request::new(Method::POST, &system.url("/v1/apis/mock/jobs"), "{}", None);
    unsigned.send().await.assert_problem(403, "forbidden");

    let mut forger = system.alice().clone();
    forger.secret_access_key = system.bob().secret_access_key.clone();
    let stranger = bcrlapi_local::Principal { access_key_id: "AKIAAAAAAAAAAAAAAAAA".into(), ..system.alice().clone() };
    for who in [&forger, &stranger] {
        let reply = system.request_of(who, Method::POST, "/v1/apis/mock/jobs", "{}").send().await;
        reply.assert_problem(403, "forbidden");
    }
    let elsewhere = Signer::new(system.alice().credentials(), "eu-west-1");
    let elsewhere = Request::new(Method::POST, &system.url("/v1/apis/mock/jobs"), "{}", Some(elsewhere));
    elsewhere.send().await.assert_problem(403, "forbidden");

    let tampered: [(&str, Tamper); 7] = [
        ("body", |request| request.body_mut().push(b' ')),
        ("path", |request| *request.uri_mut() = request.uri().to_string().replace("mock", "soc").parse().unwrap()),
        ("query", |request| *request.uri_mut() = format!("{}?a=1", request.uri()).parse().unwrap()),
        ("method", |request| *request.method_mut() = Method::PUT),
        ("signed header", |request| drop(request.headers_mut().insert("content-type", "text/plain".parse().unwrap()))),
        ("date", |request| drop(request.headers_mut().insert("x-amz-date", "20200101T000000Z".parse().unwrap()))),
        ("second authorization", |request| {
            let again = request.headers()["authorization"].clone();
            request.headers_mut().append("authorization", again);
        }),
    ];
    for (what, tamper) in tampered {
        let reply = post().send_tampered(tamper).await;
        assert_eq!(reply.status, 403, "{what}: {reply:?}");
        reply.assert_problem(403, "forbidden");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_says_which_methods_it_has_and_no_other_path_is_there() {
    let system = System::start().await;
    for route in Route::ALL {
        let path = route.template().replace("{api}", "mock").replace("{uuid}", &unknown_id().to_string());
        for method in [Method::DELETE, Method::PUT, Method::PATCH, Method::HEAD, Method::OPTIONS] {
            let reply = system.request(method.clone(), &path, "").send().await;
            assert_eq!(
                (reply.status.as_u16(), reply.header("allow")),
                (405, route.method().as_str()),
                "{method} {path}"
            );
            assert_eq!(reply.header("x-amzn-errortype"), "method-not-allowed");
        }
        let misspelt = format!("{path}?verbose=1");
        system.request(route.method(), &misspelt, "{}").send().await.assert_problem(400, "invalid-parameter");
    }
    for path in ["/", "/v1", "/v2/jobs", "/v1/jobs/", "/v1/apis/mock", "/v1/jobs/a/b/c", "/v1/apis/so/c/jobs"] {
        system.request(Method::GET, path, "").send().await.assert_problem(404, "no-such-path");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_no_answer_can_carry_is_said_to_be_too_large() {
    let system = System::start().await;
    let (_agent, _worker) = (system.start_agent(), system.start_worker());
    // In the response file each quote takes two bytes, and in Lambda's answer four.
    let escaped = system.submit("mock", &json!({"payload": "\"".repeat(1_571_000)})).await;
    let plain = system.submit("mock", &json!({"size_bytes": 6_200_000})).await;
    let large = system.submit("mock", &json!({"size_bytes": 6_300_000})).await;
    for (job, fits) in [(plain, true), (escaped, false), (large, false)] {
        assert_eq!(system.reached(job.uuid, Status::Done).await.outcome.as_deref(), Some("succeeded"));
        let reply = system.request(Method::GET, &routes::result(job.uuid), "").send().await;
        if fits {
            assert_eq!(reply.status, 200);
        } else {
            reply.assert_problem(413, "result-too-large");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_is_told_no_caller_refuses() {
    let system = System::start().await;
    let store = system.stack().store();
    let deployment = Deployment { store: store.clone(), owner_scope: OwnerScope::Account };
    let state = bcrlapi_submit::State { deployment, apis: BTreeSet::default(), queue_limit: None };
    let without_context = || lambda_http::Request::new(lambda_http::Body::Text("{}".to_owned()));
    let without_identity = || {
        let mut event = ApiGatewayProxyRequest::default();
        event.request_context.identity.account_id = Some("123456789012".to_owned());
        lambda_http::Request::from(LambdaRequest::ApiGatewayV1(event))
    };
    for request in [without_context, without_identity as fn() -> _] {
        for response in [
            bcrlapi_submit::handle(&state, request(), Utc::now()).await,
            bcrlapi_status::handle(&state.deployment, request(), Utc::now()).await,
            bcrlapi_result::handle(&state.deployment, request(), Utc::now()).await,
        ] {
            assert_eq!(response.status(), 403);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_none_is_refused() {
    let system = System::start().await;
    for host in ["localhost:99999", "999.999.999.999", "1.2.3.4.5", "xn--a"] {
        let request = system.request(Method::GET, &routes::job(unknown_id()), "").header("host", host);
        request.send().await.assert_problem(403, "forbidden");
    }
}
