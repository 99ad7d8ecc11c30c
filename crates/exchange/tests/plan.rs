//! Every decision of the agent, one test each.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use bcrlapi_domain::{Job, JobId, Outcome, Owner, Payload, State};
use bcrlapi_exchange::{
    Action, Due, Entry, Queue, QueueSeen, RESPONSE_GRACE, Settings, View, Workload, plan, render_request,
};
use chrono::{DateTime, FixedOffset, TimeDelta, Utc};

fn now() -> DateTime<Utc> {
    id(0).request_date()
}

const SETTINGS: Settings =
    Settings { offset: FixedOffset::east_opt(9 * 3600).unwrap(), lost_after: None, response_grace: RESPONSE_GRACE };

fn id(number: u64) -> JobId {
    format!("018aef2c-7a00-7000-8000-{number:012}").parse().unwrap()
}

fn job(number: u64, state: State) -> Job {
    let payload = Payload { size_bytes: 2, sha256: String::new() };
    let owner = Owner::from_identity("1", "AIDA").unwrap();
    Job { state, ..Job::requested(id(number), "soc".parse().unwrap(), owner, payload) }
}

/// A lab whose heartbeat is fresh, whose queue says this of the jobs it has, all of them delivered.
fn lab(jobs: &[(u64, State, Option<&str>)]) -> View {
    let mut view = View { is_certain: true, last_heartbeat: Some(now()), last_prune: Some(now()), ..View::default() };
    let mut entries = Vec::new();
    for &(number, state, entry) in jobs {
        view.learn(job(number, state));
        view.jobs.get_mut(&id(number)).unwrap().has_request = true;
        entries.extend(entry.map(|fields| format!("{{\"uuid\": \"{}\", {fields}}}", id(number))));
    }
    see(&mut view, &format!("{{\"jobs\": [{}]}}", entries.join(", ")), now());
    view
}

fn see(view: &mut View, text: &str, at: DateTime<Utc>) {
    view.see_status(Queue::parse(text.as_bytes()).map(Some), at);
}

fn actions(view: &View) -> Vec<Action> {
    plan(view, SETTINGS, now())
}

const PENDING: Option<&str> = Some("\"status\": \"pending\"");
const PROCESSING: Option<&str> = Some("\"status\": \"processing\"");
const DONE: Option<&str> = Some("\"status\": \"done\"");

#[test]
fn a_quiet_lab_has_nothing_to_do() {
    let view = lab(&[
        (1, State::Pending, PENDING),
        (2, State::Processing, PROCESSING),
        (3, State::Done(Outcome::Succeeded), DONE),
    ]);
    assert_eq!(actions(&view), []);
}

#[test]
fn a_new_job_is_taken_then_delivered_then_published() {
    let mut view = lab(&[]);
    view.inbox = vec![id(1)];
    assert_eq!(actions(&view), [Action::Take(id(1))]);
    view.learn(job(1, State::Pending));
    assert_eq!(actions(&view), [Action::Deliver(job(1, State::Pending))]);
    view.jobs.get_mut(&id(1)).unwrap().has_request = true;
    let published = actions(&view);
    let [Action::Publish(queue)] = published.as_slice() else { panic!("{published:?}") };
    assert_eq!(queue.first_pending(), Some(id(1)));
}

#[test]
fn what_the_lab_has_is_not_taken_again_and_old_news_is_none() {
    let mut view = lab(&[(1, State::Processing, PROCESSING)]);
    view.inbox = vec![id(1)];
    assert_eq!(actions(&view), [], "the index may lag behind the row");
    view.learn(job(1, State::Pending));
    assert_eq!(view.jobs[&id(1)].job.state, State::Processing);
}

#[test]
fn new_entries_come_last_and_in_order() {
    let mut view = lab(&[(3, State::Pending, None), (1, State::Pending, None)]);
    see(&mut view, &format!("{{\"jobs\": [{{\"uuid\": \"{}\", \"status\": \"done\"}}]}}", id(9)), now());
    let [Action::Publish(queue)] = &actions(&view)[..] else { panic!() };
    assert_eq!(queue.entries().iter().filter_map(Entry::id).collect::<Vec<_>>(), [id(9), id(1), id(3)]);
}

#[test]
fn an_open_entry_that_nothing_is_known_of_is_asked_for() {
    let mut view = lab(&[(1, State::Pending, PENDING)]);
    let entry = |number, status: &str| format!("{{\"uuid\": \"{}\", \"status\": \"{status}\"}}", id(number));
    let entries = [entry(1, "pending"), entry(2, "processing"), entry(3, "done")].join(", ");
    see(&mut view, &format!("{{\"jobs\": [{entries}]}}"), now());
    assert_eq!(actions(&view), [Action::Ask(id(2))]);
    view.foreign.insert(id(2));
    assert_eq!(actions(&view), []);
    view.foreign.clear();
    view.learn(job(2, State::Done(Outcome::Succeeded)));
    let [Action::Publish(queue)] = &actions(&view)[..] else { panic!() };
    assert_eq!(queue.entry(id(2)).unwrap().state(), Some(State::Done(Outcome::Succeeded)));
}

/// A lab whose first job waits in the queue, and whose caller wants it back.
fn asked_back(entry: Option<&str>) -> View {
    let mut view = lab(&[(1, State::Pending, None), (2, State::Pending, PENDING)]);
    view.learn(Job { cancel_requested: true, ..job(1, State::Pending) });
    let first = entry.map(|fields| format!("{{\"uuid\": \"{}\", {fields}}}, ", id(1))).unwrap_or_default();
    see(&mut view, &format!("{{\"jobs\": [{first}{{\"uuid\": \"{}\", \"status\": \"pending\"}}]}}", id(2)), now());
    view
}

#[test]
fn a_job_that_its_caller_wants_back_is_looked_at_again() {
    let mut view = lab(&[(1, State::Pending, PENDING), (2, State::Processing, PROCESSING)]);
    view.inbox = vec![id(1), id(2)];
    assert_eq!(actions(&view), [Action::Take(id(1))], "what runs cannot be taken back");
    view.inbox = vec![id(1)];
    view.learn(Job { cancel_requested: true, ..job(1, State::Pending) });
    assert!(!actions(&view).contains(&Action::Take(id(1))), "it is known");
}

#[test]
fn a_withdrawn_job_counts_as_canceled_only_when_no_script_can_want_it_any_more() {
    let published = actions(&asked_back(PENDING));
    let [Action::Publish(queue)] = &published[..] else { panic!("{published:?}") };
    assert_eq!((queue.entry(id(1)), queue.first_pending()), (None, Some(id(2))));

    let mut view = asked_back(None);
    let after = |view: &View, seconds| plan(view, SETTINGS, now() + TimeDelta::seconds(seconds));
    assert_eq!(after(&view, 14), []);
    assert_eq!(after(&view, 15), [Action::Cancel(id(1))]);
    // A script that had read the queue before is quicker.
    let news = format!("{{\"jobs\": [{{\"uuid\": \"{}\", \"status\": \"processing\"}}]}}", id(1));
    view.see_displaced(7, Some(&Queue::parse(news.as_bytes()).unwrap()), now());
    let published = actions(&view);
    let [Action::Publish(queue)] = &published[..] else { panic!("{published:?}") };
    assert_eq!(queue.entry(id(1)).unwrap().state(), Some(State::Processing));
}

#[test]
fn a_job_that_is_learned_of_after_the_queue_was_read_is_timed_from_the_next_look() {
    let after = |view: &View, seconds| plan(view, SETTINGS, now() + TimeDelta::seconds(seconds));
    let mut withdrawn = lab(&[(2, State::Pending, PENDING)]);
    withdrawn.learn(Job { cancel_requested: true, ..job(1, State::Pending) });
    withdrawn.keep_time(now());
    assert_eq!(after(&withdrawn, 15), [Action::Cancel(id(1))]);

    let mut done = lab(&[]);
    see(&mut done, &format!("{{\"jobs\": [{{\"uuid\": \"{}\", \"status\": \"done\"}}]}}", id(1)), now());
    done.requests.insert(id(1));
    done.learn(job(1, State::Processing));
    done.keep_time(now());
    assert_eq!(after(&done, 10), [Action::Return { id: id(1), due: Due::LastTry }]);
}

#[test]
fn a_script_that_writes_an_old_queue_does_not_bring_a_withdrawn_job_back() {
    let mut view = asked_back(None);
    let news = format!("{{\"jobs\": [{{\"uuid\": \"{}\", \"status\": \"pending\"}}]}}", id(1));
    view.see_displaced(7, Some(&Queue::parse(news.as_bytes()).unwrap()), now());
    assert_eq!(actions(&view), [], "an entry that waits is no news");
}

#[test]
fn a_program_that_was_quicker_than_its_caller_runs() {
    let view = asked_back(PROCESSING);
    assert_eq!(actions(&view), [Action::Report { id: id(1), progress: None, message: None }]);
}

#[test]
fn an_entry_that_somebody_removed_comes_back_also_if_its_job_is_done() {
    let view = lab(&[(1, State::Done(Outcome::Failed), None), (2, State::Pending, PENDING)]);
    let [Action::Publish(queue)] = &actions(&view)[..] else { panic!() };
    assert_eq!(queue.entry(id(1)).unwrap().state(), Some(State::Done(Outcome::Failed)));
    assert_eq!(queue.first_pending(), Some(id(2)));
}

#[test]
fn an_entry_behind_the_cloud_is_put_forward_again() {
    for (cloud, entry) in [(State::Processing, PENDING), (State::Done(Outcome::Succeeded), PROCESSING)] {
        let [Action::Publish(queue)] = &actions(&lab(&[(1, cloud, entry)]))[..] else { panic!("{cloud:?}") };
        assert_eq!(queue.entry(id(1)).unwrap().state(), Some(cloud));
    }
}

#[test]
fn the_cloud_is_told_what_the_queue_knows_more() {
    let report =
        |progress, message: Option<&str>| Action::Report { id: id(1), progress, message: message.map(str::to_owned) };
    assert_eq!(actions(&lab(&[(1, State::Pending, PROCESSING)])), [report(None, None)]);
    let talking = Some("\"status\": \"processing\", \"progress\": 7, \"message\": \"warm\"");
    assert_eq!(actions(&lab(&[(1, State::Processing, talking)])), [report(Some(7), Some("warm"))]);
    let mut uncertain = lab(&[(1, State::Pending, DONE)]);
    uncertain.is_certain = false;
    assert_eq!(actions(&uncertain), [], "it may be done with another result");
    assert_eq!(actions(&lab(&[(1, State::Pending, DONE)])), [Action::Return { id: id(1), due: Due::Announced }]);
    let failed = Some("\"status\": \"failed\", \"error\": \"no memory\"");
    assert_eq!(
        actions(&lab(&[(1, State::Processing, failed)])),
        [Action::Fail { id: id(1), error: "no memory".to_owned() }]
    );
    for (says, error) in [
        ("\"status\": \"NG\", \"message\": \"no input\"", "no input"),
        ("\"status\": \"done\", \"outcome\": false, \"reason\": \"no input\"", "no input"),
        ("\"status\": \"done\", \"error\": [\"no\", \"input\"]", "[\"no\", \"input\"]"),
        ("\"status\": \"not good\", \"error\": \"no input\"", "no input"),
        ("\"status\": \"failed\", \"error\": \" \"", "the program failed and gave no reason"),
    ] {
        let failed = Action::Fail { id: id(1), error: error.to_owned() };
        assert_eq!(actions(&lab(&[(1, State::Processing, Some(says))])), [failed], "{says}");
    }
}

#[test]
fn a_response_may_come_a_little_after_done_and_not_later() {
    let view = lab(&[(1, State::Processing, DONE)]);
    let after = |seconds| plan(&view, SETTINGS, now() + TimeDelta::seconds(seconds));
    assert_eq!(after(9), [Action::Return { id: id(1), due: Due::Announced }]);
    assert_eq!(after(10), [Action::Return { id: id(1), due: Due::LastTry }]);
}

#[test]
fn a_response_that_is_left_alone_for_a_minute_counts_as_done() {
    let mut view = lab(&[(1, State::Processing, PROCESSING)]);
    view.jobs.get_mut(&id(1)).unwrap().see_response(Some(now()), now());
    let after = |seconds| plan(&view, SETTINGS, now() + TimeDelta::seconds(seconds));
    assert_eq!(after(59), [], "the program may still be writing");
    assert!(after(60).contains(&Action::Return { id: id(1), due: Due::Early }));
}

#[test]
fn a_field_of_the_lab_that_is_called_worker_is_no_mark() {
    let mut view = lab(&[(1, State::Processing, Some("\"status\": \"processing\", \"worker\": \"gpu1\""))]);
    view.jobs.get_mut(&id(1)).unwrap().see_response(Some(now()), now());
    let actions = plan(&view, SETTINGS, now() + TimeDelta::seconds(60));
    assert!(actions.contains(&Action::Return { id: id(1), due: Due::Early }), "{actions:?}");
}

#[test]
fn a_response_that_is_left_alone_is_no_end_while_a_worker_has_the_job() {
    // The second is the mark of a worker of another version: the job is a worker's all the same.
    for mark in ["{\"host\": \"app1\", \"boot\": \"b\", \"pid\": 7, \"start\": 70}", "{\"host\": \"app1\"}"] {
        let marked = format!("\"status\": \"processing\", \"worker\": {mark}");
        let mut view = lab(&[(1, State::Processing, Some(marked.as_str()))]);
        let known = view.jobs.get_mut(&id(1)).unwrap();
        known.see_response(Some(now()), now());
        known.job.start_date = Some(now());
        let after = |settings, seconds| {
            let mut actions = plan(&view, settings, now() + TimeDelta::seconds(seconds));
            actions.retain(|action| !matches!(action, Action::Heartbeat(_)));
            actions
        };
        assert_eq!(after(SETTINGS, 3600), [], "it may be a checkpoint");

        let with_deadline = Settings { lost_after: Some(TimeDelta::hours(6)), ..SETTINGS };
        let over = after(with_deadline, 7 * 3600);
        assert!(over.contains(&Action::Return { id: id(1), due: Due::LastTry }), "{over:?}");
    }
}

#[test]
fn a_program_is_heard_of_though_its_response_is_left_alone() {
    let mut view = lab(&[(1, State::Pending, Some("\"status\": \"processing\", \"message\": \"warm\""))]);
    view.jobs.get_mut(&id(1)).unwrap().see_response(Some(now()), now());
    let planned = |view: &View| {
        let planned = plan(view, SETTINGS, now() + TimeDelta::seconds(60));
        planned.into_iter().filter(|action| !matches!(action, Action::Heartbeat(_))).collect::<Vec<_>>()
    };
    let report = Action::Report { id: id(1), progress: None, message: Some("warm".to_owned()) };
    assert_eq!(planned(&view), [report]);
    view.learn(Job { message: Some("warm".to_owned()), ..job(1, State::Processing) });
    assert_eq!(planned(&view), [Action::Return { id: id(1), due: Due::Early }]);
}

#[test]
fn a_response_from_a_clock_that_is_wrong_counts_from_when_it_was_seen() {
    for hours in [1, -1] {
        assert_counts_from_when_it_was_seen(now() + TimeDelta::hours(hours));
    }
}

#[test]
fn a_clock_that_is_set_back_makes_nothing_wait_for_longer() {
    let mut view = lab(&[(1, State::Processing, DONE)]);
    let after = |view: &View, seconds| plan(view, SETTINGS, now() + TimeDelta::seconds(seconds));
    let hour_ago = |seconds| now() - TimeDelta::hours(1) + TimeDelta::seconds(seconds);
    view.keep_time(hour_ago(0));
    let planned = |view: &View, seconds| plan(view, SETTINGS, hour_ago(seconds));
    assert_eq!(planned(&view, 9), [Action::Return { id: id(1), due: Due::Announced }]);
    assert_eq!(planned(&view, 10), [Action::Return { id: id(1), due: Due::LastTry }]);
    assert!(planned(&view, 60).iter().any(|action| matches!(action, Action::Heartbeat(_))));
    let beats = after(&view, 0).into_iter().any(|action| matches!(action, Action::Heartbeat(_)));
    assert!(beats, "and forward again, it is just late");
}

#[test]
fn a_clock_that_leaps_makes_nothing_wait_for_less_or_longer() {
    let settings = Settings { lost_after: Some(TimeDelta::hours(2)), ..SETTINGS };
    for leap in [TimeDelta::hours(9), TimeDelta::hours(-9)] {
        let mut view = lab(&[(1, State::Processing, PROCESSING), (2, State::Processing, DONE)]);
        let known = view.jobs.get_mut(&id(1)).unwrap();
        known.see_response(Some(now()), now());
        known.job.start_date = Some(now());

        view.clock_has_leapt(leap);
        view.keep_time(now() + leap);
        let returns = |seconds| {
            let planned = plan(&view, settings, now() + leap + TimeDelta::seconds(seconds));
            let dues = planned.into_iter().filter_map(|action| match action {
                Action::Return { due, .. } => Some(due),
                _ => None,
            });
            dues.collect::<Vec<_>>()
        };
        assert_eq!(returns(9), [Due::Announced], "{leap}");
        assert_eq!(returns(10), [Due::LastTry], "{leap}");
        assert_eq!(returns(60), [Due::Early, Due::LastTry], "{leap}");
        assert_eq!(returns(2 * 3600 - 1), [Due::Early, Due::LastTry], "{leap}");
        assert_eq!(returns(2 * 3600), [Due::LastTry, Due::LastTry], "{leap}");
    }
}

#[test]
fn a_queue_that_is_broken_again_and_again_is_put_aside_too() {
    let mut view = lab(&[]);
    let at = |seconds| now() + TimeDelta::seconds(seconds);
    for seconds in (0..60).step_by(3) {
        see(&mut view, "{\"jobs\": [", at(seconds));
        view.last_heartbeat = Some(at(seconds));
        assert_eq!(plan(&view, SETTINGS, at(seconds)), []);
    }
    assert_eq!(plan(&view, SETTINGS, at(60)), [Action::Quarantine]);
}

fn assert_counts_from_when_it_was_seen(date: DateTime<Utc>) {
    let mut view = lab(&[(1, State::Processing, PROCESSING)]);
    for seconds in [0, 30, 60] {
        view.jobs.get_mut(&id(1)).unwrap().see_response(Some(date), now() + TimeDelta::seconds(seconds));
    }
    let after = |view: &View, seconds| plan(view, SETTINGS, now() + TimeDelta::seconds(seconds));
    let returned = Action::Return { id: id(1), due: Due::Early };
    assert!(!after(&view, 59).contains(&returned));
    assert!(after(&view, 60).contains(&returned));
    view.jobs.get_mut(&id(1)).unwrap().see_response(Some(date + TimeDelta::seconds(1)), now() + TimeDelta::seconds(60));
    assert!(!after(&view, 119).contains(&returned), "it was written again");
}

#[test]
fn a_queue_that_was_lost_does_not_make_a_program_run_again() {
    let mut view = lab(&[(1, State::Pending, PENDING), (2, State::Pending, PENDING)]);
    view.jobs.get_mut(&id(1)).unwrap().see_response(Some(now()), now());
    view.see_status(Ok(None), now());
    let [Action::Publish(queue)] = &actions(&view)[..] else { panic!() };
    assert_eq!(queue.entry(id(1)).unwrap().state(), Some(State::Processing), "its response is there");
    assert_eq!(queue.first_pending(), Some(id(2)));
}

#[test]
fn a_queue_that_was_lost_is_made_again_with_the_jobs_that_are_done() {
    let mut view = lab(&[(2, State::Pending, PENDING)]);
    view.see_status(Ok(None), now());
    view.requests = [id(1), id(2), id(3)].into();
    view.foreign.insert(id(3));
    assert_eq!(actions(&view), [Action::Ask(id(1))], "first it is found out what was in it");
    view.learn(job(1, State::Done(Outcome::Succeeded)));
    view.jobs.get_mut(&id(1)).unwrap().has_request = true;
    let [Action::Publish(queue)] = &actions(&view)[..] else { panic!() };
    let states = queue.entries().iter().map(|entry| (entry.id().unwrap(), entry.state().unwrap()));
    assert_eq!(states.collect::<Vec<_>>(), [(id(1), State::Done(Outcome::Succeeded)), (id(2), State::Pending)]);
}

#[test]
fn a_job_that_stays_in_processing_is_given_up_if_the_lab_says_when() {
    let mut view = lab(&[(1, State::Processing, PROCESSING)]);
    view.jobs.get_mut(&id(1)).unwrap().job.start_date = Some(now());
    let after = |view: &View, hours| {
        let settings = Settings { lost_after: Some(TimeDelta::hours(2)), ..SETTINGS };
        let planned = plan(view, settings, now() + TimeDelta::hours(hours));
        planned.into_iter().find(|action| !matches!(action, Action::Heartbeat(_)))
    };
    assert_eq!(after(&view, 1), None);
    assert_eq!(after(&view, 2), Some(Action::Lose(id(1))));
    assert_eq!(
        plan(&view, SETTINGS, now() + TimeDelta::hours(2)).len(),
        1,
        "the heartbeat: without a limit it may run for ever"
    );
    let later = now() + TimeDelta::hours(2);
    view.jobs.get_mut(&id(1)).unwrap().see_response(Some(later), later);
    assert_eq!(after(&view, 2), None, "its response is being written");
    assert_eq!(after(&view, 3), Some(Action::Return { id: id(1), due: Due::LastTry }));
}

#[test]
fn a_resync_brings_back_what_is_done_too() {
    let mut view = lab(&[(1, State::Done(Outcome::Succeeded), None)]);
    let done = view.jobs.get_mut(&id(1)).unwrap();
    done.job.response = Some(done.job.request.clone());
    done.has_request = false;
    let done = done.job.clone();
    assert_eq!(actions(&view), []);
    view.wants_history = true;
    assert_eq!(actions(&view), [Action::Deliver(done.clone()), Action::Restore(done)]);
}

#[test]
fn a_missing_queue_is_made_and_a_broken_one_put_aside_in_time() {
    let mut view = lab(&[(1, State::Pending, PENDING)]);
    view.see_status(Ok(None), now());
    assert!(matches!(&actions(&view)[..], [Action::Publish(queue)] if queue.first_pending() == Some(id(1))));
    see(&mut view, "{\"jobs\": [", now() - TimeDelta::seconds(5));
    see(&mut view, "{\"jobs\": [{", now());
    let after = |seconds| plan(&view, SETTINGS, now() + TimeDelta::seconds(seconds));
    assert_eq!(after(9), [], "somebody is writing it, slowly");
    assert_eq!(after(10), [Action::Quarantine]);
}

#[test]
fn news_in_a_displaced_queue_comes_into_the_queue_and_then_it_goes() {
    let mut view = lab(&[(1, State::Pending, PENDING), (2, State::Pending, PENDING)]);
    let news = format!("{{\"jobs\": [{{\"uuid\": \"{}\", \"status\": \"processing\", \"by\": \"me\"}}]}}", id(1));
    view.see_displaced(7, Some(&Queue::parse(news.as_bytes()).unwrap()), now());
    view.see_displaced(8, None, now() - TimeDelta::seconds(10));
    let planned = actions(&view);
    let [Action::Publish(queue)] = &planned[..] else { panic!("{planned:?}") };
    assert_eq!(queue.entries().len(), 2);
    assert!(queue.entry(id(1)).unwrap().line().contains("\"by\": \"me\""), "the entry comes whole");

    view.see_displaced(7, None, now());
    let [Action::Publish(same)] = &actions(&view)[..] else { panic!() };
    assert_eq!(same, queue, "a look at half a file does not undo what a whole one has shown");

    view.see_status(Ok(Some(queue.clone())), now());
    let after = |seconds| plan(&view, SETTINGS, now() + TimeDelta::seconds(seconds));
    assert!(after(0).contains(&Action::Discard { number: 8 }), "its news would be in the queue");
    assert!(!after(9).contains(&Action::Discard { number: 7 }), "the script may still be writing");
    assert!(after(10).contains(&Action::Discard { number: 7 }));
}

#[test]
fn a_displaced_queue_that_says_nothing_new_is_no_news() {
    let mut view = lab(&[(1, State::Processing, PROCESSING), (2, State::Pending, PENDING)]);
    let entry = |number, status| format!("{{\"uuid\": \"{}\", \"status\": \"{status}\"}}", id(number));
    let old = format!("{{\"jobs\": [{}, {}]}}", entry(1, "pending"), entry(2, "pending"));
    for number in 0..1_000 {
        view.see_displaced(number, Some(&Queue::parse(old.as_bytes()).unwrap()), now());
    }
    assert_eq!(actions(&view), []);
    assert_eq!(view.seen.len(), 1, "and nothing of it is kept");
}

// What was seen to go forward.

fn entry(number: u64, fields: &str) -> String {
    format!("{{\"jobs\": [{{\"uuid\": \"{}\", {fields}}}]}}", id(number))
}

#[test]
fn what_was_seen_to_run_has_no_second_turn_whatever_becomes_of_the_queue() {
    let running = entry(1, "\"status\": \"processing\", \"host\": \"app-1\"");
    let older = entry(1, "\"status\": \"pending\"");
    let damages: [fn(&mut View, &str); 3] = [
        |view, _| view.see_status(Ok(None), now()),
        |view, older| see(view, older, now()),
        |view, _| see(view, "{\"jobs\": []}", now()),
    ];
    for damage in damages {
        let mut view = lab(&[(1, State::Pending, PENDING)]);
        see(&mut view, &running, now());
        damage(&mut view, &older);
        let planned = actions(&view);
        let Some(Action::Publish(queue)) = planned.first() else { panic!("{planned:?}") };
        assert!(queue.entry(id(1)).unwrap().line().contains("app-1"), "its entry comes back whole");
        assert_eq!(queue.first_pending(), None);
    }
}

#[test]
fn a_job_with_several_entries_is_as_far_as_the_furthest() {
    let line = |number, status: &str| format!("{{\"uuid\": \"{}\", \"status\": \"{status}\"}}", id(number));
    let twice =
        |status: &str| format!("{{\"jobs\": [{}, {}, {}]}}", line(1, "pending"), line(2, "pending"), line(1, status));
    let mut view = lab(&[(1, State::Pending, PENDING), (2, State::Pending, PENDING)]);

    see(&mut view, &twice("processing"), now());
    assert_eq!(actions(&view), [Action::Report { id: id(1), progress: None, message: None }]);
    assert!(view.seen.contains_key(&id(1)));

    view.learn(job(1, State::Processing));
    see(&mut view, &twice("done"), now());
    assert_eq!(actions(&view), [Action::Return { id: id(1), due: Due::Announced }]);

    // What is to be published keeps the promise: the entry that waits is none that went back.
    view.learn(job(3, State::Pending));
    view.jobs.get_mut(&id(3)).unwrap().has_request = true;
    let published = actions(&view);
    let Some(Action::Publish(queue)) = published.first() else { panic!("{published:?}") };
    let publish = bcrlapi_exchange::promise::Publish { view: &view, queue, now: now() };
    assert_eq!((publish.broken_rule(), queue.first_pending()), (None, Some(id(2))));
}

#[test]
fn what_is_whole_in_a_broken_queue_has_no_second_turn() {
    let line = |number, status: &str| format!("{{\"uuid\": \"{}\", \"status\": \"{status}\", \"x\": 1}}", id(number));
    let cut = format!("{{\"jobs\": [\n  {},\n  {},\n  {{\"uu", line(1, "processing"), line(2, "failed"));
    for is_known in [true, false] {
        let mut view = lab(&[]);
        let learn = |view: &mut View| {
            for number in [1, 2, 3] {
                view.learn(job(number, State::Pending));
                view.jobs.get_mut(&id(number)).unwrap().has_request = true;
            }
        };
        if is_known {
            learn(&mut view);
        }
        see(&mut view, &cut, now());
        assert!(view.seen.contains_key(&id(1)), "what runs is remembered at once");
        assert_eq!(plan(&view, SETTINGS, now() + TimeDelta::seconds(10)), [Action::Quarantine]);
        // Somebody empties it before it is put aside.
        see(&mut view, "", now());
        view.see_status(Ok(None), now());
        if !is_known {
            learn(&mut view);
        }

        let planned = actions(&view);
        let [Action::Publish(queue)] = &planned[..] else { panic!("{planned:?}") };
        assert_eq!(queue.first_pending(), Some(id(3)));
        assert_eq!(queue.entry(id(2)).unwrap().state(), Some(State::Done(Outcome::Failed)));
        assert!(queue.entry(id(1)).unwrap().line().contains("\"x\""), "its entry comes back whole");
    }
}

#[test]
fn what_a_broken_queue_said_of_jobs_that_are_over_is_not_kept_once_a_whole_one_says_it() {
    let done = entry(1, "\"status\": \"done\"");
    let mut view = lab(&[]);
    see(&mut view, &done[..done.len() - 1], now());
    assert!(view.to_journal().is_empty(), "somebody may be writing it just now");
    see(&mut view, &done, now());
    assert!(view.seen.is_empty() && view.salvaged.entries().is_empty());
}

#[test]
fn a_queue_with_a_small_fault_is_written_anew() {
    let mut view = lab(&[(1, State::Processing, PROCESSING)]);
    see(&mut view, &entry(1, "\"status\": \"processing\", \"note\": \"a\tb\","), now());
    let [Action::Publish(queue)] = &actions(&view)[..] else { panic!("{:?}", actions(&view)) };
    see(&mut view, &String::from_utf8(queue.render()).unwrap(), now());
    assert_eq!(actions(&view), [], "once");
}

#[test]
fn the_journal_says_what_was_seen_and_not_told() {
    let mut view = lab(&[(1, State::Pending, PENDING), (2, State::Processing, PROCESSING)]);
    assert!(view.to_journal().is_empty(), "the cloud knows what runs");
    see(&mut view, &entry(1, "\"status\": \"processing\""), now());
    let journal: Vec<Entry> = view.to_journal().into_iter().cloned().collect();
    assert_eq!(journal.iter().map(Entry::id).collect::<Vec<_>>(), [Some(id(1))]);
    view.has_journaled(&journal);
    assert_eq!((view.to_journal().len(), view.new_journal()), (0, None), "once is enough");

    // An agent that starts while the cloud still calls the job pending.
    let mut next = lab(&[(1, State::Pending, None)]);
    next.see_status(Ok(None), now());
    let half = &b"{\"uuid\": \"018a"[..];
    next.read_journal(&[journal[0].line().as_bytes(), b"\n", half].concat());
    let [Action::Publish(queue)] = &actions(&next)[..] else { panic!() };
    assert_eq!(queue.entry(id(1)).unwrap().state(), Some(State::Processing));

    view.learn(job(1, State::Processing));
    assert_eq!(view.new_journal(), Some(Vec::new()), "the cloud knows it");
}

#[test]
fn an_agent_that_has_not_reached_the_cloud_remembers_what_runs() {
    let mut view = View::default();
    see(&mut view, &entry(1, "\"status\": \"processing\""), now());
    assert_eq!(view.to_journal().len(), 1);
    view.see_status(Ok(None), now());
    view.requests = [id(1)].into();
    view.learn(job(1, State::Pending));
    view.last_heartbeat = Some(now());
    let [Action::Publish(queue)] = &actions(&view)[..] else { panic!("{:?}", actions(&view)) };
    assert_eq!(queue.first_pending(), None);
}

#[test]
fn a_program_that_says_something_all_the_time_is_told_now_and_then() {
    let says = |message: u32| entry(1, &format!("\"status\": \"processing\", \"message\": \"step {message}\""));
    let mut view = lab(&[(1, State::Processing, PROCESSING)]);
    let mut told = 0;
    for tenth in 0..600 {
        let at = now() + TimeDelta::milliseconds(tenth * 100);
        see(&mut view, &says(u32::try_from(tenth).unwrap()), at);
        view.last_heartbeat = Some(at);
        for action in plan(&view, SETTINGS, at) {
            let Action::Report { message, .. } = action else { panic!("{action:?}") };
            told += 1;
            view.learn(Job { message, ..job(1, State::Processing) });
            view.has_reported(id(1), at);
        }
    }
    assert_eq!(told, 12);
    let later = plan(&view, SETTINGS, now() + TimeDelta::seconds(65));
    assert!(
        later
            .iter()
            .any(|action| matches!(action, Action::Report { message, .. } if message.as_deref() == Some("step 599")))
    );
}

#[test]
fn a_queue_in_another_encoding_is_written_anew() {
    let mut view = lab(&[(1, State::Processing, PROCESSING)]);
    let text = entry(1, "\"status\": \"processing\", \"message\": \"計算中\"");
    let cp932 = encoding_rs::SHIFT_JIS.encode(&text).0.into_owned();
    view.see_status(Queue::parse(cp932).map(Some), now());
    view.has_reported(id(1), now());
    let [Action::Publish(queue)] = &actions(&view)[..] else { panic!("{:?}", actions(&view)) };
    view.see_status(Queue::parse(queue.render()).map(Some), now());
    assert_eq!(actions(&view), [], "once");
}

#[test]
fn a_queue_that_is_only_too_large_is_not_put_aside() {
    let mut view = lab(&[(1, State::Pending, PENDING)]);
    let size_bytes = Queue::MAX_BYTES + 1;
    view.see_status(Err(bcrlapi_exchange::BrokenQueue::TooLarge { size_bytes }), now());
    view.last_heartbeat = Some(now() + TimeDelta::hours(1));
    assert_eq!(plan(&view, SETTINGS, now() + TimeDelta::hours(1)), []);
}

#[test]
fn a_lab_that_has_ended_many_jobs_does_not_remember_them_all() {
    let mut view = View { is_certain: true, ..View::default() };
    for number in 1..=10_500 {
        view.learn(job(number, if number == 3 { State::Processing } else { State::Done(Outcome::Succeeded) }));
    }
    view.forget_old(now());
    assert_eq!(view.jobs.len(), 10_001);
    assert!(view.jobs.contains_key(&id(3)), "what is open stays");
}

#[test]
fn once_a_day_what_has_expired_is_removed_entries_first() {
    let mut view = lab(&[(2, State::Pending, PENDING)]);
    let old = "018aca00-0000-7000-8000-000000000001";
    see(
        &mut view,
        &format!(
            "{{\"jobs\": [{{\"uuid\": \"{old}\", \"status\": \"done\"}}, {{\"uuid\": \"{}\", \"status\": \"pending\"}}, {{\"note\": 1}}]}}",
            id(2)
        ),
        now(),
    );
    assert!(old.parse::<JobId>().unwrap().is_expired(now()));
    view.last_prune = Some(now() - TimeDelta::hours(23));
    assert_eq!(actions(&view), [], "not every hour");
    view.last_prune = Some(now() - TimeDelta::hours(24));
    let [Action::Publish(queue)] = &actions(&view)[..] else { panic!() };
    assert_eq!(queue.entries().iter().map(Entry::id).collect::<Vec<_>>(), [Some(id(2)), None]);
    view.status = QueueSeen::Whole(queue.clone());
    assert_eq!(actions(&view), [Action::Prune]);
}

#[test]
fn a_heartbeat_counts_what_is_open() {
    let mut view = lab(&[
        (1, State::Processing, PROCESSING),
        (2, State::Pending, PENDING),
        (3, State::Pending, PENDING),
        (4, State::Processing, PROCESSING),
        (5, State::Processing, PROCESSING),
    ]);
    view.last_heartbeat = Some(now() - TimeDelta::seconds(60));
    // The one that was submitted last was started first.
    for (number, minutes) in [(1, 5), (4, 7), (5, 9)] {
        view.jobs.get_mut(&id(number)).unwrap().job.start_date = Some(now() - TimeDelta::minutes(minutes));
    }
    let workload = Workload {
        pending: 2,
        processing: 3,
        waiting_since: Some(id(2).request_date()),
        processing_since: Some(now() - TimeDelta::minutes(9)),
    };
    assert_eq!(actions(&view), [Action::Heartbeat(workload)]);
    assert_eq!(View::default().workload(), Workload::default(), "nothing waits");
}

#[test]
fn no_body_can_put_fields_of_its_own_into_the_request_file() {
    for body in ["1, \"api\": \"other\"", "1}, {\"a\": 1", "", "{", "\u{feff}1"] {
        assert!(render_request(&job(1, State::Pending), body.as_bytes(), SETTINGS.offset).is_err(), "{body}");
    }
}
