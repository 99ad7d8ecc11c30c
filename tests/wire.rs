//! Faults on the wire between the agent and the two stores: it waits, says what is wrong, and goes on without a
//! restart.

use std::time::{Duration, Instant};

use bcrlapi_domain::Status;
use bcrlapi_local::until;
use bcrlapi_tests::{DYNAMODB_URL, Fate, Faults, Process, S3_URL, System, seed};
use serde_json::json;

use crate::lab::{assert_each_ran_once, submit_many};

/// Every way in which a request can go wrong.
const FATES: [Fate; 8] = [
    Fate::Delay(Duration::from_millis(200)),
    Fate::Cut,
    Fate::LoseAnswer,
    Fate::CutAnswer,
    Fate::Refuse(500, "InternalServerError"),
    Fate::Refuse(503, "SlowDown"),
    Fate::Refuse(400, "ThrottlingException"),
    Fate::Refuse(400, "ExpiredTokenException"),
];

/// A system, and an agent of it whose every request to the stores goes through these proxies.
async fn start() -> (System, [Faults; 2], Process) {
    let system = System::start().await;
    let mut proxies = Vec::new();
    for name in [DYNAMODB_URL, S3_URL] {
        proxies.push(Faults::start(&system.environment(name)).await);
    }
    let [dynamodb, s3] = <[Faults; 2]>::try_from(proxies).unwrap();
    let environment = [(DYNAMODB_URL, dynamodb.url()), (S3_URL, s3.url())];
    let agent = system.start_agent_with(&environment);
    (system, [dynamodb, s3], agent)
}

/// Something goes wrong with every request until the log says so; then nothing does, and the same agent goes on.
async fn goes_on_after(fate: Fate) {
    const FAULTY_FOR: Duration = Duration::from_secs(4);
    /// An agent that tries again at once sends thousands.
    const REQUESTS_MAX: u64 = 200;
    let (system, proxies, agent) = start().await;
    let _worker = system.start_worker();
    let first = submit_many(&system, 1, 0.0).await;
    system.reached(first[0].uuid, Status::Done).await;

    let log_before = agent.log().len();
    for proxy in &proxies {
        proxy.always(fate);
    }
    let before: u64 = proxies.iter().map(Faults::requests).sum();
    let begin = Instant::now();
    let mut jobs = first;
    jobs.push(system.submit("mock", &json!({"payload": 1})).await);
    let complaint = async || agent.log()[log_before..].contains("trying again").then_some(());
    until("the complaint", complaint).await.unwrap();
    until("the fault to have lasted", async || (begin.elapsed() >= FAULTY_FOR).then_some(())).await.unwrap();
    let requests = proxies.iter().map(Faults::requests).sum::<u64>() - before;
    assert!(requests <= REQUESTS_MAX, "{requests} requests in {:?} are a busy loop", begin.elapsed());

    for proxy in &proxies {
        proxy.always(Fate::Pass);
    }
    jobs.push(system.submit("mock", &json!({"payload": 2})).await);
    assert_each_ran_once(&system, &jobs).await;
    assert_eq!(agent.terminate().code(), Some(0), "it is the same agent");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_goes_on_after_cut_connections() {
    goes_on_after(Fate::Cut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_goes_on_after_lost_answers() {
    goes_on_after(Fate::LoseAnswer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_goes_on_after_answers_that_never_come() {
    goes_on_after(Fate::Hang).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_goes_on_after_errors_of_the_stores() {
    goes_on_after(Fate::Refuse(500, "InternalServerError")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_goes_on_after_throttling() {
    goes_on_after(Fate::Refuse(400, "ThrottlingException")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_goes_on_once_its_credentials_are_good_again() {
    goes_on_after(Fate::Refuse(400, "ExpiredTokenException")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_bad_wire_every_program_still_runs_once() {
    const JOBS: usize = 15;
    let (system, proxies, _agent) = start().await;
    let seed = seed();
    let _worker = system.start_worker();
    for (proxy, number) in proxies.iter().zip(0..) {
        proxy.sometimes(seed.wrapping_add(number), &FATES);
    }
    let jobs = submit_many(&system, JOBS, 0.05).await;
    assert_each_ran_once(&system, &jobs).await;
}

/// Two requests come before the rows, so one of the four is refused each time that all are read.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_could_be_read_are_not_read_again_because_of_one_that_could_not() {
    let (system, [dynamodb, _s3], agent) = start().await;
    let jobs = submit_many(&system, 4, 0.0).await;
    for job in &jobs {
        system.entry(job.uuid).await;
    }
    agent.kill();
    dynamodb.every(4, Fate::Refuse(400, "ExpiredTokenException"));
    let _agent = system.start_agent_with(&[(DYNAMODB_URL, dynamodb.url())]);
    let new = system.submit("mock", &json!({})).await;
    system.entry(new.uuid).await;
}
