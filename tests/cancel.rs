//! Taking jobs back: what the caller is told, what the row lets happen, and who wins a race.

use std::collections::BTreeSet;
use std::fs;

use bcrlapi_api::routes;
use bcrlapi_domain::{Job, JobId, Outcome, Payload, State, Status};
use bcrlapi_exchange::Entry;
use bcrlapi_local::until;
use bcrlapi_tests::{Reply, System, seed};
use chrono::{DateTime, Utc};
use futures::future::join_all;
use http::Method;
use serde_json::json;

fn now() -> DateTime<Utc> {
    Utc::now()
}

async fn submitted(system: &System) -> JobId {
    system.submit("mock", &json!({})).await.uuid
}

async fn cancel(system: &System, id: JobId) -> Reply {
    system.request(Method::POST, &routes::cancel(id), "").send().await
}

fn nothing() -> Payload {
    Payload { size_bytes: 0, sha256: String::new() }
}

/// The job as the table has it, which must be what the caller sees.
async fn job(system: &System, id: JobId) -> Job {
    let job = system.stack().store().job(id).await.unwrap().unwrap();
    let seen = system.client().job(id).await.unwrap();
    assert_eq!((seen.status, seen.cancel_requested), (job.state.status(), job.cancel_requested));
    job
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_in_the_cloud_is_canceled_at_once() {
    let system = System::start().await;
    let (store, id) = (system.stack().store(), submitted(&system).await);
    for _ in 0..2 {
        let reply = cancel(&system, id).await;
        let seen = reply.json();
        assert_eq!(
            (reply.status.as_u16(), &seen["status"], &seen["outcome"]),
            (200, &json!("done"), &json!("canceled"))
        );
    }
    let canceled = job(&system, id).await;
    assert!(canceled.finish_date.is_some() && !canceled.cancel_requested);
    assert_eq!(store.inbox(now()).await.unwrap(), []);
    assert_eq!(store.take(id).await.unwrap(), None, "the lab cannot have it any more");
    let result = system.request(Method::GET, &routes::result(id), "").send().await;
    result.assert_problem(422, "job-canceled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_in_the_lab_is_asked_back_and_the_lab_learns_of_it() {
    let system = System::start().await;
    let (store, id) = (system.stack().store(), submitted(&system).await);
    store.take(id).await.unwrap();
    assert_eq!(store.inbox(now()).await.unwrap(), []);
    for _ in 0..2 {
        let reply = cancel(&system, id).await;
        let seen = reply.json();
        assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (202, "5"));
        assert_eq!((&seen["status"], &seen["cancel_requested"]), (&json!("pending"), &json!(true)));
    }
    assert_eq!(store.inbox(now()).await.unwrap(), [id], "the lab has something to look at");
    assert_eq!(store.take(id).await.unwrap(), Some(job(&system, id).await), "taking it again gives it again");
    assert_eq!((store.inbox(now()).await.unwrap(), store.taken_jobs(now()).await.unwrap()), (vec![], vec![id]));
    assert_eq!(cancel(&system, id).await.status, 202, "it is still the lab's");

    let canceled = store.record_canceled(id, now()).await.unwrap().unwrap();
    assert_eq!((canceled.state, canceled.cancel_requested), (State::Done(Outcome::Canceled), true));
    assert_eq!(store.record_canceled(id, now()).await.unwrap(), Some(canceled));
    assert_eq!((store.taken_jobs(now()).await.unwrap(), store.inbox(now()).await.unwrap()), (vec![], vec![]));
    assert_eq!(cancel(&system, id).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_was_quicker_runs_to_its_end() {
    let system = System::start().await;
    let (store, id) = (system.stack().store(), submitted(&system).await);
    store.take(id).await.unwrap();
    assert_eq!(cancel(&system, id).await.status, 202);
    let running = store.report(id, None, None, now()).await.unwrap().unwrap();
    assert_eq!((running.state, running.cancel_requested), (State::Processing, true));
    assert_eq!(store.inbox(now()).await.unwrap(), [], "there is nothing left to ask for");
    assert_eq!(store.taken_jobs(now()).await.unwrap(), [id]);
    assert_eq!(store.record_canceled(id, now()).await.unwrap(), Some(running.clone()), "the lab cannot give it back");
    cancel(&system, id).await.assert_problem(409, "not-cancelable");
    assert_eq!(job(&system, id).await, running);

    let done = store.succeed(id, &nothing(), None, now()).await.unwrap();
    cancel(&system, id).await.assert_problem(409, "already-done");
    assert_eq!(store.record_canceled(id, now()).await.unwrap(), done, "a done job stays as it is");
    assert_eq!(Some(job(&system, id).await), done);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_cancels_what_is_not_theirs() {
    let system = System::start().await;
    let id = submitted(&system).await;
    let other = system.request_of(system.bob(), Method::POST, &routes::cancel(id), "").send().await;
    other.assert_problem(404, "no-such-job");
    assert_eq!(job(&system, id).await.state, State::Pending);
    assert_eq!(
        system.stack().store().cancel("018aef2c-7a00-7000-8000-000000000001".parse().unwrap(), now()).await.unwrap(),
        None
    );
}

/// How many races of two sides are run.
const RACES: usize = 40;

/// Lets the lab meet the caller: in the first race by far before the caller's cancel, in the last one by far after it,
/// and somewhere between them in the same moment.
async fn race<T>(system: &System, id: JobId, number: usize, lab: impl Future<Output = T>) -> (Reply, T) {
    let caller = async {
        give_a_start(system, id, (RACES / 2).saturating_sub(number)).await;
        cancel(system, id).await
    };
    let lab = async {
        give_a_start(system, id, number.saturating_sub(RACES / 2)).await;
        lab.await
    };
    tokio::join!(caller, lab)
}

/// Does nothing for as long as so many reads of the job take.
async fn give_a_start(system: &System, id: JobId, reads: usize) {
    for _ in 0..reads {
        system.stack().store().job(id).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_cancel_and_take_exactly_one_has_the_job() {
    let system = System::start().await;
    let ids = join_all((0..RACES).map(|_| submitted(&system))).await;
    let store = system.stack().store();
    let races = ids.iter().enumerate().map(|(number, &id)| race(&system, id, number, store.take(id)));
    let mut taken_first = 0;
    for (id, (reply, taken)) in ids.iter().zip(join_all(races).await) {
        let job = job(&system, *id).await;
        match taken.unwrap() {
            Some(_) => {
                taken_first += 1;
                assert_eq!((reply.status.as_u16(), job.state, job.cancel_requested), (202, State::Pending, true));
            }
            None => assert_eq!((reply.status.as_u16(), job.state), (200, State::Done(Outcome::Canceled))),
        }
    }
    assert!((1..RACES).contains(&taken_first), "the lab was first in {taken_first} of {RACES} races");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_that_meets_a_program_ends_with_a_job_that_is_told_rightly() {
    let system = System::start().await;
    let store = system.stack().store();
    let ids = join_all((0..RACES).map(|_| submitted(&system))).await;
    join_all(ids.iter().map(|&id| store.take(id))).await;
    let races = ids.iter().enumerate().map(|(number, &id)| {
        let lab = async move {
            store.report(id, None, None, now()).await.unwrap();
            store.record_canceled(id, now()).await.unwrap();
            store.succeed(id, &nothing(), None, now()).await.unwrap()
        };
        race(&system, id, number, lab)
    });
    let mut asked_in_time = 0;
    for (id, (reply, done)) in ids.iter().zip(join_all(races).await) {
        let job = job(&system, *id).await;
        assert_eq!((job.state, Some(&job)), (State::Done(Outcome::Succeeded), done.as_ref()), "the program has run");
        match reply.status.as_u16() {
            202 => {
                asked_in_time += 1;
                assert!(job.cancel_requested);
            }
            409 => assert!(!job.cancel_requested),
            other => panic!("{other}: {reply:?}"),
        }
    }
    assert!((1..RACES).contains(&asked_in_time), "the caller was first in {asked_in_time} of {RACES} races");
    assert_eq!((store.taken_jobs(now()).await.unwrap(), store.inbox(now()).await.unwrap()), (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_submits_with_keys_of_their_own_among_cancels_make_two_hundred_jobs() {
    let system = System::start().await;
    let store = system.stack().store();
    let submit_and_cancel = async |number: usize| {
        let submit = system.request(Method::POST, "/v1/apis/mock/jobs", "{}");
        let reply = submit.header("idempotency-key", &format!("key-{number}")).send().await;
        let id: JobId = reply.json()["uuid"].as_str().unwrap().parse().unwrap();
        if number.is_multiple_of(2) {
            store.take(id).await.unwrap();
        }
        if number % 4 < 2 {
            assert!(cancel(&system, id).await.status.is_success());
        }
        (number, id)
    };
    let jobs = join_all((0..200).map(submit_and_cancel)).await;
    let names: BTreeSet<_> = jobs.iter().map(|(_, id)| format!("{id}.json")).collect();
    assert_eq!((names.len(), names), (200, system.request_objects()));

    let of = |rest: usize| -> BTreeSet<JobId> {
        jobs.iter().filter(|(number, _)| number % 4 == rest).map(|(_, id)| *id).collect()
    };
    let set = |ids: Vec<JobId>| BTreeSet::from_iter(ids);
    assert_eq!(set(store.inbox(now()).await.unwrap()), &of(0) | &of(3), "asked back, or neither taken nor canceled");
    assert_eq!(set(store.taken_jobs(now()).await.unwrap()), of(2));
    for id in of(1) {
        assert_eq!(job(&system, id).await.state, State::Done(Outcome::Canceled), "canceled before it was taken");
    }

    let _agent = system.start_agent();
    for id in of(0) {
        assert_eq!(system.reached(id, Status::Done).await.outcome.as_deref(), Some("canceled"));
    }
    let queued: Vec<JobId> = system.queue().unwrap().entries().iter().filter_map(Entry::id).collect();
    assert_eq!(queued.len(), 100);
    assert_eq!(set(queued), &of(2) | &of(3), "the lab has what nobody has canceled, once each");
    assert_eq!(set(store.taken_jobs(now()).await.unwrap()), &of(2) | &of(3));
    assert_eq!(store.inbox(now()).await.unwrap(), []);
}

/// Cancels of all kinds of jobs while programs run: each job is run or canceled, and the API says which.
#[tokio::test(flavor = "multi_thread")]
async fn of_canceled_and_run_a_job_is_exactly_one() {
    const JOBS: usize = 16;
    let system = System::start().await;
    let _agent = system.start_agent();
    let _worker = system.start_worker();
    let mut random = fastrand::Rng::with_seed(seed());
    // The first one runs until all others wait behind it, and the last one is not wanted any more by then.
    let mut jobs = vec![system.submit("mock", &json!({"gate": "open"})).await.uuid];
    until("the first run", async || (system.runs() == jobs).then_some(())).await.unwrap();
    for number in 1..JOBS {
        jobs.push(system.submit("mock", &json!({"seconds": 0.1, "payload": number})).await.uuid);
    }
    let (first, last) = (jobs[0], jobs[JOBS - 1]);
    system.entry(last).await;
    assert_eq!(cancel(&system, last).await.status, 202);
    until("its withdrawal", async || system.queue()?.entry(last).is_none().then_some(())).await.unwrap();
    fs::write(system.path("open"), "").unwrap();
    for id in &jobs {
        // The moment of a cancel is a random one.
        give_a_start(&system, *id, random.usize(..100)).await;
        let status = cancel(&system, *id).await.status.as_u16();
        assert!([200, 202, 409].contains(&status), "{status}");
    }
    assert!(system.reached(first, Status::Done).await.has_succeeded());
    assert!(!system.reached(last, Status::Done).await.has_succeeded());
    for id in &jobs {
        let end = system.reached(*id, Status::Done).await;
        let runs = system.runs().iter().filter(|run| *run == id).count();
        assert_eq!((runs, end.has_succeeded()), (usize::from(end.has_succeeded()), runs == 1), "{:?}", end.outcome);
        if runs == 0 {
            assert_eq!(end.outcome.as_deref(), Some("canceled"));
        }
    }
    let rows = jobs.iter().filter(|id| system.queue().unwrap().entry(**id).is_some()).count();
    assert_eq!(rows, system.runs().len(), "what is canceled is not in the queue");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_in_the_lab_is_withdrawn_also_by_an_agent_that_was_killed() {
    let system = System::start().await;
    let agent = system.start_agent();
    let kept = system.submit("mock", &json!({"payload": 0})).await.uuid;
    let unwanted = system.submit("mock", &json!({"payload": 1})).await.uuid;
    until("the entries", async || system.queue().filter(|queue| queue.entries().len() == 2)).await.unwrap();
    assert_eq!(cancel(&system, unwanted).await.status, 202);
    until("its withdrawal", async || system.queue()?.entry(unwanted).is_none().then_some(())).await.unwrap();
    agent.kill();
    let _agent = system.start_agent();
    let end = system.reached(unwanted, Status::Done).await;
    assert_eq!((end.outcome.as_deref(), end.cancel_requested), (Some("canceled"), true));
    let _worker = system.start_worker();
    assert!(system.reached(kept, Status::Done).await.has_succeeded());
    assert_eq!(system.runs(), [kept]);
}
