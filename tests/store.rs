//! The conditions on which everything else rests: what a row lets happen to it.

use bcrlapi_cloud::{JobStore, LastWords, LocalEndpoints, StoreError};
use bcrlapi_domain::{Job, JobId, Outcome, Owner, Payload, State};
use bcrlapi_tests::{DYNAMODB_URL, Fate, Faults, System, payload, sha256};
use chrono::{DateTime, TimeDelta, Utc};
use tokio::io::AsyncReadExt;
use uuid::Uuid;

const BODY: &str = "{}";

fn new_id() -> JobId {
    Uuid::now_v7().try_into().unwrap()
}

/// A job that was just submitted.
async fn submitted(system: &System, id: JobId) -> Job {
    let owner = Owner::from_identity("1", "AIDA").unwrap();
    let job = Job::requested(id, "soc".parse().unwrap(), owner, payload(BODY));
    system.stack().store().submit(&job, BODY.into()).await.unwrap();
    job
}

fn now() -> DateTime<Utc> {
    Utc::now()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_gives_back_the_job_it_was_made_of() {
    let system = System::start().await;
    let store = system.stack().store();
    let job = submitted(&system, new_id()).await;
    assert_eq!(store.job(job.id).await.unwrap(), Some(job.clone()));
    assert_eq!(store.read_request(job.id, &job.request).await.unwrap().unwrap(), BODY);
    assert_eq!(store.job(new_id()).await.unwrap(), None);
    store.submit(&job, BODY.into()).await.expect("a try whose answer was lost may be repeated");
    assert_eq!(store.inbox(now()).await.unwrap(), [job.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_says_what_time_it_is_in_the_cloud() {
    let system = System::start().await;
    let is_right = |date: DateTime<Utc>| (now() - date).abs() < TimeDelta::seconds(30);

    let of_dynamodb = system.stack().connect().await;
    assert_eq!(of_dynamodb.date(), None, "nobody has answered yet");
    of_dynamodb.inbox(now()).await.unwrap();
    assert!(of_dynamodb.clone().date().is_some_and(is_right), "the clones share it");

    let of_s3 = system.stack().connect().await;
    assert_eq!(of_s3.read_request(new_id(), &payload(BODY)).await.unwrap(), None);
    assert!(of_s3.date().is_some_and(is_right), "an answer that refuses has a date too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_from_the_inbox_to_the_taken_ones_and_leaves_them_when_it_is_done() {
    let system = System::start().await;
    let store = system.stack().store();
    let jobs = [submitted(&system, new_id()).await, submitted(&system, new_id()).await];
    assert_eq!(store.inbox(now()).await.unwrap(), [jobs[0].id, jobs[1].id], "oldest first");

    for _ in 0..2 {
        assert_eq!(store.take(jobs[0].id).await.unwrap(), Some(jobs[0].clone()), "taking it again gives it again");
    }
    assert_eq!(store.inbox(now()).await.unwrap(), [jobs[1].id]);
    assert_eq!(store.taken_jobs(now()).await.unwrap(), [jobs[0].id]);

    store.succeed(jobs[0].id, &payload(BODY), None, now()).await.unwrap();
    assert_eq!(store.taken_jobs(now()).await.unwrap(), []);
    assert_eq!(store.take(jobs[0].id).await.unwrap(), None, "a done job cannot be taken");
    assert_eq!(store.take(new_id()).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_jobs_in_one_call_come_to_what_each_would_alone() {
    let system = System::start().await;
    let store = system.stack().store();
    let mut jobs = Vec::new();
    for _ in 0..JobStore::BATCH_MAX - 4 {
        jobs.push(submitted(&system, new_id()).await);
    }
    let [taken, wanted_back, canceled, done] = [0; 4].map(|_| new_id());
    for id in [taken, wanted_back, canceled, done] {
        submitted(&system, id).await;
    }
    for id in [taken, wanted_back, done] {
        store.take(id).await.unwrap();
    }
    store.cancel(wanted_back, now()).await.unwrap();
    store.cancel(canceled, now()).await.unwrap();
    store.succeed(done, &payload(BODY), None, now()).await.unwrap();

    let ids: Vec<JobId> = jobs.iter().map(|job| job.id).chain([taken, wanted_back, done, new_id()]).collect();
    let together: Vec<Option<Job>> = store.take_all(&ids).await.into_iter().map(Result::unwrap).collect();
    let mut alone = Vec::new();
    for id in &ids {
        alone.push(store.take(*id).await.unwrap());
    }
    assert_eq!(together, alone);
    assert_eq!(alone.iter().filter(|job| job.is_none()).count(), 2, "one is done, and one was never there");
    assert!(together[ids.len() - 3].as_ref().unwrap().cancel_requested);
    assert_eq!(store.taken_jobs(now()).await.unwrap().len(), JobStore::BATCH_MAX - 2);
    assert_eq!(store.take_all(&[canceled, taken]).await[0].as_ref().unwrap(), &None);

    let started = now();
    for job in store.start_all(&ids, started).await {
        let Some(job) = job.unwrap() else { continue };
        let done = job.id == done;
        let is_right = if done { job.state.is_done() } else { job.state == State::Processing };
        assert!(is_right && job.start_date.is_some() != done, "{job:?}");
    }
    let again = store.start_all(&ids[..2], started + TimeDelta::seconds(9)).await;
    let start_dates = again.into_iter().map(|job| job.unwrap().unwrap().start_date.unwrap().timestamp_millis());
    assert!(start_dates.eq([started.timestamp_millis(); 2]), "a start is recorded once");
    assert!(!store.cancel(wanted_back, now()).await.unwrap().unwrap().state.is_done(), "its program was quicker");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_are_read_in_one_call_for_each_hundred() {
    let system = System::start().await;
    let dynamodb = Faults::start(&system.environment(DYNAMODB_URL)).await;
    let store = system.store_behind(&dynamodb).await;
    let mut jobs = Vec::new();
    for _ in 0..=JobStore::READ_MAX {
        jobs.push(submitted(&system, new_id()).await);
    }
    let unknown = new_id();
    let expected: Vec<(JobId, Option<Job>)> =
        jobs.iter().map(|job| (job.id, Some(job.clone()))).chain([(unknown, None)]).collect();

    // Backwards, and one twice: a call may not name a row twice.
    let asked: Vec<JobId> = expected.iter().map(|(id, _)| *id).rev().chain([unknown]).collect();
    let read = store.jobs(&asked).await;
    let read: Vec<(JobId, Option<Job>)> = read.into_iter().map(|(id, job)| (id, job.unwrap())).collect();
    assert_eq!(read, expected);
    assert_eq!(dynamodb.requests(), 2);
    assert!(store.jobs(&[]).await.is_empty());
    assert_eq!(dynamodb.requests(), 2, "nothing is asked for nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_read_alone_where_a_call_for_many_is_not_permitted() {
    let system = System::start().await;
    let dynamodb = Faults::start(&system.environment(DYNAMODB_URL)).await;
    let store = system.store_behind(&dynamodb).await;
    let jobs = [submitted(&system, new_id()).await, submitted(&system, new_id()).await];
    dynamodb.first(1, Fate::Refuse(400, "AccessDeniedException"));
    let read = store.jobs(&[jobs[0].id, jobs[1].id]).await;
    let read: Vec<Job> = read.into_iter().map(|(_, job)| job.unwrap().unwrap()).collect();
    assert_eq!(read, jobs);
    assert_eq!(dynamodb.requests(), 3, "the call for both, and one for each");

    dynamodb.always(Fate::Refuse(400, "AccessDeniedException"));
    let read = store.jobs(&[jobs[0].id]).await;
    assert!(matches!(read[..], [(_, Err(StoreError::Unavailable { .. }))]), "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_dynamodb_passes_over_are_asked_for_again_within_a_limit() {
    let system = System::start().await;
    let dynamodb = Faults::start(&system.environment(DYNAMODB_URL)).await;
    let store = system.store_behind(&dynamodb).await;
    let id: JobId = "018aef2c-7a00-7000-8000-000000000001".parse().unwrap();
    let passed_over = r#"{"Responses": {}, "UnprocessedKeys": {"bcrlapi": {"ConsistentRead": true,
        "Keys": [{"pk": {"S": "job#018aef2c-7a00-7000-8000-000000000001"}}]}}}"#;
    dynamodb.first(2, Fate::Answer(200, passed_over));
    assert!(matches!(store.jobs(&[id]).await[..], [(_, Ok(None))]));
    assert_eq!(dynamodb.requests(), 3);

    dynamodb.always(Fate::Answer(200, passed_over));
    let other = new_id();
    let read = store.jobs(&[id, other]).await;
    assert!(matches!(&read[..], [(_, Err(StoreError::Unavailable { .. })), (_, Ok(None))]), "{read:?}");
    assert_eq!(dynamodb.requests(), 3 + 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_for_many_that_nobody_answers_fails_for_each() {
    let endpoints = LocalEndpoints {
        dynamodb_url: "http://127.0.0.1:9".to_owned(),
        s3_url: "http://127.0.0.1:9".to_owned(),
        region: "ap-northeast-1".to_owned(),
        access_key_id: "key".to_owned(),
        secret_access_key: "secret".to_owned(),
    };
    let store = JobStore::at_endpoints(&endpoints, "bcrlapi", "bcrlapi").await;
    let taken = store.take_all(&[new_id(), new_id()]).await;
    assert!(
        matches!(taken[..], [Err(StoreError::Unavailable { .. }), Err(StoreError::Unavailable { .. })]),
        "{taken:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_done_job_stays_as_it_is() {
    let system = System::start().await;
    let store = system.stack().store();
    let job = submitted(&system, new_id()).await;
    store.take(job.id).await.unwrap();
    let failed = store.fail(job.id, "the first word", None, now()).await.unwrap().unwrap();
    assert_eq!((failed.state, failed.error.as_deref()), (State::Done(Outcome::Failed), Some("the first word")));
    for later in [
        store.fail(job.id, "another word", None, now()).await,
        store.succeed(job.id, &payload(BODY), None, now()).await,
        store.report(job.id, Some(50), Some("still here"), now()).await,
    ] {
        assert_eq!(later.unwrap(), Some(failed.clone()));
    }
    assert_eq!(store.job(job.id).await.unwrap(), Some(failed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_keeps_what_it_does_not_mention() {
    let system = System::start().await;
    let store = system.stack().store();
    let job = submitted(&system, new_id()).await;
    let first = store.report(job.id, Some(10), Some("warm"), now()).await.unwrap().unwrap();
    let second = store.report(job.id, Some(20), None, now() + TimeDelta::seconds(9)).await.unwrap().unwrap();
    assert_eq!(second.state, State::Processing);
    assert_eq!((second.progress, second.message.as_deref()), (Some(20), Some("warm")));
    assert_eq!(second.start_date, first.start_date, "it started once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_has_said_last_comes_with_its_end() {
    let system = System::start().await;
    let store = system.stack().store();
    let [succeeds, fails] = [submitted(&system, new_id()).await.id, submitted(&system, new_id()).await.id];
    for id in [succeeds, fails] {
        store.report(id, Some(10), Some("warm"), now()).await.unwrap();
    }

    let last = Some(LastWords { progress: Some(90), message: Some("almost") });
    let job = store.succeed(succeeds, &payload(BODY), last, now()).await.unwrap().unwrap();
    assert_eq!(job.state, State::Done(Outcome::Succeeded));
    assert_eq!((job.progress, job.message.as_deref()), (Some(90), Some("almost")));

    let last = Some(LastWords { message: Some("stuck"), ..LastWords::default() });
    let job = store.fail(fails, "no", last, now()).await.unwrap().unwrap();
    assert_eq!((job.state, job.error.as_deref()), (State::Done(Outcome::Failed), Some("no")));
    assert_eq!((job.progress, job.message.as_deref()), (Some(10), Some("stuck")), "what it did not say stays");

    let later = Some(LastWords { progress: Some(100), message: Some("late") });
    assert_eq!(store.fail(fails, "no", later, now()).await.unwrap(), Some(job), "a done job stays as it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_can_be_made_of_a_job_that_never_was() {
    let system = System::start().await;
    let store = system.stack().store();
    assert_eq!(store.report(new_id(), None, None, now()).await.unwrap(), None);
    assert_eq!(store.fail(new_id(), "no", None, now()).await.unwrap(), None);
    assert_eq!(store.succeed(new_id(), &payload(BODY), None, now()).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_job_is_not_the_labs_any_more() {
    let system = System::start().await;
    let store = system.stack().store();
    let [old, new] = [submitted(&system, new_id()).await, submitted(&system, new_id()).await];
    store.take(old.id).await.unwrap();
    let in_a_week = now() + TimeDelta::days(7);
    assert_eq!(store.inbox(in_a_week - TimeDelta::minutes(1)).await.unwrap(), [new.id]);
    assert_eq!(store.taken_jobs(in_a_week - TimeDelta::minutes(1)).await.unwrap(), [old.id]);
    assert_eq!(store.inbox(in_a_week + TimeDelta::minutes(1)).await.unwrap(), []);
    assert_eq!(store.taken_jobs(in_a_week + TimeDelta::minutes(1)).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_the_rows_is_refused() {
    let system = System::start().await;
    let store = system.stack().store();
    let job = submitted(&system, new_id()).await;
    let larger = Payload { size_bytes: 3, ..job.request.clone() };
    let refused = store.read_request(job.id, &larger).await.unwrap_err();
    assert!(refused.to_string().contains("is damaged in the cloud"), "{refused}");
    let other = Payload { sha256: sha256(b"{ }"), ..job.request.clone() };
    let refused = store.read_request(job.id, &other).await.unwrap_err();
    assert!(refused.to_string().contains("SHA-256"), "{refused}");

    system.finish(job.id, BODY).await;
    let mut read = Vec::new();
    let mut body = Box::pin(store.open_response(job.id, &other).await.unwrap().unwrap());
    let refused = body.read_to_end(&mut read).await.unwrap_err();
    assert!(refused.to_string().contains("SHA-256"), "{refused}");
    body = Box::pin(store.open_response(job.id, &job.request).await.unwrap().unwrap());
    read.clear();
    body.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, BODY.as_bytes());
    assert_eq!(store.read_request(new_id(), &job.request).await.unwrap(), None);
}
