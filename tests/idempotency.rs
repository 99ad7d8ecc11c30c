//! The same submit twice is one job: idempotency keys, digests, and the queue's limit.

use std::collections::BTreeSet;

use bcrlapi::{Client, Signer};
use bcrlapi_api::content_digest;
use bcrlapi_cloud::KeyedSubmit;
use bcrlapi_domain::{IdempotencyKey, Job, JobId, Owner, Status};
use bcrlapi_local::{REGION, Settings, until};
use bcrlapi_tests::{DYNAMODB_URL, Fate, Faults, Reply, Request, System, payload};
use chrono::Utc;
use futures::future::join_all;
use http::Method;
use uuid::Uuid;

const MOCK: &str = "/v1/apis/mock/jobs";

fn keyed(system: &System, key: &str, body: &str) -> Request {
    system.request(Method::POST, MOCK, body).header("idempotency-key", key)
}

fn uuid(reply: &Reply) -> JobId {
    assert_eq!(reply.status, 202, "{reply:?}");
    reply.json()["uuid"].as_str().unwrap().parse().unwrap()
}

fn is_replayed(reply: &Reply) -> bool {
    reply.headers.get("idempotency-replayed").is_some_and(|value| value == "true")
}

/// What stands in the table for the lab, and what in the bucket: they must name the same jobs.
async fn jobs_in_the_cloud(system: &System) -> BTreeSet<JobId> {
    let rows = BTreeSet::from_iter(system.stack().store().inbox(Utc::now()).await.unwrap());
    let names = rows.iter().map(|id| format!("{id}.json")).collect::<BTreeSet<_>>();
    assert_eq!(system.request_objects(), names, "a row for each body and a body for each row");
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_gives_the_same_job_and_another_body_is_refused() {
    let system = System::start().await;
    let first = keyed(&system, "k-1", r#"{"a": 1}"#).send().await;
    assert!(!is_replayed(&first));
    for spelling in ["k-1", "\"k-1\""] {
        let again = keyed(&system, spelling, r#"{"a": 1}"#).send().await;
        assert_eq!((uuid(&again), is_replayed(&again)), (uuid(&first), true));
        assert_eq!(again.header("location"), first.header("location"));
    }
    let other = keyed(&system, "k-1", r#"{"a": 2}"#).send().await;
    other.assert_problem(422, "idempotency-key-reused");

    let mut jobs = BTreeSet::from([uuid(&first)]);
    let bobs = system.request_of(system.bob(), Method::POST, MOCK, r#"{"a": 1}"#).header("idempotency-key", "k-1");
    let soc = system.request(Method::POST, "/v1/apis/soc/jobs", r#"{"a": 1}"#).header("idempotency-key", "k-1");
    let unkeyed = system.request(Method::POST, MOCK, r#"{"a": 1}"#);
    for request in [bobs, soc, unkeyed, keyed(&system, "k-2", r#"{"a": 1}"#)] {
        let reply = request.send().await;
        assert!(!is_replayed(&reply) && jobs.insert(uuid(&reply)), "caller, api and key together are the name");
    }
    assert_eq!(jobs_in_the_cloud(&system).await, jobs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_done_is_still_the_keys() {
    let system = System::start().await;
    let first = uuid(&keyed(&system, "k", "{}").send().await);
    let (_agent, _worker) = (system.start_agent(), system.start_worker());
    system.reached(first, Status::Done).await;
    let again = keyed(&system, "k", "{}").send().await;
    assert_eq!((uuid(&again), is_replayed(&again)), (first, true));
    assert_eq!(again.json()["outcome"], "succeeded");
    assert_eq!(system.runs(), [first]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_submits_at_once_with_one_key_make_one_job() {
    let system = System::start().await;
    let replies = join_all((0..200).map(|_| keyed(&system, "only-one", r#"{"a": 1}"#).send())).await;
    let jobs: BTreeSet<_> = replies.iter().map(uuid).collect();
    assert_eq!(jobs.len(), 1);
    assert_eq!(replies.iter().filter(|reply| !is_replayed(reply)).count(), 1, "one of them is the first");
    assert_eq!(jobs_in_the_cloud(&system).await, jobs);
}

fn job() -> Job {
    let owner = Owner::from_identity("1", "AIDA").unwrap();
    let id = Uuid::now_v7().try_into().unwrap();
    Job::requested(id, "soc".parse().unwrap(), owner, payload("{}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submit_whose_answer_was_lost_is_the_same_submit_and_a_loser_leaves_nothing() {
    let system = System::start().await;
    let store = system.stack().store();
    let (winner, loser) = (job(), job());
    let key: IdempotencyKey = "k".parse().unwrap();
    // A try that is repeated is the same to the last byte.
    let now = Utc::now();
    let submit = async |job: &Job| store.submit_keyed(job, "{}".into(), &key, now).await.unwrap();
    assert_eq!(submit(&winner).await, None);
    assert_eq!(submit(&winner).await, None, "by its token");
    let earlier = KeyedSubmit { id: winner.id, request_sha256: winner.request.sha256.clone() };
    assert_eq!(submit(&loser).await, Some(earlier.clone()));
    assert_eq!(store.keyed_submit(&loser, &key, Utc::now()).await.unwrap(), Some(earlier));
    assert_eq!(jobs_in_the_cloud(&system).await, BTreeSet::from([winner.id]));

    // A week later the key is free, whether its row has gone already or not.
    let later = winner.id.expiry_date();
    assert_eq!(store.keyed_submit(&loser, &key, later).await.unwrap(), None);
    assert_eq!(store.submit_keyed(&loser, "{}".into(), &key, later).await.unwrap(), None);
    assert_eq!(store.keyed_submit(&winner, &key, Utc::now()).await.unwrap().unwrap().id, loser.id);
}

/// What DynamoDB answers to one of two transactions that meet on a row. The embedded one never does: it knows one at a
/// time.
const CONFLICT: &str = r#"{"__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
    "Message": "Transaction cancelled", "CancellationReasons": [{"Code": "TransactionConflict"}, {"Code": "None"}]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_submit_that_meets_another_is_tried_again() {
    let system = System::start().await;
    let dynamodb = Faults::start(&system.environment(DYNAMODB_URL)).await;
    dynamodb.first(3, Fate::Answer(400, CONFLICT));
    let store = system.store_behind(&dynamodb).await;
    let (job, key) = (job(), "k".parse().unwrap());
    assert_eq!(store.submit_keyed(&job, "{}".into(), &key, Utc::now()).await.unwrap(), None);
    assert_eq!(dynamodb.requests(), 4, "the transaction and nothing else");
    assert_eq!(jobs_in_the_cloud(&system).await, BTreeSet::from([job.id]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_answer_was_lost_tries_again_and_has_one_job() {
    let system = System::start().await;
    let api = Faults::start(system.stack().api_url()).await;
    api.first(1, Fate::LoseAnswer);
    let client = Client::new(api.url(), Signer::new(system.alice().credentials(), REGION)).unwrap();
    let job = client.submit(&"mock".parse().unwrap(), b"{}".to_vec()).await.unwrap();
    assert_eq!(api.requests(), 2);
    assert_eq!(jobs_in_the_cloud(&system).await, BTreeSet::from([job.uuid]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_that_was_sent_is_checked() {
    let system = System::start().await;
    let digest = |body: &str| content_digest::render(&payload(body).sha256);
    let submit = |value: String| system.request(Method::POST, MOCK, "{}").header("content-digest", &value).send();
    let good = digest("{}");

    for checked in [good.clone(), good.replace("sha", "SHA"), format!("sha-512=:AAAA:, {good}")] {
        assert_eq!(submit(checked.clone()).await.status, 202, "{checked}");
    }

    for other in [digest("{} "), digest("{} ").replace("sha", "SHA"), format!("md5=:AAAA:, {}", digest(""))] {
        submit(other).await.assert_problem(422, "digest-mismatch");
    }

    for malformed in ["", "sha-256", "sha-256=:AAAA:", "sha-256=:no base64:", "sha-256=AAAA", "sha-256=::"] {
        let problem = submit(malformed.to_owned()).await.assert_problem(400, "invalid-header");
        assert!(problem.detail.contains("it is malformed (RFC 9530)"), "{}", problem.detail);
    }

    // Nothing here could check these, and the caller is told so.
    for unknown in ["sha-512=:AAAA:", "md5=:AAAA:, crc32c=:AAAA:"] {
        let problem = submit(unknown.to_owned()).await.assert_problem(400, "invalid-header");
        assert!(problem.detail.contains("sha-256, the only algorithm"), "{}", problem.detail);
    }

    assert_eq!(jobs_in_the_cloud(&system).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_takes_no_new_job_and_still_knows_the_old_ones() {
    let system = System::start_with(Settings { queue_limit: Some(2), ..Settings::default() }).await;
    let first = uuid(&keyed(&system, "first", "{}").send().await);
    system.stack().store().take(first).await.unwrap();
    keyed(&system, "second", "{}").send().await;
    for full in [keyed(&system, "third", "{}"), system.request(Method::POST, MOCK, "{}")] {
        let full = full.send().await;
        full.assert_problem(429, "queue-full");
        assert_eq!(full.header("retry-after"), "60");
    }
    assert_eq!(uuid(&keyed(&system, "first", "{}").send().await), first);
    system.stack().store().fail(first, "so that there is room", None, Utc::now()).await.unwrap();
    let taken = until("a new count of the queue", async || {
        Some(keyed(&system, "third", "{}").send().await).filter(|answer| answer.status == 202)
    });
    uuid(&taken.await.unwrap());
}
