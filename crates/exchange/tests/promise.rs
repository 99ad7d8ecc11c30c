//! Every rule of the promise can fail: for each, by its name, something that breaks this rule and no other, and beside it
//! something that keeps them all.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use bcrlapi_domain::{Job, JobId, Outcome, Owner, Payload, State, Status};
use bcrlapi_exchange::promise::{
    ALWAYS, AT_REST, AT_REST_WITH_TURNS, FROM_STEP_TO_STEP, Facts, OF_A_PUBLISH, Publish, Rule, WITH_TURNS,
};
use bcrlapi_exchange::{Entry, Queue, View};
use chrono::{DateTime, FixedOffset, Utc};

/// A rule's name, what breaks it, and what does not.
type Row<T> = (&'static str, T, T);

/// Checks that the table has a row for each of the rules, and that each row is right.
#[track_caller]
fn assert_each_can_fail<T>(rules: &[Rule<T>], table: &[Row<T>]) {
    let broken_by = |subject: &T| -> Vec<&str> {
        rules.iter().filter(|(_, holds)| !holds(subject)).map(|(name, _)| *name).collect()
    };
    for (name, bad, good) in table {
        assert_eq!(broken_by(bad), [*name], "breaks this rule and no other");
        assert_eq!(broken_by(good), [""; 0], "keeps every rule, beside what breaks: {name}");
    }
    for (name, _) in rules {
        assert!(table.iter().any(|(shown, _, _)| shown == name), "nothing shows how this can fail: {name}");
    }
}

// What holds of a job.

const SUCCEEDED: State = State::Done(Outcome::Succeeded);
const FAILED: State = State::Done(Outcome::Failed);
const CANCELED: State = State::Done(Outcome::Canceled);

/// A job that waits in the lab, runs, and has succeeded; and one that was canceled before it ran.
const WAITS: Facts = Facts {
    row: Some(State::Pending),
    has_response: false,
    has_request: true,
    entry: Some(State::Pending),
    entries: 1,
    told: Status::Pending,
    runs: 0,
};
const RUNS: Facts =
    Facts { row: Some(State::Processing), entry: Some(State::Processing), told: Status::Processing, runs: 1, ..WAITS };
const IS_DONE: Facts =
    Facts { row: Some(SUCCEEDED), has_response: true, entry: Some(SUCCEEDED), told: Status::Done, ..RUNS };
const IS_CANCELED: Facts = Facts { row: Some(CANCELED), entry: None, entries: 0, ..WAITS };

fn whatever_the_scripts_do() -> Vec<Rule<Facts>> {
    [&ALWAYS[..], &[AT_REST]].concat()
}

#[test]
fn what_holds_whatever_the_scripts_do_can_fail() {
    assert_each_can_fail(
        &whatever_the_scripts_do(),
        &[
            ("a pending entry has its request file", Facts { has_request: false, ..WAITS }, WAITS),
            ("a job that has succeeded has its response", Facts { has_response: false, ..IS_DONE }, IS_DONE),
            ("a job is in the queue once", Facts { entries: 2, ..RUNS }, RUNS),
            ("an open job is in the queue", Facts { row: Some(State::Pending), ..IS_CANCELED }, IS_CANCELED),
        ],
    );
}

#[test]
fn what_holds_where_scripts_take_turns_can_fail() {
    let rules = [&WITH_TURNS[..], &AT_REST_WITH_TURNS].concat();
    let table = [
        ("no program runs twice", Facts { runs: 2, ..IS_DONE }, IS_DONE),
        ("a canceled job never runs", Facts { runs: 1, ..IS_CANCELED }, IS_CANCELED),
        ("a job stays in the queue when it is done", Facts { entry: None, entries: 0, ..IS_DONE }, IS_DONE),
        ("the cloud knows what the APP has said", Facts { row: Some(State::Pending), ..RUNS }, RUNS),
        ("the queue still says what the APP has said", Facts { entry: Some(State::Pending), ..RUNS }, RUNS),
    ];
    assert_each_can_fail(&rules, &table);
    for (name, bad, _) in table {
        assert!(whatever_the_scripts_do().iter().all(|(_, holds)| holds(&bad)), "breaks only this: {name}");
    }
}

#[test]
fn what_holds_from_step_to_step_can_fail() {
    let has_failed = Facts { row: Some(FAILED), has_response: false, ..IS_DONE };
    assert_each_can_fail(
        &FROM_STEP_TO_STEP,
        &[
            ("a row never goes back", (RUNS, Facts { row: Some(State::Pending), ..RUNS }), (WAITS, RUNS)),
            ("a row never goes back", (RUNS, Facts { row: None, ..RUNS }), (RUNS, RUNS)),
            (
                "a done row stays as it is",
                (has_failed, Facts { row: Some(SUCCEEDED), ..has_failed }),
                (RUNS, has_failed),
            ),
            ("a done row stays as it is", (IS_DONE, Facts { has_response: false, ..IS_DONE }), (IS_DONE, IS_DONE)),
        ],
    );
}

// What holds of a publish.

type Entries = &'static [(u64, State)];
/// A rule's name, what a queue is made from, a queue that breaks the rule, and one that does not.
type PublishRow = (&'static str, View, Entries, Entries);

const WAITING: Entries = &[(1, State::Pending)];
const RUNNING: Entries = &[(1, State::Processing)];

fn id(number: u64) -> JobId {
    format!("018aef2c-7a00-7000-8000-{number:012}").parse().unwrap()
}

fn now() -> DateTime<Utc> {
    id(0).request_date()
}

fn job(number: u64, state: State) -> Job {
    let payload = Payload { size_bytes: 2, sha256: String::new() };
    let owner = Owner::from_identity("1", "AIDA").unwrap();
    Job { state, ..Job::requested(id(number), "soc".parse().unwrap(), owner, payload) }
}

fn queue(entries: &[(u64, State)]) -> Queue {
    let mut queue = Queue::default();
    for &(number, state) in entries {
        queue.push(Entry::new(&job(number, state), FixedOffset::east_opt(0).unwrap()));
    }
    queue
}

/// A lab whose jobs are in these states by the cloud, all of them delivered, and whose queue was read as this.
fn lab(jobs: &[(u64, State)], read: &[(u64, State)]) -> View {
    let mut view = View::default();
    for &(number, state) in jobs {
        view.requests.insert(id(number));
        view.learn(job(number, state));
    }
    view.see_status(Ok(Some(queue(read))), now());
    view
}

/// A job that its caller wants back, and that a script has set to processing all the same.
fn wanted_back_and_started() -> View {
    let mut view = lab(&[], &[(1, State::Processing)]);
    view.learn(Job { cancel_requested: true, ..job(1, State::Pending) });
    view
}

/// A job that a script has set to processing in a queue that was displaced meanwhile.
fn started_elsewhere() -> View {
    let mut view = lab(&[(1, State::Pending)], &[]);
    view.see_displaced(7, Some(&queue(&[(1, State::Processing)])), now());
    view
}

/// A job that a script has set to processing, and over which somebody has put an older queue.
fn put_back() -> View {
    let mut view = lab(WAITING, RUNNING);
    view.see_status(Ok(Some(queue(WAITING))), now());
    view
}

fn taken_and_not_delivered() -> View {
    let mut view = lab(&[], &[]);
    view.learn(job(1, State::Pending));
    view
}

/// A job that has a response, and whose entry was lost.
fn has_run() -> View {
    let mut view = lab(&[(1, State::Pending)], &[]);
    view.jobs.get_mut(&id(1)).unwrap().see_response(Some(now()), now());
    view
}

#[test]
fn what_holds_of_a_publish_can_fail() {
    use State::Pending;
    let table: [PublishRow; 9] = [
        (
            "a publish loses no entry before its week is over, but one that waits and is wanted back",
            wanted_back_and_started(),
            &[],
            RUNNING,
        ),
        ("a publish drops no program's start", started_elsewhere(), &[], RUNNING),
        (
            "a publish keeps the order, and appends",
            lab(&[(1, Pending), (2, Pending)], &[(2, Pending)]),
            &[(1, Pending), (2, Pending)],
            &[(2, Pending), (1, Pending)],
        ),
        ("a publish moves no status back", lab(WAITING, RUNNING), WAITING, RUNNING),
        ("a publish is not behind what was ever seen of a job", put_back(), WAITING, RUNNING),
        ("a publish brings in only jobs that are taken and delivered", taken_and_not_delivered(), WAITING, &[]),
        ("a publish makes no second entry of a job", lab(WAITING, WAITING), &[(1, Pending), (1, Pending)], WAITING),
        ("a publish is not behind the cloud", lab(RUNNING, WAITING), WAITING, RUNNING),
        ("a publish gives no new turn to a job that has a response", has_run(), WAITING, RUNNING),
    ];
    let queues: Vec<[Queue; 2]> = table.iter().map(|(_, _, bad, good)| [queue(bad), queue(good)]).collect();
    let rows: Vec<Row<Publish<'_>>> = table
        .iter()
        .zip(&queues)
        .map(|((name, view, _, _), [bad, good])| {
            let publish = |queue| Publish { view, queue, now: now() };
            (*name, publish(bad), publish(good))
        })
        .collect();
    let rules = OF_A_PUBLISH.map(|(name, holds)| -> Rule<Publish<'_>> { (name, holds) });
    assert_each_can_fail(&rules, &rows);
    assert!(rows.iter().all(|(name, bad, _)| bad.broken_rule() == Some(*name)));
}
