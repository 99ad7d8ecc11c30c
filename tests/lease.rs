//! One agent serves a lab, also where the lock on the directory cannot tell two apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bcrlapi_agent::{Agent, AgentError, Clock, Lease, Look};
use bcrlapi_cloud::{Beat, Heartbeat, JobStore, Place};
use bcrlapi_directory::{Lock, SharedDir};
use bcrlapi_exchange::{RESPONSE_GRACE, Settings, Workload, layout};
use bcrlapi_local::until;
use bcrlapi_tests::{DYNAMODB_URL, Fate, Faults, System};
use chrono::{FixedOffset, TimeDelta, Utc};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const SETTINGS: Settings =
    Settings { offset: FixedOffset::east_opt(0).unwrap(), lost_after: None, response_grace: RESPONSE_GRACE };

fn place(host: &str, directory: &str) -> Place {
    Place { host: host.to_owned(), directory: directory.to_owned() }
}

/// An agent's store, and the proxy that its calls to DynamoDB go through.
async fn agent(system: &System) -> (JobStore, Faults) {
    let dynamodb = Faults::start(&system.environment(DYNAMODB_URL)).await;
    (system.store_behind(&dynamodb).await, dynamodb)
}

/// The lock on a directory of its own: a lock of a directory in which no agent was before.
fn own_lock() -> Arc<Lock> {
    let directory = tempfile::tempdir().unwrap();
    Arc::new(SharedDir::open(directory.path()).unwrap().lock_for_agent().unwrap())
}

async fn acquire(store: &JobStore, place: Place) -> Result<Lease, AgentError> {
    acquire_with(own_lock(), store, place).await
}

async fn acquire_with(lock: Arc<Lock>, store: &JobStore, place: Place) -> Result<Lease, AgentError> {
    let lease = Lease::acquire(store, place, lock, Clock::SYSTEM, &CancellationToken::new()).await?;
    Ok(lease.expect("nobody stops it"))
}

async fn row(system: &System) -> Heartbeat {
    system.stack().store().heartbeat().await.unwrap().unwrap()
}

/// Waits until somebody has looked at the lab's row and could not take it: one call to read it, one
/// to write.
async fn is_waiting(dynamodb: &Faults) {
    until("a look at the row", async || (dynamodb.requests() >= 2).then_some(())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn on_another_mount_an_agent_waits_and_refuses_once_the_first_is_heard_of() {
    let system = System::start().await;
    let (of_first, _) = agent(&system).await;
    let first = acquire(&of_first, place("lab1", "/mnt/a")).await.unwrap();
    for other in [place("lab1", "/mnt/b"), place("lab2", "/mnt/a")] {
        let (of_second, dynamodb) = agent(&system).await;
        let second = tokio::spawn(async move { acquire(&of_second, other).await });
        is_waiting(&dynamodb).await;
        assert!(!second.is_finished(), "it waits");

        first.renew(&of_first, Workload::default()).await.unwrap();
        let refused = second.await.unwrap().unwrap_err();
        let text = refused.to_string();
        assert!(text.contains("on host lab1, in /mnt/a") && text.contains("stop one of the two"), "{text}");
        let holder = row(&system).await.holder.unwrap();
        assert_eq!(holder.place, place("lab1", "/mnt/a"), "the first goes on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_another_agent_takes_over_once_the_silence_is_long_enough() {
    let system = System::start().await;
    let (of_first, _) = agent(&system).await;
    let first = acquire(&of_first, place("lab1", "/mnt/a")).await.unwrap();
    let workload = Workload { pending: 2, processing: 1, ..Workload::default() };
    first.renew(&of_first, workload).await.unwrap();

    // It was killed 147 seconds ago.
    let mut last = row(&system).await;
    last.last_sync = of_first.date().unwrap() - Heartbeat::SILENCE + TimeDelta::seconds(3);
    assert_eq!(of_first.record_heartbeat(&last).await.unwrap(), Beat::Recorded);
    let (of_second, dynamodb) = agent(&system).await;
    let second = acquire(&of_second, place("lab2", "/mnt/a")).await.unwrap();

    let taken = row(&system).await;
    assert!(dynamodb.requests() > 2, "it has waited");
    assert!(taken.last_sync - last.last_sync > Heartbeat::SILENCE, "by the cloud's date: {taken:?}");
    assert_eq!((taken.pending, taken.processing), (2, 1), "how much there is to do is still known");

    let refused = first.renew(&of_first, workload).await.unwrap_err();
    assert!(matches!(&refused, AgentError::HeldByAnother { host, .. } if host == "lab2"), "{refused}");
    first.release(&of_first).await;
    assert_eq!(row(&system).await, taken, "who has lost the lab does not give it away");
    second.renew(&of_second, workload).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_same_place_and_after_a_clean_end_the_next_agent_starts_at_once() {
    let system = System::start().await;
    let (store, dynamodb) = agent(&system).await;
    let lock = own_lock();
    drop(acquire_with(Arc::clone(&lock), &store, place("lab1", "/mnt/a")).await.unwrap());
    assert_eq!(dynamodb.requests(), 2, "no lab can be taken with fewer");

    let restarted = acquire_with(lock, &store, place("lab1", "/mnt/a")).await.unwrap();
    assert_eq!(dynamodb.requests(), 4, "the lock has shown that the first is gone");
    restarted.release(&store).await;
    drop(acquire(&store, place("lab2", "/mnt/a")).await.unwrap());
    assert_eq!(dynamodb.requests(), 7);
}

/// As two containers or two clones of one computer do; both served, and neither was told.
#[tokio::test(flavor = "multi_thread")]
async fn two_agents_whose_places_have_one_name_are_told_apart_by_their_locks() {
    let system = System::start().await;
    let (of_first, _) = agent(&system).await;
    let first = acquire(&of_first, place("lab1", "/mnt/a")).await.unwrap();
    let (of_second, dynamodb) = agent(&system).await;
    let second = tokio::spawn(async move { acquire(&of_second, place("lab1", "/mnt/a")).await });
    is_waiting(&dynamodb).await;
    first.renew(&of_first, Workload::default()).await.unwrap();
    let refused = second.await.unwrap().unwrap_err();
    assert!(matches!(&refused, AgentError::HeldByAnother { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_names_nobody_keeps_nobody_out_and_a_date_of_the_future_neither() {
    let system = System::start().await;
    let (store, dynamodb) = agent(&system).await;
    drop(acquire(&store, place("lab1", "/mnt/a")).await.unwrap());
    let older = Heartbeat { holder: None, ..row(&system).await };
    assert_eq!(store.record_heartbeat(&older).await.unwrap(), Beat::Recorded, "agents of before wrote so");
    let before = dynamodb.requests();
    drop(acquire(&store, place("lab2", "/mnt/a")).await.unwrap());

    let ahead = Heartbeat { last_sync: Utc::now() + TimeDelta::days(8), ..row(&system).await };
    assert_eq!(store.record_heartbeat(&ahead).await.unwrap(), Beat::Recorded);
    drop(acquire(&store, place("lab1", "/mnt/a")).await.unwrap());
    assert_eq!(dynamodb.requests(), before + 5, "nobody has waited");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_the_wait() {
    let system = System::start().await;
    let (store, _) = agent(&system).await;
    let _first = acquire(&store, place("lab1", "/mnt/a")).await.unwrap();
    let (of_second, dynamodb) = agent(&system).await;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let waits =
        async move { Lease::acquire(&of_second, place("lab2", "/mnt/a"), own_lock(), Clock::SYSTEM, &stopped).await };
    let second = tokio::spawn(waits);
    is_waiting(&dynamodb).await;
    stop.cancel();
    assert!(second.await.unwrap().unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn in_an_outage_the_lab_is_taken_later_and_before_anything_else() {
    let system = System::start().await;
    let (store, dynamodb) = agent(&system).await;
    dynamodb.first(1, Fate::Refuse(400, "ExpiredTokenException"));
    let lease = acquire(&store, place("lab1", "/mnt/a")).await.unwrap();
    assert_eq!(system.stack().store().heartbeat().await.unwrap(), None, "it is not taken yet");
    lease.renew_if_stale(&store, Workload::default()).await.unwrap();
    assert_eq!(row(&system).await.holder.unwrap().place.host, "lab1");

    let (of_second, dynamodb) = agent(&system).await;
    dynamodb.first(1, Fate::Refuse(400, "ExpiredTokenException"));
    let second = acquire(&of_second, place("lab2", "/mnt/a")).await.unwrap();
    let refused = second.renew_if_stale(&of_second, Workload::default()).await.unwrap_err();
    assert!(matches!(&refused, AgentError::HeldByAnother { host, .. } if host == "lab1"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_may_have_run_out_is_renewed_and_a_fresh_one_costs_no_call() {
    /// How much later it is than the cloud says.
    static LATER_S: AtomicI64 = AtomicI64::new(0);
    let later = |store: &JobStore| Some(store.date()? + TimeDelta::seconds(LATER_S.load(Ordering::SeqCst)));
    let clock = Clock { cloud: later, ..Clock::SYSTEM };
    let system = System::start().await;
    let (store, dynamodb) = agent(&system).await;
    let lease = Lease::acquire(&store, place("lab1", "/mnt/a"), own_lock(), clock, &CancellationToken::new()).await;
    let lease = lease.unwrap().unwrap();
    let calls = dynamodb.requests();
    for (later_s, more_calls) in [(0, 0), (60, 0), (120, 1), (180, 1), (240, 2)] {
        LATER_S.store(later_s, Ordering::SeqCst);
        lease.renew_if_stale(&store, Workload::default()).await.unwrap();
        assert_eq!(dynamodb.requests() - calls, more_calls, "after {later_s} s");
    }
}

/// A take has failed, and the lab is another's before it could be tried again.
#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_an_agent_that_has_lost_the_lab_hands_out_nothing() {
    /// How much later it is than the cloud says.
    static LATER_S: AtomicI64 = AtomicI64::new(0);
    let later = |store: &JobStore| Some(store.date()? + TimeDelta::seconds(LATER_S.load(Ordering::SeqCst)));
    let clock = Clock { cloud: later, ..Clock::SYSTEM };
    let system = System::start().await;
    let (store, dynamodb) = agent(&system).await;
    let directory = SharedDir::open(&system.shared("")).unwrap();
    let mut first = Agent::new(store.clone(), directory, SETTINGS, clock).unwrap();
    let lease = Lease::acquire(&store, place("lab1", "/mnt/a"), own_lock(), clock, &CancellationToken::new()).await;
    first.serve_under(lease.unwrap().unwrap());
    first.round(Look::Everywhere).await.unwrap();

    let job = system.submit("mock", &json!({})).await.uuid;
    dynamodb.every(2, Fate::Refuse(400, "ExpiredTokenException"));
    first.round(Look::Everywhere).await.unwrap();
    dynamodb.always(Fate::Pass);
    let waits = async || system.stack().store().inbox(Utc::now()).await.unwrap() == [job];
    assert!(waits().await, "the inbox was answered, and the take was not");

    LATER_S.store(Heartbeat::SILENCE.num_seconds() + 10, Ordering::SeqCst);
    let (of_second, _) = agent(&system).await;
    let second =
        Lease::acquire(&of_second, place("lab2", "/mnt/a"), own_lock(), clock, &CancellationToken::new()).await;
    let _second = second.unwrap().unwrap();
    for look in [Look::Directory, Look::Everywhere] {
        let lost = first.round(look).await.unwrap_err();
        assert!(matches!(&lost, AgentError::HeldByAnother { host, .. } if host == "lab2"), "{lost}");
        assert!(waits().await, "after {look:?} the job is still for the other");
    }
    assert!(!system.shared(&layout::request(job)).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_of_two_agents_serves_nothing_until_the_first_has_stopped() {
    let system = System::start().await;
    let first = system.start_agent();
    until("the first", async || first.log().contains("agent started").then_some(())).await.unwrap();
    let other = system.path("other");
    std::fs::create_dir(&other).unwrap();
    let second = system.start_agent_with(&[("BCRLAPI_SHARED", other.to_str().unwrap())]);
    until("it to wait", async || second.log().contains("another agent has served this lab").then_some(()))
        .await
        .unwrap();
    let job = system.submit("mock", &json!({})).await;
    system.entry(job.uuid).await;
    assert!(!second.log().contains("agent started"), "{}", second.log());
    assert!(!other.join("request/status.json").exists(), "it has handed out nothing");

    assert!(first.terminate().success());
    until("the second", async || second.log().contains("agent started").then_some(())).await.unwrap();
    assert!(second.terminate().success());
}
