//! What a caller reads: the list of jobs, the lab's state, tags, and links to results of any size.

use std::collections::BTreeSet;

use bcrlapi_api::{JobList, LabPresence, LabState, ResultLink, Route, content_digest, routes};
use bcrlapi_cloud::{Beat, Heartbeat, JobFilter, JobStore, LocalEndpoints};
use bcrlapi_common::Deployment;
use bcrlapi_domain::{Job, JobId, Owner, OwnerScope, Status};
use bcrlapi_local::until;
use bcrlapi_tests::{Fate, Faults, Reply, System, announce, payload};
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use futures::{StreamExt, stream};
use http::Method;
use lambda_http::aws_lambda_events::apigw::ApiGatewayProxyRequest;
use lambda_http::request::LambdaRequest;
use serde_json::{Value, json};
use uuid::Uuid;

async fn get(system: &System, path: &str) -> Reply {
    system.request(Method::GET, path, "").send().await
}

/// All pages of a list, one after the other.
async fn pages(system: &System, query: &str) -> Vec<JobList> {
    let mut pages: Vec<JobList> = Vec::new();
    let mut cursor = String::new();
    loop {
        let reply = get(system, &format!("/v1/jobs?{cursor}{query}")).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let page: JobList = serde_json::from_slice(&reply.body).unwrap();
        let next = page.next_cursor.clone();
        pages.push(page);
        match next {
            Some(next) => cursor = format!("cursor={next}&"),
            None => return pages,
        }
    }
}

fn ids(pages: &[JobList]) -> Vec<JobId> {
    pages.iter().flat_map(|page| &page.jobs).map(|job| job.uuid).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_lists_their_own_jobs_newest_first_page_by_page() {
    let system = System::start().await;
    assert_eq!(get(&system, "/v1/jobs").await.json(), json!({"jobs": [], "next_cursor": null}));
    let mut all = Vec::new();
    for number in 0..24 {
        let api = if number % 3 == 0 { "soc" } else { "mock" };
        all.insert(0, system.submit(api, &json!({})).await.uuid);
        system.stack().client(system.bob()).unwrap().submit(&"mock".parse().unwrap(), "{}".into()).await.unwrap();
    }
    let sizes = |pages: &[JobList]| pages.iter().map(|page| page.jobs.len()).collect::<Vec<_>>();
    for (query, expected) in
        [("limit=20", [20, 4].as_slice()), ("limit=12", &[12, 12]), ("limit=100", &[24]), ("", &[20, 4])]
    {
        let pages = pages(&system, query).await;
        assert_eq!((sizes(&pages), ids(&pages)), (expected.to_vec(), all.clone()), "{query}");
    }
    let newest = &pages(&system, "limit=1").await[0].jobs[0];
    assert_eq!(*newest, system.client().job(newest.uuid).await.unwrap(), "a listed job is the job");

    let store = system.stack().store();
    store.report(all[3], None, None, Utc::now()).await.unwrap();
    system.finish(all[5], "{}").await;
    assert_eq!(ids(&pages(&system, "status=processing").await), [all[3]]);
    assert_eq!(ids(&pages(&system, "status=done").await), [all[5]]);
    assert_eq!(sizes(&pages(&system, "api=soc&limit=3").await), [3, 3, 2]);
    assert_eq!(ids(&pages(&system, "api=mock&limit=100&status=pending").await).len(), 15);
    assert_eq!(ids(&pages(&system, "api=unheard-of").await), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_is_good_for_its_own_caller_only() {
    let system = System::start().await;
    for _ in 0..3 {
        system.submit("mock", &json!({})).await;
    }
    let cursor = get(&system, "/v1/jobs?limit=1").await.json()["next_cursor"].as_str().unwrap().to_owned();
    assert!(cursor.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')), "{cursor}");
    let path = format!("/v1/jobs?cursor={cursor}");
    assert_eq!(get(&system, &path).await.json()["jobs"].as_array().unwrap().len(), 2);
    let bobs = system.request_of(system.bob(), Method::GET, &path, "").send().await;
    bobs.assert_problem(400, "invalid-parameter");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_that_goes_through_many_jobs_stops_in_between_and_says_where() {
    announce("a search through 1,100 jobs, which are submitted first, about 20 s");
    let system = System::start().await;
    let store = system.stack().store();
    let owner = Owner::from_identity("1", "AIDA").unwrap();
    let new = |api: &str| {
        let id = Uuid::now_v7().try_into().unwrap();
        Job::requested(id, api.parse().unwrap(), owner.clone(), payload("{}"))
    };
    let wanted = new("mock");
    let others: Vec<_> = (0..1_100).map(|_| new("soc")).collect();
    let submits = stream::iter([wanted.clone()].into_iter().chain(others.clone()));
    submits.for_each_concurrent(8, async |job| store.submit(&job, "{}".into()).await.unwrap()).await;

    let mock = JobFilter { api: Some("mock".parse().unwrap()), status: None };
    let list = async |after, now| store.list(&owner, &mock, after, 1, now).await.unwrap();
    let first = list(None, Utc::now()).await;
    assert_eq!((first.jobs.len(), first.more_after), (0, Some(others[100].id)), "a thousand rows are enough");
    let second = list(first.more_after, Utc::now()).await;
    assert_eq!((second.jobs, second.more_after), (vec![wanted.clone()], None));

    let later = wanted.id.expiry_date() + TimeDelta::days(1);
    for after in [None, Some(wanted.id)] {
        let expired = list(after, later).await;
        assert_eq!((expired.jobs, expired.more_after), (vec![], None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lab_is_online_while_it_says_so() {
    let system = System::start().await;
    let lab = async || serde_json::from_slice::<LabState>(&get(&system, routes::LAB).await.body).unwrap();
    let never =
        LabState { state: LabPresence::Offline, last_sync: None, pending: 0, processing: 0, waiting_since: None };
    assert_eq!(lab().await, never);
    for (minutes, state) in [(4, LabPresence::Offline), (2, LabPresence::Online)] {
        let last_sync = Utc::now() - TimeDelta::minutes(minutes);
        let agent_version = "1".to_owned();
        let heartbeat = Heartbeat {
            last_sync,
            agent_version,
            pending: 2,
            processing: 1,
            waiting_since: None,
            processing_since: None,
            failed_in_a_row: 0,
            holder: None,
        };
        assert_eq!(system.stack().store().record_heartbeat(&heartbeat).await.unwrap(), Beat::Recorded);
        let seen = lab().await;
        assert_eq!((seen.state, seen.pending, seen.processing), (state, 2, 1));
        assert_eq!(seen.last_sync.unwrap().timestamp_millis(), last_sync.timestamp_millis());
    }
    // The agent writes the cloud's date, which is whole seconds.
    let started = Utc::now() - TimeDelta::seconds(2);
    let _agent = system.start_agent();
    let online = until("the agent's word", async || Some(lab().await).filter(|lab| lab.last_sync > Some(started)));
    assert_eq!(online.await.unwrap().state, LabPresence::Online);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_wait_is_told_in_the_cloud_and_in_the_lab() {
    let system = System::start().await;
    let since = async || {
        let lab: LabState = serde_json::from_slice(&get(&system, routes::LAB).await.body).unwrap();
        lab.waiting_since
    };
    assert_eq!(since().await, None);
    let jobs = [system.submit("mock", &json!({})).await.uuid, system.submit("mock", &json!({})).await.uuid];
    let oldest = jobs[0].request_date();
    assert_eq!(since().await, Some(oldest), "no lab has taken it");
    let agent = system.start_agent();
    let taken = async || system.stack().store().inbox(Utc::now()).await.ok().filter(Vec::is_empty);
    until("both to be taken", taken).await.unwrap();
    agent.terminate();
    // An agent's first word comes with its first plan.
    let agent = system.start_agent();
    until("the lab to tell", async || since().await.filter(|since| *since == oldest)).await.unwrap();
    let _worker = system.start_worker();
    for id in jobs {
        system.reached(id, Status::Done).await;
    }
    agent.terminate();
    let _agent = system.start_agent();
    until("the lab to tell that nothing waits", async || since().await.is_none().then_some(())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_caller_has_already_is_not_sent_again() {
    let system = System::start().await;
    let id = system.submit("mock", &json!({})).await.uuid;
    let ask = async |path: &str, known: &str| {
        system.request(Method::GET, path, "").header("if-none-match", known).send().await
    };
    let pending = get(&system, &routes::job(id)).await;
    let tag = pending.header("etag").to_owned();
    assert_eq!((pending.header("retry-after"), pending.header("cache-control")), ("5", "private, no-cache"));
    let same = ask(&routes::job(id), &tag).await;
    assert_eq!((same.status.as_u16(), same.body.len(), same.header("etag")), (304, 0, tag.as_str()));
    assert_eq!((same.header("retry-after"), same.header("cache-control")), ("5", "private, no-cache"));

    system.finish(id, r#"{"a": 1}"#).await;
    let done = ask(&routes::job(id), &tag).await;
    assert_eq!((done.status.as_u16(), done.json()["status"].as_str()), (200, Some("done")));
    assert!(done.header("etag") != tag && !done.headers.contains_key("retry-after"));

    let result = get(&system, &routes::result(id)).await;
    assert_eq!(result.header("content-digest"), content_digest::render(&payload(r#"{"a": 1}"#).sha256));
    assert_eq!(result.header("cache-control"), "private, no-store");
    let tag = result.header("etag").to_owned();
    for known in [tag.as_str(), "*", &format!("\"another\", W/{tag}")] {
        let same = ask(&routes::result(id), known).await;
        assert_eq!((same.status.as_u16(), same.body.len()), (304, 0));
        assert_eq!(same.header("cache-control"), "private, no-store");
    }
    assert_eq!(ask(&routes::result(id), "\"another\"").await.body, result.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_kept_where_others_read_or_shown_as_a_page() {
    let system = System::start().await;
    let id = system.submit("mock", &json!({})).await.uuid;
    system.finish(id, r#""<script>""#).await;
    let (job, result) = (routes::job(id), routes::result(id));

    for path in [&job, &result, routes::LIST, routes::LAB, routes::OPENAPI, "/v1/jobs/x", "/v1/nothing", "/nothing"] {
        let reply = get(&system, path).await;
        let caching = reply.header("cache-control");
        assert!(caching.contains("no-store") || caching.contains("private"), "{path}: {caching}");
        assert_eq!(reply.header("x-content-type-options"), "nosniff", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_of_any_size_is_behind_its_link() {
    let system = System::start().await;
    let id = system.submit("mock", &json!({})).await.uuid;
    let link_path = routes::result_link(id);
    let early = get(&system, &link_path).await;
    early.assert_problem(404, "result-not-ready");
    let response = format!("\"{}\"", "x".repeat(7_000_000));
    system.finish(id, &response).await;

    let too_large = get(&system, &routes::result(id)).await.assert_problem(413, "result-too-large");
    assert_eq!(too_large.link, Some(system.url(&link_path)));
    let asked_at = Utc::now();
    let link: ResultLink = serde_json::from_slice(&get(&system, &link_path).await.body).unwrap();
    let valid = link.expires_at - asked_at;
    assert!(valid <= TimeDelta::minutes(15) + TimeDelta::seconds(10) && valid > TimeDelta::minutes(14), "{valid}");
    assert_eq!((link.size, &link.content_digest), (7_000_002, &content_digest::render(&payload(&response).sha256)));
    for told in ["response-cache-control=private%2C%20no-store", "response-content-disposition=attachment"] {
        assert!(link.url.contains(told), "S3 is to answer with {told}: {}", link.url);
    }
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let followed = client.get(&link.url).send().await.unwrap();
    assert_eq!(followed.status(), 200);
    assert!(followed.bytes().await.unwrap() == response);
    let tampered = link.url.replace(&id.to_string(), &Uuid::now_v7().to_string());
    assert_eq!(client.get(&tampered).send().await.unwrap().status(), 403, "it leads to this result only");

    // A minute before the job's end, the link ends with it.
    let deployment = deployment(system.stack().store().clone());
    let late = id.expiry_date() - TimeDelta::minutes(1);
    let reply = bcrlapi_result::handle(&deployment, event(&system, Route::ResultLink, id), late).await;
    let link: Value = serde_json::from_slice(reply.body()).unwrap();
    let ends = link["expires_at"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    assert_eq!(ends, id.expiry_date().trunc_subsecs(0), "in whole seconds, as the signature counts");
}

fn deployment(store: JobStore) -> Deployment {
    Deployment { store, owner_scope: OwnerScope::Principal }
}

/// Alice's request for a job, as API Gateway would hand it over.
fn event(system: &System, route: Route, id: JobId) -> lambda_http::Request {
    let mut event = ApiGatewayProxyRequest::default();
    event.http_method = route.method();
    event.path = Some(route.template().replace("{uuid}", &id.to_string()));
    event.path_parameters.insert("uuid".to_owned(), id.to_string());
    event.path_parameters.insert("api".to_owned(), "soc".to_owned());
    event.body = Some("{}".to_owned());
    event.request_context.resource_path = Some(route.template().to_owned());
    event.request_context.identity.account_id = Some(system.alice().account_id.clone());
    event.request_context.identity.caller = Some(system.alice().caller.clone());
    lambda_http::Request::from(LambdaRequest::ApiGatewayV1(event))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_is_said_to_be_away_and_nothing_more() {
    every_route_is_unavailable("http://127.0.0.1:9").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_throttled_is_said_to_be_away_and_nothing_more() {
    let throttled = Faults::start("http://127.0.0.1:9").await;
    throttled.always(Fate::Refuse(400, "ThrottlingException"));
    every_route_is_unavailable(throttled.url()).await;
}

async fn every_route_is_unavailable(stores_url: &str) {
    let system = System::start().await;
    let endpoints = LocalEndpoints {
        dynamodb_url: stores_url.to_owned(),
        s3_url: stores_url.to_owned(),
        region: "ap-northeast-1".to_owned(),
        access_key_id: "AKIA".to_owned(),
        secret_access_key: "secret".to_owned(),
    };
    let deployment = deployment(JobStore::at_endpoints(&endpoints, "bcrlapi", "bcrlapi").await);
    let state = bcrlapi_submit::State { deployment: deployment.clone(), apis: BTreeSet::default(), queue_limit: None };
    let id: JobId = Uuid::now_v7().try_into().unwrap();
    let ask = async |route: Route| {
        let (event, now) = (event(&system, route, id), Utc::now());
        match route.function() {
            bcrlapi_api::Function::Submit => bcrlapi_submit::handle(&state, event, now).await,
            bcrlapi_api::Function::Status => bcrlapi_status::handle(&deployment, event, now).await,
            bcrlapi_api::Function::Result => bcrlapi_result::handle(&deployment, event, now).await,
        }
    };
    let routes = Route::ALL.into_iter().filter(|route| *route != Route::OpenApi);
    for (route, reply) in routes.clone().zip(futures::future::join_all(routes.map(ask)).await) {
        assert_eq!(
            (reply.status().as_u16(), &reply.headers()["retry-after"]),
            (503, &"5".parse().unwrap()),
            "{route:?}"
        );
        let text = String::from_utf8(reply.body().to_vec()).unwrap();
        assert!(text.contains("unavailable") && !text.contains("127.0.0.1") && !text.contains("hrottl"), "{text}");
    }
}
