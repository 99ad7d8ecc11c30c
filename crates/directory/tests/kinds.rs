//! What real labs do to the directory: changes that no time shows, queues that pile up, folders and
//! files that are not what they seem.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bcrlapi_directory::{Digest, DirectoryError, JOURNAL_MAX_BYTES, Published, SharedDir, StatusWatch};
use bcrlapi_domain::{JobId, State};
use bcrlapi_exchange::{Queue, layout};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tempfile::TempDir;

const ID: &str = "018aef2c-7a00-7000-8000-000000000001";
const OTHER_ID: &str = "018aef2c-7a00-7000-8000-000000000002";
/// How long something that must come is waited for.
const LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);

struct Fixture {
    _root: TempDir,
    directory: SharedDir,
}

fn fixture() -> Fixture {
    let root = tempfile::tempdir().unwrap();
    let directory = SharedDir::open(root.path()).unwrap();
    Fixture { _root: root, directory }
}

fn id() -> JobId {
    ID.parse().unwrap()
}

/// A queue of two jobs.
fn queue(status: &str, other_status: &str) -> String {
    let entry = |id, status| format!("{{\"uuid\": \"{id}\", \"status\": \"{status}\"}}");
    format!("{{\"jobs\": [{}, {}]}}", entry(ID, status), entry(OTHER_ID, other_status))
}

fn parsed(text: &str) -> Queue {
    Queue::parse(text.as_bytes()).unwrap()
}

impl Fixture {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path(name)
    }

    fn write_status(&self, text: &str) {
        fs::write(self.path(layout::STATUS), text).unwrap();
    }

    /// Writes status.json in place and sets its time back, as rsync and git do.
    fn write_status_at_the_same_time(&self, text: &str) {
        let before = fs::metadata(self.path(layout::STATUS)).unwrap();
        assert_eq!(before.len(), text.len() as u64, "the size does not show the change either");
        self.write_status(text);
        let file = File::options().write(true).open(self.path(layout::STATUS)).unwrap();
        file.set_modified(before.modified().unwrap()).unwrap();
    }

    fn state(&self) -> Option<State> {
        self.directory.read_status().unwrap().queue.unwrap()?.entry(id())?.state()
    }

    fn publish(&self, read: Option<Digest>, queue: &Queue) -> Published {
        self.directory.publish_status(&self.directory.lock().unwrap(), read, queue).unwrap()
    }

    fn publish_next(&self, queue: &Queue) {
        let read = self.directory.read_status().unwrap().digest;
        assert!(matches!(self.publish(read, queue), Published::InPlace { trouble: None, .. }));
    }

    fn displaced_bytes(&self) -> u64 {
        self.directory.displaced().unwrap().iter().map(|(_, file)| file.size_bytes()).sum()
    }
}

#[test]
fn a_change_of_the_same_size_and_time_is_seen_before_it_is_written_over() {
    let fixture = fixture();
    fixture.write_status(&queue("processing", "pending"));
    let read = fixture.directory.read_status().unwrap().digest;
    fixture.write_status_at_the_same_time(&queue("pending", "processing"));
    assert!(matches!(fixture.publish(read, &parsed("{}")), Published::Overtaken));
    assert_eq!(fixture.state(), Some(State::Pending), "it is as the script has written it");
}

#[test]
fn a_change_of_the_same_size_and_time_is_seen_by_the_next_look() {
    let fixture = fixture();
    let mut watch = StatusWatch::default();
    let mut look = || fixture.directory.look_at_status(&mut watch).unwrap();
    assert!(look().unwrap().queue.unwrap().is_none(), "there is no file");
    assert!(look().is_none(), "there still is none");
    fixture.write_status(&queue("processing", "pending"));
    assert!(look().is_some());
    assert!(look().is_none());
    fixture.write_status_at_the_same_time(&queue("pending", "processing"));
    let seen = look().unwrap().queue.unwrap().unwrap();
    assert_eq!(seen.entry(id()).unwrap().state(), Some(State::Pending));

    let ours = parsed(&queue("processing", "processing"));
    let Published::InPlace { digest, .. } = fixture.publish(watch.digest(), &ours) else { panic!() };
    watch.has_published(digest);
    assert!(fixture.directory.look_at_status(&mut watch).unwrap().is_none(), "it is what was published");
    assert_eq!(watch.digest(), Some(digest));
}

#[test]
fn a_queue_that_was_repaired_within_the_same_tick_is_not_put_aside() {
    let fixture = fixture();
    let whole = queue("done", "done");
    fixture.write_status(&whole.replace('}', "{"));
    let broken = fixture.directory.read_status().unwrap().digest;
    let lock = fixture.directory.lock().unwrap();
    fixture.write_status_at_the_same_time(&whole.replace('}', "["));
    assert!(!fixture.directory.quarantine_status(&lock, broken, "request/aside").unwrap(), "somebody is writing it");
    fixture.write_status_at_the_same_time(&whole);
    assert!(!fixture.directory.quarantine_status(&lock, broken, "request/aside").unwrap());
    assert!(fixture.state().unwrap().is_done());
}

#[test]
fn a_queue_that_is_only_too_large_is_neither_put_aside_nor_written_over() {
    let fixture = fixture();
    File::create(fixture.path(layout::STATUS)).unwrap().set_len(Queue::MAX_BYTES + 1).unwrap();
    let seen = fixture.directory.read_status().unwrap();
    assert!(seen.queue.is_err() && seen.digest.is_some());
    let lock = fixture.directory.lock().unwrap();
    assert!(!fixture.directory.quarantine_status(&lock, seen.digest, "request/aside").unwrap());
    assert!(fixture.path(layout::STATUS).exists());
}

#[test]
fn a_queue_that_was_staged_and_never_got_its_place_says_nothing() {
    let fixture = fixture();
    fixture.write_status(&queue("pending", "pending"));
    // As a worker leaves it that is killed before the exchange: nobody runs what it would have
    // claimed.
    let claim = queue("processing", "pending");
    let staged = layout::displaced_by(7, &format!("{:?}", Digest::of(claim.as_bytes())));
    fs::write(fixture.path(&staged), &claim).unwrap();
    let seen = fixture.directory.read_displaced(7).unwrap();
    assert!(seen.queue.unwrap().is_none());

    // The same content where another one was staged has been public.
    fs::write(fixture.path(&layout::displaced_by(8, "0000000000000000")), &claim).unwrap();
    let seen = fixture.directory.read_displaced(8).unwrap().queue.unwrap().unwrap();
    assert_eq!(seen.entry(id()).unwrap().state(), Some(State::Processing));
}

#[test]
fn displaced_queues_that_say_nothing_new_do_not_fill_the_disk() {
    const LARGE_BYTES: usize = 6 * 1024 * 1024;
    const PUBLISHES: usize = 20;
    const LEFT_MAX_BYTES: u64 = 80 * 1024 * 1024;
    let fixture = fixture();
    let news = layout::displaced(1);
    fs::write(fixture.path(&news), queue("done", "pending")).unwrap();
    fs::write(fixture.path(&layout::displaced(2)), queue("pending", "pending")).unwrap();

    for number in 0..PUBLISHES {
        let mut text = queue("processing", "pending");
        text.truncate(text.len() - 1);
        let queue = parsed(&format!("{text}, \"number\": {number}, \"padding\": \"{}\"}}", "x".repeat(LARGE_BYTES)));
        fixture.publish_next(&queue);
    }
    let bytes = fixture.displaced_bytes();
    assert!(bytes < LEFT_MAX_BYTES, "{bytes} bytes are left");
    assert!(bytes > LARGE_BYTES as u64, "what was displaced a moment ago lingers");
    assert!(fixture.path(&news).exists(), "a queue with news is left for the agent");
    assert!(!fixture.path(&layout::displaced(2)).exists(), "another process's, which says nothing new");
}

#[test]
fn what_was_displaced_goes_after_ten_seconds_and_not_before() {
    let fixture = fixture();
    fixture.publish_next(&parsed(&queue("pending", "pending")));
    let begin = Instant::now();
    fixture.publish_next(&parsed(&queue("processing", "pending")));
    let (first, _) = fixture.directory.displaced().unwrap()[0];
    let is_there = || fixture.directory.displaced().unwrap().iter().any(|(number, _)| *number == first);
    for other_status in ["processing", "pending"].into_iter().cycle() {
        thread::sleep(PAUSE);
        fixture.publish_next(&parsed(&queue("processing", other_status)));
        if !is_there() {
            break;
        }
        assert!(begin.elapsed() < LIMIT, "it is still there");
    }
    assert!(begin.elapsed() >= Duration::from_secs(10), "a script may still have had it open");
}

#[test]
fn a_displaced_queue_that_is_only_too_large_is_kept() {
    let fixture = fixture();
    let large = fixture.path(&layout::displaced(1));
    File::create(&large).unwrap().set_len(Queue::MAX_BYTES + 1).unwrap();
    // More than all of them may have: it is looked at at once.
    fixture.publish_next(&parsed(&queue("pending", "pending")));
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(11) {
        thread::sleep(PAUSE);
        fixture.publish_next(&parsed(&queue("processing", "pending")));
        fixture.publish_next(&parsed(&queue("processing", "processing")));
    }
    assert!(large.exists(), "it may have news");
}

#[test]
fn a_folder_that_is_swapped_with_a_link_leads_nobody_elsewhere() {
    const ROUNDS: u32 = 3_000;
    let fixture = fixture();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::create_dir(elsewhere.path().join(".displaced")).unwrap();
    let (request, link) = (fixture.path(layout::REQUEST_DIR), fixture.path("link"));
    symlink(elsewhere.path(), &link).unwrap();

    let is_over = AtomicBool::new(false);
    let written = thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                renameat_with(CWD, &request, CWD, &link, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let mut written = 0;
        for _ in 0..ROUNDS {
            written += u32::from(fixture.directory.write_request(id(), b"{}").is_ok());
            if let Ok(lock) = fixture.directory.lock() {
                let _ = fixture.directory.publish_status(&lock, None, &Queue::default());
            }
        }
        is_over.store(true, Ordering::Relaxed);
        written
    });
    assert!(written > 0 && written < ROUNDS, "{written} of {ROUNDS} met the folder");
    let names: Vec<_> = fs::read_dir(elsewhere.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names, [".displaced"]);
    assert_eq!(fs::read_dir(elsewhere.path().join(".displaced")).unwrap().count(), 0);
}

#[test]
fn a_hard_link_is_no_response() {
    let fixture = fixture();
    let secret = fixture.path("secret");
    fs::write(&secret, "{}").unwrap();
    fs::hard_link(&secret, fixture.path(&layout::response(id()))).unwrap();
    assert!(matches!(fixture.directory.open_response(id()), Err(DirectoryError::HardLinked(_))));
    fs::hard_link(&secret, fixture.directory.running_path(id())).unwrap();
    assert!(matches!(fixture.directory.place_response(id()), Err(DirectoryError::HardLinked(_))));
    fs::remove_file(&secret).unwrap();
    fs::remove_file(fixture.directory.running_path(id())).unwrap();
    assert!(fixture.directory.open_response(id()).unwrap().is_some(), "it has one name now");
}

#[test]
fn the_response_that_was_read_is_made_durable_whatever_has_its_name_by_now() {
    let fixture = fixture();
    let response = fixture.path(&layout::response(id()));
    fs::write(&response, "{}").unwrap();
    let held = fixture.directory.open_response(id()).unwrap().unwrap();
    fs::remove_file(&response).unwrap();
    fs::create_dir(&response).unwrap();
    fixture.directory.sync_response(id(), &held).unwrap();
}

#[test]
fn a_response_appears_when_its_program_has_ended() {
    let fixture = fixture();
    let directory = &fixture.directory;
    let asked = BTreeSet::from([id(), OTHER_ID.parse().unwrap()]);
    assert!(directory.open_running_or_response(id()).unwrap().is_none());
    assert!(matches!(directory.place_response(id()), Err(DirectoryError::ResponseMissing(_))));

    fs::write(directory.running_path(id()), "{\"n\": 1}").unwrap();
    assert_eq!(directory.response_dates(&asked).unwrap().len(), 0, "it is nobody's business yet");
    let mut text = String::new();
    directory.open_running_or_response(id()).unwrap().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "{\"n\": 1}");
    directory.place_response(id()).unwrap();
    assert!(!directory.running_path(id()).exists());
    assert_eq!(fs::read_to_string(fixture.path(&layout::response(id()))).unwrap(), "{\"n\": 1}");

    let written = fs::metadata(fixture.path(&layout::response(id()))).unwrap().modified().unwrap();
    assert_eq!(directory.response_dates(&asked).unwrap(), BTreeMap::from([(id(), written)]));
    assert_eq!(directory.response_dates(&BTreeSet::new()).unwrap().len(), 0);

    fs::remove_dir(fixture.path(layout::RUNNING_DIR)).unwrap();
    assert!(directory.open_running_or_response(id()).unwrap().is_some(), "its program has written there by itself");
    directory.place_response(id()).unwrap();
}

#[test]
fn a_journal_keeps_its_lines_apart_whatever_a_crash_has_left() {
    let fixture = fixture();
    let directory = &fixture.directory;
    assert_eq!(directory.read_journal().unwrap(), b"");
    directory.append_journal(b"one\n").unwrap();
    directory.append_journal(b"two\n").unwrap();
    let mut journal = File::options().append(true).open(fixture.path(layout::JOURNAL)).unwrap();
    journal.write_all(b"hal").unwrap();
    directory.append_journal(b"three\n").unwrap();
    assert_eq!(directory.read_journal().unwrap(), b"one\ntwo\nhal\nthree\n");
    directory.replace_journal(b"one\n").unwrap();
    directory.append_journal(b"two\n").unwrap();
    assert_eq!(directory.read_journal().unwrap(), b"one\ntwo\n");

    let other = fixture.path("other");
    fs::hard_link(fixture.path(layout::JOURNAL), &other).unwrap();
    let error = directory.append_journal(b"x\n").unwrap_err();
    assert!(matches!(&error, DirectoryError::JournalHardLinked(_)) && error.to_string().contains("copy it"), "{error}");
    assert_eq!(fs::read(&other).unwrap(), b"one\ntwo\n", "a file of somebody else");
    directory.replace_journal(b"one\n").unwrap();
    directory.append_journal(b"two\n").unwrap();

    File::options().write(true).open(fixture.path(layout::JOURNAL)).unwrap().set_len(JOURNAL_MAX_BYTES).unwrap();
    assert!(matches!(directory.append_journal(b"x\n"), Err(DirectoryError::JournalTooLarge { .. })));
    directory.replace_journal(b"").unwrap();
    directory.append_journal(b"x\n").unwrap();
    assert_eq!(directory.read_journal().unwrap(), b"x\n");
}
