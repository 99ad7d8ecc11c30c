//! The agent's clocks: what none of them may bring to its end too early.

use std::fs;
use std::sync::atomic::{AtomicI64, Ordering};

use bcrlapi_agent::{Agent, Clock, LOST_AFTER, Look};
use bcrlapi_cloud::JobStore;
use bcrlapi_directory::SharedDir;
use bcrlapi_domain::{Job, JobId, Outcome, State};
use bcrlapi_exchange::{RESPONSE_GRACE, Settings, layout};
use bcrlapi_tests::System;
use chrono::{FixedOffset, TimeDelta, Utc};
use serde_json::{Value, json};

const SETTINGS: Settings = Settings {
    offset: FixedOffset::east_opt(0).unwrap(),
    lost_after: Some(LOST_AFTER),
    response_grace: RESPONSE_GRACE,
};

async fn agent(system: &System, clock: Clock) -> Agent {
    let store = system.stack().connect().await;
    Agent::new(store, SharedDir::open(&system.shared("")).unwrap(), SETTINGS, clock).unwrap()
}

/// Lets the agent do all that there is to do.
async fn settle(agent: &mut Agent) {
    for _ in 0..3 {
        agent.round(Look::Everywhere).await.unwrap();
        agent.finish_uploads().await;
    }
}

fn set_status(system: &System, id: JobId, status: &str) {
    let mut queue: Value = serde_json::from_slice(&fs::read(system.shared(layout::STATUS)).unwrap()).unwrap();
    let entries = queue["jobs"].as_array_mut().unwrap();
    let entry = entries.iter_mut().find(|entry| entry["uuid"] == json!(id)).unwrap();
    entry["status"] = json!(status);
    fs::write(system.shared(layout::STATUS), queue.to_string()).unwrap();
}

async fn job(system: &System, id: JobId) -> Job {
    system.stack().store().job(id).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_behind_and_is_then_set_right_ends_no_job() {
    /// How far this computer's clock is behind.
    static BEHIND_S: AtomicI64 = AtomicI64::new(9 * 3600);
    let local = || Utc::now() - TimeDelta::seconds(BEHIND_S.load(Ordering::SeqCst));
    let system = System::start().await;
    let mut agent = agent(&system, Clock { local, ..Clock::SYSTEM }).await;
    let (lost, checkpoint) =
        (system.submit("mock", &json!({})).await.uuid, system.submit("mock", &json!({})).await.uuid);
    settle(&mut agent).await;
    set_status(&system, lost, "processing");
    set_status(&system, checkpoint, "processing");
    fs::write(system.shared(&layout::response(checkpoint)), "{}").unwrap();
    settle(&mut agent).await;

    BEHIND_S.store(0, Ordering::SeqCst);
    settle(&mut agent).await;
    for id in [lost, checkpoint] {
        let job = job(&system, id).await;
        assert_eq!(job.state, State::Processing);
        assert!(job.start_date.unwrap() >= id.request_date(), "{job:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_computer_that_was_suspended_ends_no_job() {
    /// For how long it was.
    static SUSPENDED_S: AtomicI64 = AtomicI64::new(0);
    /// How much later it is than when the test has begun, but for that.
    static LATER_S: AtomicI64 = AtomicI64::new(0);
    let awake = || (Clock::SYSTEM.awake)() + TimeDelta::seconds(LATER_S.load(Ordering::SeqCst));
    let cloud = |store: &JobStore| {
        let past_s = LATER_S.load(Ordering::SeqCst) + SUSPENDED_S.load(Ordering::SeqCst);
        Some(store.date()? + TimeDelta::seconds(past_s))
    };
    let system = System::start().await;
    let mut agent = agent(&system, Clock { cloud, awake, ..Clock::SYSTEM }).await;
    let (lost, checkpoint) =
        (system.submit("mock", &json!({})).await.uuid, system.submit("mock", &json!({})).await.uuid);
    settle(&mut agent).await;
    set_status(&system, lost, "processing");
    set_status(&system, checkpoint, "processing");
    fs::write(system.shared(&layout::response(checkpoint)), "{}").unwrap();
    settle(&mut agent).await;

    SUSPENDED_S.store(9 * 3600, Ordering::SeqCst);
    settle(&mut agent).await;
    for id in [lost, checkpoint] {
        assert_eq!(job(&system, id).await.state, State::Processing);
    }

    LATER_S.store(61, Ordering::SeqCst);
    settle(&mut agent).await;
    assert_eq!(job(&system, lost).await.state, State::Processing);
    assert_eq!(job(&system, checkpoint).await.state, State::Done(Outcome::Succeeded), "a minute is a minute");

    LATER_S.store(6 * 3600 + 1, Ordering::SeqCst);
    settle(&mut agent).await;
    assert_eq!(job(&system, lost).await.state, State::Done(Outcome::Lost));
}
