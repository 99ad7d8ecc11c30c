//! The queue as people and scripts write it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use bcrlapi_domain::{JobId, Outcome, State};
use bcrlapi_exchange::{Entry, Queue, WorkerMark};

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

/// Two entries of which the first runs; the second waits.
fn two_entries(fields: &str) -> String {
    format!(
        "{{\"uuid\": \"{FIRST}\", \"status\": \"processing\", {fields}}},\n  \
         {{\"uuid\": \"{SECOND}\", \"status\": \"pending\"}}"
    )
}

#[test]
fn a_small_fault_whose_meaning_is_plain_spoils_nothing() {
    let good = two_entries("\"message\": \"計算中\"");
    for text in [
        format!("{{\"jobs\": [\n  {}\n]}}\n", two_entries("\"message\": \"1\tof 2\nlines \u{1b}[31mhot\u{1b}[0m\"")),
        format!("{{\"jobs\": [\n  {}\n]}}\n", two_entries("\"message\": \"in C:\\data\\users\\soc\"")),
        format!("{{\"jobs\": [\n  {}\n]}}\n", two_entries("\"message\": \"in C:\\data\\\", \"b\": 1")),
        format!("{{\"jobs\": [\n  {good},\n],}}\n"),
        format!("{{\"jobs\": [\n  {good}\n]}}\n{}", "\0".repeat(100)),
        format!("{{\"jobs\": [\n  {good}\n]}}\n\u{1a}"),
        format!("// the queue\n{{\"jobs\": [ # ours\n  {good}\n]}}\n"),
        format!("{{\"jobs\": [\n  {good}\n]}}\n{}", "nding\"}\n]}\n"),
        format!("{{'jobs': [{}]}}", good.replace('"', "'").replace("計算中", "計\\'算中', 'a': None, 'b': 'x\"y")),
    ] {
        let queue = parse(&text);
        assert_eq!(queue.entry(id(FIRST)).unwrap().state(), Some(State::Processing), "{text:?}");
        assert_eq!((queue.first_pending(), queue.entries().len()), (Some(id(SECOND)), 2), "{text:?}");

        let written = String::from_utf8(queue.render()).unwrap();
        let read: Vec<_> = parse(&written).entries().iter().map(|entry| entry.line().to_owned()).collect();
        assert!(read.iter().map(String::as_str).eq(queue.entries().iter().map(Entry::line)), "{text:?}: {written}");
    }
    let message = |fields: &str| with_entry(fields).message();
    assert_eq!(message("\"message\": \"1\tof\n2\"").as_deref(), Some("1\tof\n2"));
    assert_eq!(message("\"message\": \"C:\\data\\\", \"x\": 1").as_deref(), Some("C:\\data\\"));
}

#[test]
fn iso_2022_jp_spoils_nothing() {
    // The second byte of 、 and of 丐 is that of a quote.
    for (text, bytes) in [("計算", &b"7W;;"[..]), ("こ、\u{3000}", b"$3!\"!!"), ("丐", b"P\"")] {
        let mut file = format!("{{\"jobs\": [{{\"uuid\": \"{FIRST}\", \"message\": \"").into_bytes();
        file.extend([b"\x1b$B", bytes, b"\x1b(B\", \"status\": \"processing\"}]}"].concat());
        let queue = Queue::parse(file).unwrap();
        let entry = queue.entry(id(FIRST)).unwrap();
        assert_eq!((entry.state(), entry.message().as_deref()), (Some(State::Processing), Some(text)));
    }
}

#[test]
fn of_what_stands_behind_the_queue_only_what_is_further_counts() {
    let entry = |id: &str, status: &str| format!("{{\"uuid\": \"{id}\", \"status\": \"{status}\"}}");
    let whole = format!("{{\"jobs\": [{}, {}]}}\n", entry(FIRST, "processing"), entry(SECOND, "pending"));

    let older = format!("{whole}{}\n]}}\n", entry(FIRST, "pending"));
    assert_eq!(parse(&older).render(), parse(&whole).render());

    let appended = format!("{whole}{}\n", entry(SECOND, "done"));
    let queue = parse(&appended);
    let states: Vec<_> = queue.entries().iter().map(Entry::state).collect();
    assert_eq!(states, [Some(State::Processing), Some(State::Done(Outcome::Succeeded))]);
}

#[test]
fn what_is_whole_in_a_broken_queue_is_known() {
    let entry = |id: &str, status: &str| format!("{{\"uuid\": \"{id}\", \"status\": \"{status}\", \"a\": {{}}}}");
    let (first, second) = (entry(FIRST, "processing"), entry(SECOND, "done"));
    let third = entry("018aef2c-7a00-7000-8000-000000000003", "pending");
    let salvaged = |text: &[u8]| -> Vec<Option<JobId>> {
        let salvaged = Queue::parse(text).unwrap_err().into_salvaged();
        salvaged.entries().iter().map(Entry::id).collect()
    };
    let (both, only_second) = ([Some(id(FIRST)), Some(id(SECOND))], [Some(id(SECOND))]);

    for layout in ["{\"jobs\": [\n  JOBS", "{\"jobs\":[JOBS", "{\n\t\"jobs\":\n\t[\n\tJOBS", "[JOBS]", "JOBS"] {
        let broken = |jobs: &str| layout.replace("JOBS", jobs);
        let cut = broken(&format!("{third},\n  {first},\n  {second},\n  {{\"uuid\": \"018aef"));
        assert_eq!(salvaged(cut.as_bytes()), both, "{cut}");

        let utf16: Vec<u8> = cut.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(salvaged(&utf16), both, "{cut}");
        let cp932 = encoding_rs::SHIFT_JIS.encode(&cut.replace("{}", "\"図表\"")).0.into_owned();
        assert_eq!(salvaged(&cp932), both, "{cut}");

        let bad = broken(&format!("{}\",\n  {second}", first.replace("{}", "\"a\"b\"")));
        assert_eq!(salvaged(bad.as_bytes()), only_second, "{bad}");
    }

    let with_tab = format!("{{\"jobs\": [\n  {},\n  {second},\n  {{", first.replace("{}", "\"a\tb\""));
    assert_eq!(salvaged(with_tab.as_bytes()), both);
    let own = format!("{{\"jobs\": [{{\"my\": {first}, \"x\" y}}, {second}");
    assert_eq!(salvaged(own.as_bytes()), only_second, "what stands in somebody's field is no entry");
}

#[test]
fn one_bad_byte_loses_no_other_entry() {
    const THIRD: &str = "018aef2c-7a00-7000-8000-000000000003";
    let states = [(FIRST, "done"), (SECOND, "processing"), (THIRD, "failed")];
    let entry = |(id, status): (&str, &str)| {
        format!(
            "{{\"uuid\": \"{id}\", \"status\": \"{status}\", \"message\": \"it's C:\\\\a\", \"own\": {{\"a\": [1]}}}}"
        )
    };
    let entries = states.map(entry);

    for (before, between, after) in [("{\"jobs\": [\n  ", ",\n  ", "\n]}\n"), ("{\"jobs\": [", ", ", "]}")] {
        let text = format!("{before}{}{after}", entries.join(between));
        for at in before.len()..text.len() - after.len() {
            let begins = text.match_indices("{\"uuid\"").take_while(|(begin, _)| *begin <= at);
            let damaged = begins.count() - 1;
            for bad in [&b"\""[..], b"\\", b"{", b"}", b"[", b"]", b",", b":", b"'", b"\n", b"\0", b"x", b""] {
                let bytes = [&text.as_bytes()[..at], bad, &text.as_bytes()[at + 1..]].concat();
                let queue = Queue::parse(&bytes[..]).unwrap_or_else(bcrlapi_exchange::BrokenQueue::into_salvaged);
                for (number, (uuid, _)) in states.iter().enumerate().filter(|(number, _)| *number != damaged) {
                    let started = queue.entry(id(uuid)).and_then(Entry::state);
                    let expected = with_entry(&format!("\"status\": \"{}\"", states[number].1)).state();
                    assert_eq!(started, expected, "{}", String::from_utf8_lossy(&bytes));
                }
            }
        }
    }
}

#[test]
fn what_is_no_queue_is_an_error() {
    for broken in ["", "{\"jobs\": [", "[]", "[[]]", "null", "{\"jobs\": {}}", "{}{}", "\u{0}", "{\"jobs\": [1 2]}"] {
        assert!(Queue::parse(broken.as_bytes()).is_err(), "{broken:?}");
    }
}

#[test]
fn what_nobody_knows_is_kept_as_it_is() {
    let text = format!(
        "{{\"jobs\": [\n  {{\"note\": [1, null], \"uuid\": \"{FIRST}\", \"status\": \"erledigt\"}},\n  \"a comment\",\n  \
         {{\"uuid\": \"my own id\", \"status\": \"pending\"}}\n], \"version\": 3}}\n"
    );
    let mut file = parse(&text);
    assert_eq!(String::from_utf8(file.render()).unwrap(), text);
    assert_eq!(file.first_pending(), None, "neither a word nor an id that nobody knows is a turn");
    assert!(!file.advance(id(FIRST), State::Processing, None), "somebody has given it its turn");
    let entry = file.entry(id(FIRST)).unwrap();
    assert_eq!((entry.state(), entry.unknown_word().as_deref()), (Some(State::Processing), Some("erledigt")));
    assert!(file.advance(id(FIRST), State::Done(Outcome::Succeeded), None));
}

#[test]
fn an_entry_without_a_status_is_told_what_is_known() {
    for fields in ["\"status\": null", "\"note\": 1"] {
        let mut file = parse(&format!("{{\"jobs\": [{{\"uuid\": \"{FIRST}\", {fields}}}]}}"));
        assert_eq!(file.entries()[0].state(), None);
        assert!(file.advance(id(FIRST), State::Pending, None));
        assert_eq!(file.first_pending(), Some(id(FIRST)));
    }
    assert_eq!(with_entry("\"status\": 2").unknown_word().as_deref(), Some("2"));
}

#[test]
fn a_uuid_is_read_in_any_case() {
    for uuid in [FIRST.to_uppercase(), format!("{{{FIRST}}}"), format!(" {FIRST}")] {
        let file = parse(&format!("{{\"jobs\": [{{\"uuid\": \"{uuid}\", \"status\": \"Pending\"}}]}}"));
        assert_eq!(file.first_pending(), Some(id(FIRST)), "{uuid}");
    }
}

/// A queue with Japanese in it, in which the first job runs and the second waits.
fn japanese() -> String {
    let entry = |id, status, text| format!("{{\"uuid\": \"{id}\", \"status\": \"{status}\", \"message\": \"{text}\"}}");
    // In cp932 the second byte of 表 is a backslash.
    format!("{{\"jobs\": [{}, {}]}}", entry(FIRST, "processing", "計算中 図表"), entry(SECOND, "pending", "表"))
}

#[test]
fn bytes_of_another_encoding_spoil_the_text_that_they_stand_in_and_nothing_else() {
    let text = japanese();
    let encodings = [encoding_rs::SHIFT_JIS, encoding_rs::EUC_JP, encoding_rs::GBK, encoding_rs::UTF_8];
    let mut files: Vec<Vec<u8>> = encodings.iter().map(|encoding| encoding.encode(&text).0.into_owned()).collect();
    for mark in [false, true] {
        let units = || mark.then_some(0xfeff).into_iter().chain(text.encode_utf16());
        files.push(units().flat_map(u16::to_le_bytes).collect());
        files.push(units().flat_map(u16::to_be_bytes).collect());
    }
    for bytes in &files {
        let queue = Queue::parse(&bytes[..]).unwrap_or_else(|error| panic!("{error}: {bytes:?}"));
        assert_eq!(queue.entry(id(FIRST)).unwrap().state(), Some(State::Processing), "{bytes:?}");
        assert_eq!(queue.first_pending(), Some(id(SECOND)), "{bytes:?}");
    }
    for bytes in [&files[0], &files[3], &files[4], &files[5]] {
        let message = Queue::parse(&bytes[..]).unwrap().entry(id(FIRST)).unwrap().message();
        assert_eq!(message.as_deref(), Some("計算中 図表"), "{bytes:?}");
    }
    let latin =
        "{\"jobs\": [{\"uuid\": \"UUID\", \"status\": \"done\", \"note\": \"caf\u{e9}\\\"\"}]}".replace("UUID", FIRST);
    let bytes: Vec<u8> = latin.chars().map(|character| u8::try_from(u32::from(character)).unwrap()).collect();
    let queue = Queue::parse(bytes).unwrap();
    assert_eq!(queue.entry(id(FIRST)).unwrap().state(), Some(State::Done(Outcome::Succeeded)));
}

#[test]
fn half_a_file_of_another_encoding_is_no_queue() {
    let bytes = encoding_rs::SHIFT_JIS.encode(&japanese()).0.into_owned();
    for end in 0..bytes.len() {
        assert!(Queue::parse(&bytes[..end]).is_err(), "{end} bytes");
    }
}

#[test]
fn what_is_written_is_ascii_so_that_every_locale_reads_it() {
    let mut file = parse(&format!("{{\"備考\": \"é\", {}", &japanese()[1..]));
    file.advance(id(SECOND), State::Done(Outcome::Failed), Some("入力が範囲外です"));
    let written = String::from_utf8(file.render()).unwrap();
    assert!(written.is_ascii(), "{written}");
    assert_eq!(parse(&written).entry(id(SECOND)).unwrap().error().as_deref(), Some("入力が範囲外です"));
    assert!(written.contains("\"\\u5099\\u8003\": \"\\u00e9\""), "{written}");
}

#[test]
fn more_entries_than_there_is_memory_for_are_an_error_that_says_so() {
    let many = vec!["{}"; Queue::MAX_ENTRIES + 1].join(",");
    let error = Queue::parse(format!("{{\"jobs\": [{many}]}}")).unwrap_err();
    assert!(error.is_only_large() && error.to_string().contains("1500001 entries"), "{error}");
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
fn of_several_entries_of_one_job_the_furthest_counts() {
    let entry = |id: &str, status: &str, more: &str| format!("{{\"uuid\": \"{id}\", \"status\": \"{status}\"{more}}}");
    let queue = |jobs: &[String]| parse(&format!("{{\"jobs\": [{}]}}", jobs.join(", ")));
    let done = State::Done(Outcome::Succeeded);

    let mut twice = queue(&[
        entry(SECOND, "pending", ""),
        entry(FIRST, "pending", ""),
        entry(FIRST, "done", ", \"a\": 1"),
        entry(FIRST, "failed", ""),
        entry(SECOND, "processing", ""),
    ]);
    assert_eq!(twice.entry(id(FIRST)).unwrap().state(), Some(done), "the first of those that are as far");
    assert_eq!((twice.first_pending(), twice.waiting_and_running()), (None, (0, 1)));
    assert_eq!(twice.claim(&mark(), 5, |_| false), []);
    assert!(twice.claim_again(id(SECOND), &mark()), "it had no mark");
    assert_eq!(twice.entries()[4].worker(), Some(mark()));

    let once = queue(&[entry(FIRST, "done", ""), entry(SECOND, "processing", "")]);
    assert!(once.knows_all_of(&twice) && twice.knows_all_of(&once));

    assert!(twice.advance(id(SECOND), done, None), "the entry that counts moves on");
    assert_eq!(twice.entries()[4].state(), Some(done));
    let waits = twice.entries().iter().filter(|entry| entry.state() == Some(State::Pending)).count();
    assert_eq!(waits, 2, "the others stay as they are");
}

#[test]
fn an_entry_that_is_appended_counts_if_it_is_further() {
    let entry = |status: &str| with_entry(&format!("\"status\": \"{status}\""));
    for (first, second, counts) in [
        ("pending", "processing", State::Processing),
        ("processing", "pending", State::Processing),
        ("done", "failed", State::Done(Outcome::Succeeded)),
    ] {
        let mut queue = Queue::default();
        queue.push(entry(first));
        queue.push(entry(second));
        assert_eq!(queue.entry(id(FIRST)).unwrap().state(), Some(counts), "{first}, {second}");
        assert_eq!(Queue::parse(queue.render()).unwrap(), queue);
    }
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
    for fields in [
        "\"status\": \"failed\"",
        "\"status\": \"done\", \"outcome\": \"failed\"",
        "\"status\": \"Completed\", \"outcome\": \"ERROR\"",
        "\"status\": \"error\"",
        "\"status\": \"done\", \"error\": \"division by zero\"",
        "\"status\": \"done\", \"outcome\": null, \"error\": \"caf\\u00e9\"",
        "\"status\": \"done\", \"error\": [\"Traceback\", \"ValueError\"]",
        "\"status\": \"done\", \"error\": {\"code\": 3}",
        "\"status\": \"done\", \"error\": true",
        "\"status\": \"done\", \"error\": 3",
        "\"status\": \"done\", \"outcome\": false",
        "\"status\": \"done\", \"outcome\": 0",
        "\"status\": \"finished with errors\", \"outcome\": \"failed\"",
        "\"status\": \"bad\", \"error\": \"no input\"",
        "\"status\": 2, \"error\": [1]",
        "\"status\": \"失敗\"",
    ] {
        assert_eq!(with_entry(fields).state(), Some(State::Done(Outcome::Failed)), "{fields}");
    }
    for fields in [
        "\"status\": \"done\"",
        "\"status\": \"DONE\", \"error\": \" \"",
        "\"status\": \"done\", \"outcome\": \"success\", \"error\": \"a warning\"",
        "\"status\": \"finished\", \"outcome\": \"fine\"",
        "\"status\": \"done\", \"error\": 0",
        "\"status\": \"done\", \"error\": [ ]",
        "\"status\": \"done\", \"error\": false",
        "\"status\": \"done\", \"outcome\": true, \"error\": \"a warning\"",
        "\"status\": \"erledigt\", \"outcome\": \"ok\"",
        "\"status\": \"\\u5b8c\\u4e86\"",
    ] {
        assert_eq!(with_entry(fields).state(), Some(State::Done(Outcome::Succeeded)), "{fields}");
    }
    for fields in ["\"status\": \"erledigt\", \"error\": \"\"", "\"status\": \"x\", \"outcome\": \"y\""] {
        let entry = with_entry(fields);
        assert_eq!((entry.state(), entry.unknown_word().is_some()), (Some(State::Processing), true), "{fields}");
    }
    let ended = with_entry("\"status\": \"erledigt\", \"outcome\": \"ok\"");
    assert_eq!(ended.unknown_word(), None, "it is not read as processing");
    let pending = with_entry("\"status\": \"pending\", \"outcome\": null, \"error\": \"of an earlier run\"");
    assert_eq!(pending.state(), Some(State::Pending));
}

#[test]
fn whatever_the_app_gives_as_its_reason_is_said() {
    for (fields, reason) in [
        ("\"error\": \"why\", \"message\": \"step 3\"", Some("why")),
        ("\"error\": [\"Traceback\", \"\\u8a08\"]", Some("[\"Traceback\", \"計\"]")),
        ("\"error\": {\"code\":3}", Some("{\"code\": 3}")),
        ("\"error\": true", Some("true")),
        ("\"error\": \"0\"", Some("0")),
        ("\"error\": 0, \"message\": \"step 3\"", Some("step 3")),
        ("\"error\": \" \", \"reason\": \"r\", \"message\": \"m\"", Some("r")),
        ("\"message\": 7", Some("7")),
        ("\"error\": null, \"message\": \"\"", None),
    ] {
        let entry = with_entry(&format!("\"status\": \"failed\", {fields}"));
        assert_eq!(entry.reason().as_deref(), reason, "{fields}");
        assert!(entry.line().ends_with(&format!("{fields}}}")), "it is kept as it was written: {}", entry.line());
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
        ("\"50\"", Some(50)),
        ("\" 40.7 % \"", Some(40)),
        ("\"４０％\"", None),
        ("\"half\"", None),
        ("\"NaN\"", None),
        ("[40]", None),
    ] {
        assert_eq!(with_entry(&format!("\"progress\": {written}")).progress(), read, "{written}");
    }
    let long = "電".repeat(5_000);
    assert_eq!(with_entry(&format!("\"message\": \"{long}\"")).message().unwrap().chars().count(), 500);
    let error = with_entry(&format!("\"error\": \"{long}end\"")).error().unwrap();
    assert_eq!((error.chars().count(), error.ends_with("end")), (2_000, true), "of an error the end is kept");
}

#[test]
fn a_queue_says_whether_it_knows_all_that_another_says() {
    let entry = |id: &str, status: &str| format!("{{\"uuid\": \"{id}\", \"status\": \"{status}\"}}");
    let queue = |entries: &[String]| parse(&format!("{{\"jobs\": [{}]}}", entries.join(", ")));
    let file = queue(&[entry(FIRST, "processing")]);
    assert!(file.knows_all_of(&queue(&[entry(FIRST, "pending"), entry(SECOND, "pending"), "5".to_owned()])));
    assert!(!file.knows_all_of(&queue(&[entry(FIRST, "done")])));
    assert!(!file.knows_all_of(&queue(&[entry(SECOND, "processing")])), "its program has started");
}

fn mark() -> WorkerMark {
    WorkerMark { host: "app1".to_owned(), machine: None, boot: "b".to_owned(), pid: 7, start: 70, pid_namespace: None }
}

#[test]
fn a_claim_says_whose_it_is() {
    let mut queue = parse(&format!(
        "{{\"jobs\": [{{\"uuid\": \"{FIRST}\", \"status\": \"pending\", \"note\": 1}}, \
         {{\"uuid\": \"{SECOND}\", \"status\": \"pending\"}}]}}"
    ));
    assert_eq!(queue.claim(&mark(), 1, |_| false), [id(FIRST)]);
    assert_eq!(queue.waiting_and_running(), (1, 1));
    assert_eq!(
        queue.entry(id(FIRST)).unwrap().line(),
        format!(
            "{{\"uuid\": \"{FIRST}\", \"status\": \"processing\", \"note\": 1, \
             \"worker\": {{\"host\": \"app1\", \"boot\": \"b\", \"pid\": 7, \"start\": 70}}}}"
        )
    );

    let read_again = Queue::parse(queue.render()).unwrap();
    assert_eq!(read_again.marked().collect::<Vec<_>>(), [(id(FIRST), mark())]);
    assert_eq!(read_again.entry(id(SECOND)).unwrap().worker(), None);
}

#[test]
fn a_job_that_the_worker_has_had_is_not_claimed_anew_when_it_waits_again() {
    let waiting = format!("{{\"jobs\": [{{\"uuid\": \"{FIRST}\", \"status\": \"pending\"}}]}}");
    let mut queue = parse(&waiting);
    assert_eq!(queue.claim(&mark(), 1, |known| known == id(FIRST)), []);
    assert_eq!(queue, parse(&waiting));
    assert!(queue.claim_again(id(FIRST), &mark()));
    assert!(!queue.claim_again(id(FIRST), &mark()), "once is enough");

    let mut made_anew =
        Queue::parse(format!("{{\"jobs\": [{{\"uuid\": \"{FIRST}\", \"status\": \"processing\"}}]}}")).unwrap();
    assert!(made_anew.claim_again(id(FIRST), &mark()), "the entry was lost, and its mark with it");
    assert_eq!(made_anew.entry(id(FIRST)).unwrap().worker(), Some(mark()));
    assert_eq!(queue.marked().collect::<Vec<_>>(), [(id(FIRST), mark())]);
}

#[test]
fn somebodys_own_field_is_no_mark() {
    for theirs in ["\"app1\"", "{\"host\": \"app1\"}", "null"] {
        let entry = with_entry(&format!("\"status\": \"processing\", \"worker\": {theirs}"));
        assert_eq!(entry.worker(), None, "{theirs}");
    }
}

#[test]
fn a_queue_that_other_tools_have_written_anew_is_read() {
    for text in [
        format!("{{\"Jobs\": [{{\"Uuid\": \"{FIRST}\", \"Status\": \"Processing\", \"Gpu\": 1}}]}}"),
        format!("[{{\"uuid\": \"{FIRST}\", \"status\": \"processing\"}}]"),
    ] {
        let mut queue = Queue::parse(text.clone()).unwrap();
        assert_eq!(queue.entry(id(FIRST)).and_then(Entry::state), Some(State::Processing), "{text}");
        assert!(queue.advance(id(FIRST), State::Done(Outcome::Succeeded), None));
        let written = String::from_utf8(queue.render()).unwrap();
        let again = Queue::parse(written.clone()).unwrap();
        assert_eq!(again.entry(id(FIRST)).and_then(Entry::state), Some(State::Done(Outcome::Succeeded)), "{written}");
        assert_eq!(written.to_lowercase().matches("\"status\"").count(), 1, "{written}");
        assert_eq!(written.to_lowercase().matches("\"jobs\"").count(), 1, "{written}");
    }
}
