//! The queue as people and scripts write it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use bcrlapi_domain::{JobId, Outcome, State};
use bcrlapi_exchange::{Entry, Queue};

const FIRST: &str = "018aef2c-7a00-7000-8000-000000000001";
const SECOND: &str = "018aef2c-7a00-7000-8000-000000000002";

fn id(text: &str) -> JobId {
    text.parse().unwrap()
}

fn parse(text: &str) -> Queue {
    Queue::parse(text.as_bytes()).unwrap()
}

fn with_entry(fields: &str) -> Entry {
    parse(&format!("{{\"jobs\": [{{\"uuid\": \"{FIRST}\", {fields}}}]}}")).entry(id(FIRST)).unwrap().clone()
}

#[test]
fn any_way_of_writing_it_is_read() {
    let entry = format!("{{\"status\":\"pending\",\"uuid\":\"{FIRST}\",\"api\":\"soc\"}}");
    for text in [
        format!("{{\"jobs\":[{entry}]}}"),
        format!("\u{feff}{{\r\n  \"jobs\": [\r\n\t{entry}\r\n  ]\r\n}}\r\n"),
        format!("\n\n{{\"made by\": \"hand\", \"jobs\" : [ {entry} ] }}"),
    ] {
        assert_eq!(parse(&text).first_pending(), Some(id(FIRST)), "{text}");
    }
    for empty in ["{}", "{\"jobs\": []}", "{\"jobs\": null}"] {
        assert_eq!(parse(empty).entries(), [], "{empty}");
    }
}

#[test]
fn what_python_writes_for_no_number_is_read() {
    let entry = with_entry("\"status\": \"processing\", \"progress\": NaN, \"note\": [-Infinity, \"NaN\"]");
    assert_eq!((entry.state(), entry.progress()), (Some(State::Processing), None));
    assert!(entry.line().ends_with("\"progress\": null, \"note\": [null, \"NaN\"]}"), "{}", entry.line());
}

#[test]
fn what_is_no_queue_is_an_error() {
    for broken in
        ["", "{\"jobs\": [", "[]", "[[]]", "null", "{\"jobs\": {}}", "{\"jobs\": []}}", "\u{0}", "{\"jobs\": NaN,}"]
    {
        assert!(Queue::parse(broken.as_bytes()).is_err(), "{broken:?}");
    }
}

#[test]
fn what_nobody_knows_is_kept_as_it_is() {
    let text = format!(
        "{{\"jobs\": [\n  {{\"note\": [1, null], \"uuid\": \"{FIRST}\", \"status\": \"waiting\"}},\n  \"a comment\",\n  \
         {{\"uuid\": \"my own id\", \"status\": \"pending\"}}\n], \"version\": 3}}\n"
    );
    let mut file = parse(&text);
    assert_eq!(String::from_utf8(file.render()).unwrap(), text);
    assert_eq!(file.first_pending(), None, "neither a word nor an id that nobody knows is a turn");
    assert!(!file.advance(id(FIRST), State::Processing, None));
}

#[test]
fn one_job_is_one_line_however_it_was_written() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let text = format!(
        "{{\n  \"jobs\": [\r\n    {{\r\n      \"uuid\": \"{FIRST}\",\r\n      \"status\": \"pending\",\n      \
         \"note\": \"a,\\n b\",\n\t\"deep\": {deep},\n      \"number\": 12345678901234567890.10\n    }}\n  ],\n  \
         \"own\": [\n    1,\n    2\n  ]\n}}"
    );
    let mut file = parse(&text);
    let line = |status: &str, more: &str| {
        format!(
            "{{\"uuid\": \"{FIRST}\", \"status\": \"{status}\", \"note\": \"a,\\n b\", \"deep\": {deep}, \
             \"number\": 12345678901234567890.10{more}}}"
        )
    };
    let rendered = |line: &str| format!("{{\"jobs\": [\n  {line}\n], \"own\": [1, 2]}}\n");
    assert_eq!(String::from_utf8(file.render()).unwrap(), rendered(&line("pending", "")));
    file.advance(id(FIRST), State::Done(Outcome::Failed), Some("\"no\""));
    let more = ", \"outcome\": \"failed\", \"error\": \"\\\"no\\\"\"";
    assert_eq!(String::from_utf8(file.render()).unwrap(), rendered(&line("done", more)));
    assert_eq!(parse(&rendered(&line("done", more))), file);
}

#[test]
fn our_own_layout_is_read_as_any_other() {
    let entry = |id: &str, more: &str| format!("{{\"uuid\": \"{id}\", \"status\": \"pending\"{more}}}");
    let (first, second) = (entry(FIRST, ", \"outcome\": null"), entry(SECOND, ", \"a\": [\n  {}]"));
    for jobs in [
        first.clone(),
        format!("{first},\n  {second}"),
        format!("{first},\n  {first},\n  {}", entry("upper", "")),
        format!("{first},\n  [\"{SECOND}\", \"pending\", null],\n  5"),
        format!("{first},\n  {}", entry(SECOND, ", \"status\": \"done\"")),
        format!("{first},\n  {}", entry(SECOND, ", \"note\": \"\n]}}\\n\"")),
    ] {
        let text = format!("{{\"jobs\": [\n  {jobs}\n]}}\n");
        let otherwise = text.replacen("\n  ", "\n", 1);
        match (Queue::parse(text.as_bytes()), Queue::parse(otherwise.as_bytes())) {
            (Ok(queue), Ok(same)) => assert_eq!(queue, same, "{text}"),
            (ours, other) => assert!(ours.is_err() && other.is_err(), "{text}: {ours:?}, but {other:?}"),
        }
    }
}

#[test]
fn half_of_our_own_layout_is_no_queue() {
    let text = format!(
        "{{\"jobs\": [\n  {{\"uuid\": \"{FIRST}\", \"status\": \"done\"}},\n  {{\"uuid\": \"{SECOND}\"}}\n]}}\n"
    );
    let whole = parse(&text);
    for end in 1..text.len() - 1 {
        assert!(Queue::parse(&text.as_bytes()[..end]).is_err(), "{}", &text[..end]);
    }
    assert_eq!((whole.entries().len(), parse(text.trim_end())), (2, whole));
}

#[test]
fn half_a_surrogate_pair_loses_no_entry_and_no_reason() {
    let text = format!(
        "{{\"\\udce9\": 1, \"jobs\": [{{\"\\udce9\": 2, \"uuid\": \"{FIRST}\", \"status\": \"failed\", \"error\": \"no \\udce9.csv\"}}]}}"
    );
    let entry = parse(&text).entry(id(FIRST)).unwrap().clone();
    assert_eq!(entry.state(), Some(State::Done(Outcome::Failed)));
    assert!(entry.error().unwrap().starts_with("no \u{fffd}"), "{:?}", entry.error());
}

#[test]
fn a_word_that_nobody_knows_gives_way_to_done_and_to_nothing_else() {
    let with = |status: &str| parse(&format!("{{\"jobs\": [{{\"uuid\": \"{FIRST}\", \"status\": \"{status}\"}}]}}"));
    for (status, gives_way) in [("pending", false), ("processing", false), ("done", true), ("ended", false)] {
        assert_eq!(with("finished").absorb(&with(status), |_, _| true), gives_way, "{status}");
    }
}

#[test]
fn a_list_is_no_entry() {
    let file = parse(&format!("{{\"jobs\": [[\"{FIRST}\", \"pending\", null]]}}"));
    assert_eq!((file.entries()[0].id(), file.entries()[0].state()), (None, None));
}

#[test]
fn of_two_fields_with_one_name_the_last_counts() {
    let mut file = parse(&format!(
        "{{\"jobs\": [{{\"status\": \"done\", \"uuid\": \"x\", \"uu\\u0069d\": \"{FIRST}\", \"status\": \"pending\"}}]}}"
    ));
    assert_eq!(file.first_pending(), Some(id(FIRST)));
    assert!(file.advance(id(FIRST), State::Processing, None));
    assert_eq!(parse(&String::from_utf8(file.render()).unwrap()).entries()[0].state(), Some(State::Processing));
}

#[test]
fn the_first_pending_from_the_top_has_the_turn() {
    let text = format!(
        "{{\"jobs\": [{{\"uuid\": \"{SECOND}\", \"status\": \"done\"}}, {{\"uuid\": \"{FIRST}\", \"status\": \"pending\"}},
          {{\"uuid\": \"{SECOND}\", \"status\": \"pending\"}}]}}"
    );
    let mut file = parse(&text);
    assert_eq!(file.first_pending(), Some(id(FIRST)));
    assert!(file.advance(id(FIRST), State::Processing, None));
    assert_eq!(file.first_pending(), None, "the second entry of one job does not count");
}

#[test]
fn an_entry_only_moves_forward() {
    let mut file = parse(&format!("{{\"jobs\": [{{\"uuid\": \"{FIRST}\", \"status\": \"processing\"}}]}}"));
    assert!(!file.advance(id(FIRST), State::Pending, None));
    assert!(file.advance(id(FIRST), State::Done(Outcome::Failed), Some("why")));
    assert!(!file.advance(id(FIRST), State::Done(Outcome::Succeeded), None));
    let entry = file.entry(id(FIRST)).unwrap();
    assert_eq!((entry.state(), entry.error().as_deref()), (Some(State::Done(Outcome::Failed)), Some("why")));
}

#[test]
fn failed_is_read_as_done_and_failed() {
    for fields in ["\"status\": \"failed\"", "\"status\": \"done\", \"outcome\": \"failed\""] {
        assert_eq!(with_entry(fields).state(), Some(State::Done(Outcome::Failed)), "{fields}");
    }
    // Who cancels or loses a job is not for the APP server to say.
    for fields in ["\"status\": \"done\"", "\"status\": \"done\", \"outcome\": \"canceled\""] {
        assert_eq!(with_entry(fields).state(), Some(State::Done(Outcome::Succeeded)), "{fields}");
    }
}

#[test]
fn what_the_app_says_has_limits() {
    for (written, read) in [
        ("42", Some(42)),
        ("42.9", Some(42)),
        ("0", Some(0)),
        ("100", Some(100)),
        ("1e9", Some(100)),
        ("-3", None),
        ("\"50\"", None),
    ] {
        assert_eq!(with_entry(&format!("\"progress\": {written}")).progress(), read, "{written}");
    }
    let long = "電".repeat(5_000);
    assert_eq!(with_entry(&format!("\"message\": \"{long}\"")).message().unwrap().chars().count(), 500);
    let error = with_entry(&format!("\"error\": \"{long}end\"")).error().unwrap();
    assert_eq!((error.chars().count(), error.ends_with("end")), (2_000, true), "of an error the end is kept");
}

#[test]
fn a_queue_absorbs_what_another_knows_more() {
    let entry = |id: &str, status: &str| format!("{{\"uuid\": \"{id}\", \"status\": \"{status}\"}}");
    let mut file = parse(&format!("{{\"jobs\": [{}]}}", entry(FIRST, "processing")));
    let other = parse(&format!("{{\"jobs\": [{}, {}, 5]}}", entry(FIRST, "pending"), entry(SECOND, "done")));
    assert!(file.absorb(&other, |_, _| false));
    let states: Vec<_> = file.entries().iter().map(Entry::state).collect();
    assert_eq!(states, [Some(State::Processing), Some(State::Done(Outcome::Succeeded))]);
    assert!(!file.absorb(&other, |_, _| false), "to absorb it again changes nothing");
    let old = parse(&format!("{{\"jobs\": [{}]}}", entry(FIRST, "pending")));
    let mut lost = Queue::default();
    assert!(!lost.absorb(&old, |_, _| false), "an old queue does not bring back the turn of a job that is over");
    assert!(lost.absorb(&old, |id, _| id.to_string() == FIRST));
}
