//! Every rule of an audit: a lab that is well breaks none, and each thing that can be wrong breaks
//! its own rule and no other.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;

use bcrlapi_domain::{Job, JobId, Outcome, Owner, Payload, State};
use bcrlapi_exchange::audit::{FileSeen, Finding, RULES, Severity, Sight, StatusSeen, read_journal, standing};
use bcrlapi_exchange::{Queue, layout};
use chrono::{DateTime, TimeDelta, Utc};

/// Waits, runs, has succeeded, has failed, was canceled, is being canceled.
const WAITS: u64 = 1;
const RUNS: u64 = 2;
const SUCCEEDED: u64 = 3;
const FAILED: u64 = 4;
const CANCELED: u64 = 5;
const LEAVES: u64 = 6;
/// Of no row and no entry.
const OTHER: u64 = 9;

const QUEUE: &str = r#"{"jobs": [
  {"uuid": "018aef2c-7a00-7000-8000-000000000001", "api": "soc", "status": "pending"},
  {"uuid": "018aef2c-7a00-7000-8000-000000000002", "api": "soc", "status": "processing"},
  {"uuid": "018aef2c-7a00-7000-8000-000000000003", "api": "soc", "status": "done"},
  {"uuid": "018aef2c-7a00-7000-8000-000000000004", "api": "soc", "status": "failed", "error": "no sample"},
  {"uuid": "a note of somebody's own"}
]}"#;

fn id(number: u64) -> JobId {
    format!("018aef2c-7a00-7000-8000-{number:012}").parse().unwrap()
}

/// An hour after the jobs were submitted.
fn now() -> DateTime<Utc> {
    id(WAITS).request_date() + TimeDelta::hours(1)
}

fn ago(seconds: i64) -> DateTime<Utc> {
    now() - TimeDelta::seconds(seconds)
}

fn job(number: u64, state: State) -> Job {
    let payload = Payload { size_bytes: 2, sha256: String::new() };
    let owner = Owner::from_identity("1", "AIDA").unwrap();
    let start_date = (state != State::Pending).then(|| ago(600));
    Job { state, start_date, ..Job::requested(id(number), "soc".parse().unwrap(), owner, payload) }
}

fn whole(json: &str) -> StatusSeen {
    let queue = Queue::parse(json.as_bytes()).unwrap();
    StatusSeen::Whole { queue, is_ascii: json.is_ascii(), written: ago(300) }
}

fn file(name: &str, age_s: i64) -> FileSeen {
    FileSeen { name: name.to_owned(), written: ago(age_s), size_bytes: 1_000 }
}

/// A lab at work, in which all is as it should be.
fn well() -> Sight {
    let mut leaves = job(LEAVES, State::Pending);
    leaves.cancel_requested = true;
    let mut canceled = job(CANCELED, State::Done(Outcome::Canceled));
    canceled.start_date = None;
    let jobs = [
        job(WAITS, State::Pending),
        job(RUNS, State::Processing),
        job(SUCCEEDED, State::Done(Outcome::Succeeded)),
        job(FAILED, State::Done(Outcome::Failed)),
        canceled,
        leaves,
    ];
    let seen = "{\"uuid\": \"018aef2c-7a00-7000-8000-000000000002\", \"status\": \"processing\"}\n\
                {\"uuid\": \"018aef2c-7a00-7000-8000-000000000003\", \"status\": \"done\"}\n\
                {\"uuid\": \"018aef2c-7a00-7000-8000-00000000";

    Sight {
        now: now(),
        lost_after: Some(TimeDelta::hours(6)),
        grace: TimeDelta::minutes(2),
        has_agent: true,
        rows: jobs.into_iter().map(|job| (job.id, Some(job))).collect(),
        has_unasked: false,
        damaged: BTreeSet::new(),
        status: whole(QUEUE),
        requests: [WAITS, RUNS, SUCCEEDED, FAILED].map(id).into(),
        responses: [(id(SUCCEEDED), ago(400))].into(),
        journal: read_journal(seen.as_bytes()),
        displaced: vec![file("request/.displaced/17.json", 5)],
        running: vec![
            file(&format!("response/.running/{}.json.part", id(RUNS)), 500),
            file("response/.running/.worker.lock-0-7-70", 500),
        ],
        corrupt: vec![],
        unreadable: vec![],
        misplaced: vec![],
    }
}

fn row(sight: &mut Sight, number: u64) -> &mut Job {
    sight.rows.get_mut(&id(number)).unwrap().as_mut().unwrap()
}

/// The queue with one text in the place of another.
fn rewrite(sight: &mut Sight, from: &str, to: &str) {
    assert!(QUEUE.contains(from), "{from}");
    sight.status = whole(&QUEUE.replacen(from, to, 1));
}

fn broken(sight: &Sight) -> Vec<&'static str> {
    let findings = sight.findings();
    findings.iter().filter(|finding| !finding.is_ok()).map(|finding| finding.rule.name).collect()
}

/// What may be wrong, and the rule that is broken by it.
type Fault = (&'static str, fn(&mut Sight));

const FAULTS: [Fault; 32] = [
    ("an agent serves the directory", |sight| sight.has_agent = false),
    ("files and folders are what they should be", |sight| sight.misplaced.push("request".to_owned())),
    ("the agent may read every file", |sight| sight.unreadable.push("response/a.json".to_owned())),
    ("status.json can be read", |sight| sight.status = StatusSeen::Missing),
    ("status.json can be read", |sight| sight.status = StatusSeen::Broken("it is too large".to_owned())),
    ("status.json is ASCII", |sight| rewrite(sight, "a note", "\u{96fb}")),
    ("every row can be read", |sight| {
        sight.damaged.insert(id(WAITS));
    }),
    ("every row is looked at", |sight| sight.has_unasked = true),
    ("a job is in the queue once", |sight| {
        rewrite(
            sight,
            "{\"uuid\": \"a note of somebody's own\"}",
            "{\"uuid\": \"018aef2c-7a00-7000-8000-000000000003\", \"status\": \"done\"}",
        );
    }),
    // What waits beside an entry that is further needs no request file.
    ("a job is in the queue once", |sight| {
        rewrite(
            sight,
            "{\"uuid\": \"a note of somebody's own\"}",
            "{\"uuid\": \"018aef2c-7a00-7000-8000-000000000003\", \"status\": \"pending\"}",
        );
        sight.requests.remove(&id(SUCCEEDED));
    }),
    ("a pending entry has its request file", |sight| {
        sight.requests.remove(&id(WAITS));
    }),
    ("an open job is in the queue", |sight| {
        sight.rows.insert(id(OTHER), Some(job(OTHER, State::Processing)));
    }),
    ("an open job is in the queue", |sight| row(sight, LEAVES).cancel_requested = false),
    ("an open job is in the queue", |sight| {
        row(sight, LEAVES).state = State::Processing;
    }),
    ("a job stays in the queue when it is done", |sight| {
        sight.rows.insert(id(OTHER), Some(job(OTHER, State::Done(Outcome::Succeeded))));
    }),
    ("the cloud knows what the APP has said", |sight| row(sight, RUNS).state = State::Pending),
    ("the cloud knows what the APP has said", |sight| row(sight, SUCCEEDED).state = State::Processing),
    ("the cloud knows what the APP has said", |sight| row(sight, FAILED).state = State::Pending),
    ("the queue still says what the APP has said", |sight| {
        sight.journal =
            read_journal(QUEUE.replace("processing", "done").lines().nth(2).unwrap().trim_end_matches(',').as_bytes());
    }),
    ("the queue is not behind the cloud", |sight| row(sight, RUNS).state = State::Done(Outcome::Lost)),
    ("the queue is not behind the cloud", |sight| row(sight, WAITS).state = State::Done(Outcome::Canceled)),
    ("the queue is not behind the cloud", |sight| {
        row(sight, WAITS).state = State::Processing;
    }),
    ("a job ends within its deadline", |sight| row(sight, RUNS).start_date = Some(ago(6 * 3600 + 120))),
    ("the cloud knows every job of the queue", |sight| drop(sight.rows.insert(id(WAITS), None))),
    ("a status is one of the known words", |sight| rewrite(sight, "processing", "Fertig")),
    ("a status is one of the known words", |sight| rewrite(sight, "\"status\": \"pending\"", "\"state\": \"pending\"")),
    ("a job that waits has no response", |sight| {
        sight.responses.insert(id(WAITS), ago(5));
    }),
    ("what has expired is removed", |sight| {
        let old: JobId = "018aeb00-0000-7000-8000-000000000001".parse().unwrap();
        assert!(old < id(WAITS));
        sight.now = old.expiry_date() + TimeDelta::hours(26);
        *sight = Sight { requests: [old].into(), ..empty(sight.now) };
    }),
    ("nothing is left lying about", |sight| sight.corrupt.push("request/status.json.corrupt-1".to_owned())),
    ("nothing is left lying about", |sight| sight.displaced.push(file("request/.displaced/18.json", 60))),
    ("nothing is left lying about", |sight| sight.displaced[0].size_bytes = 65 * 1024 * 1024),
    ("nothing is left lying about", |sight| {
        sight.running.push(file(&format!("response/.running/{}.json", id(SUCCEEDED)), 60));
    }),
];

/// A lab without any job.
fn empty(now: DateTime<Utc>) -> Sight {
    let nothing = Sight { rows: [].into(), requests: [].into(), responses: [].into(), journal: vec![], ..well() };
    Sight { now, status: whole("{\"jobs\": []}"), displaced: vec![], running: vec![], ..nothing }
}

#[test]
fn a_lab_that_is_well_breaks_no_rule() {
    assert_eq!(broken(&well()), Vec::<&str>::new());
    assert_eq!(broken(&empty(now())), Vec::<&str>::new());
}

#[test]
fn whatever_is_wrong_breaks_its_own_rule_and_no_other() {
    for (number, (rule, fault)) in FAULTS.into_iter().enumerate() {
        let mut sight = well();
        fault(&mut sight);
        assert_eq!(broken(&sight), [rule], "fault {number}");
    }
}

#[test]
fn every_rule_can_be_broken() {
    let played = BTreeSet::from_iter(FAULTS.map(|(rule, _)| rule));
    assert_eq!(played, BTreeSet::from_iter(RULES.map(|rule| rule.name)));
}

#[test]
fn what_is_under_way_is_no_finding() {
    let under_way: [fn(&mut Sight); 6] = [
        // Its response is being uploaded.
        |sight| {
            row(sight, SUCCEEDED).state = State::Processing;
            sight.responses.insert(id(SUCCEEDED), ago(119));
        },
        |sight| row(sight, RUNS).start_date = Some(ago(6 * 3600 + 60)),
        |sight| {
            sight.lost_after = None;
            row(sight, RUNS).start_date = Some(ago(100 * 3600));
        },
        |sight| sight.displaced[0].written = ago(59),
        |sight| sight.running.push(file(&format!("response/.running/{}.json", id(SUCCEEDED)), 59)),
        // It failed before it came to the lab.
        |sight| {
            let failed = job(OTHER, State::Done(Outcome::Failed));
            sight.rows.insert(id(OTHER), Some(Job { start_date: None, ..failed }));
        },
    ];

    for (number, change) in under_way.into_iter().enumerate() {
        let mut sight = well();
        change(&mut sight);
        assert_eq!(broken(&sight), Vec::<&str>::new(), "change {number}");
    }
}

#[test]
fn the_jobs_of_a_week_ago_are_held_to_nothing_but_their_removal() {
    let mut sight = well();
    sight.rows.insert(id(OTHER), Some(job(OTHER, State::Processing)));
    sight.requests.clear();
    sight.now = id(OTHER).expiry_date() + TimeDelta::hours(24);
    sight.displaced.clear();
    sight.running.clear();
    assert_eq!(broken(&sight), Vec::<&str>::new(), "they go once a day");

    sight.now += TimeDelta::hours(1);
    assert_eq!(broken(&sight), ["what has expired is removed"]);
}

#[test]
fn only_what_stands_in_both_looks_counts() {
    let [mut first, mut second] = [well(), well()];
    first.requests.clear();
    second.has_agent = false;
    assert!(standing(&first.findings(), &second.findings()).iter().all(Finding::is_ok));

    second.requests.clear();
    let findings = standing(&first.findings(), &second.findings());
    let standing: Vec<_> =
        findings.iter().filter(|finding| !finding.is_ok()).map(|finding| finding.rule.name).collect();
    assert_eq!(standing, ["a pending entry has its request file"]);
}

#[test]
fn a_finding_is_one_line_that_names_some_and_says_what_to_do() {
    let mut sight = well();
    for number in 11..18 {
        sight.rows.insert(id(number), Some(job(number, State::Pending)));
    }
    sight.corrupt.push("request/status.json.corrupt-20231004T030000Z".to_owned());
    rewrite(&mut sight, "processing", "Fertig\\n");

    let lines: Vec<String> = sight.findings().iter().map(Finding::to_string).collect();
    assert!(lines.iter().all(|line| !line.contains('\n')));
    let line = |rule: &str| lines.iter().find(|line| line.contains(rule)).unwrap().as_str();
    assert_eq!(line("a job is in the queue once"), "ok    a job is in the queue once");
    assert_eq!(
        line("an open job is in the queue"),
        "FAIL  an open job is in the queue                 018aef2c-7a00-7000-8000-000000000011, \
         018aef2c-7a00-7000-8000-000000000012, 018aef2c-7a00-7000-8000-000000000013, \
         018aef2c-7a00-7000-8000-000000000014, 018aef2c-7a00-7000-8000-000000000015 and 2 more: \
         the agent's log says what keeps it from that (is it running?)"
    );
    assert_eq!(
        line("a status is one of"),
        "warn  a status is one of the known words          018aef2c-7a00-7000-8000-000000000002 says \"Fertig\\n\": \
         write pending, processing, done or failed"
    );
    assert!(
        line("nothing is left")
            .starts_with("warn  nothing is left lying about                 request/status.json.corrupt-")
    );
    assert!(layout::is_corrupt_status("status.json.corrupt-20231004T030000Z"));
}

#[test]
fn names_of_rules_are_distinct_and_fit_their_column() {
    let names = BTreeSet::from_iter(RULES.map(|rule| rule.name));
    assert_eq!(names.len(), RULES.len());
    assert_eq!(names.iter().map(|name| name.len()).max(), Some(42));
    assert!(RULES.iter().all(|rule| !rule.advice.is_empty()));
    assert!(RULES.iter().filter(|rule| rule.severity == Severity::Fail).count() > RULES.len() / 2);
}
