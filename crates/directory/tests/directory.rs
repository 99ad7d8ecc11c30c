//! What may be found in a directory that others write to, and what must not come of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use bcrlapi_directory::{Digest, DirectoryError, DirectoryTrial, Published, SharedDir};
use bcrlapi_domain::{JobId, State};
use bcrlapi_exchange::{Queue, layout};
use tempfile::TempDir;

const ID: &str = "018aef2c-7a00-7000-8000-000000000001";

struct Fixture {
    root: TempDir,
    directory: SharedDir,
}

fn fixture() -> Fixture {
    let root = tempfile::tempdir().unwrap();
    let directory = SharedDir::open(root.path()).unwrap();
    Fixture { root, directory }
}

fn queue(status: &str) -> String {
    format!("{{\"jobs\": [{{\"uuid\": \"{ID}\", \"status\": \"{status}\"}}]}}")
}

fn parsed(status: &str) -> Queue {
    Queue::parse(queue(status).as_bytes()).unwrap()
}

fn id() -> JobId {
    ID.parse().unwrap()
}

impl Fixture {
    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write_status(&self, status: &str) {
        fs::write(self.path(layout::STATUS), queue(status)).unwrap();
    }

    fn state(&self) -> Option<State> {
        self.directory.read_status().unwrap().queue.unwrap()?.entry(id())?.state()
    }

    fn digest(&self) -> Option<Digest> {
        self.directory.read_status().unwrap().digest
    }

    fn publish_over(&self, read: Option<Digest>, status: &str) -> Result<Published, DirectoryError> {
        self.directory.publish_status(&self.directory.lock().unwrap(), read, &parsed(status))
    }
}

fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn a_directory_that_is_not_there_is_not_made() {
    let root = tempfile::tempdir().unwrap();
    let error = SharedDir::open(&root.path().join("not mounted")).unwrap_err();
    assert!(error.to_string().contains("not mounted"), "{error}");
    assert!(!root.path().join("not mounted").exists());
}

#[test]
fn a_publish_replaces_what_was_read_and_nothing_else() {
    let fixture = fixture();
    assert!(matches!(fixture.publish_over(None, "pending"), Ok(Published::InPlace { trouble: None, .. })));
    let read = fixture.digest();
    fixture.write_status("processing");
    assert!(matches!(fixture.publish_over(read, "pending"), Ok(Published::Overtaken)));
    assert!(matches!(fixture.publish_over(None, "pending"), Ok(Published::Overtaken)));
    assert_eq!(fixture.state(), Some(State::Processing));
    assert_eq!(fixture.directory.displaced().unwrap(), [], "what was not published is gone");
}

#[test]
fn what_a_publish_displaces_lingers_and_shows_what_is_written_to_it() {
    let fixture = fixture();
    fixture.write_status("pending");
    let mut held = fs::OpenOptions::new().write(true).open(fixture.path(layout::STATUS)).unwrap();
    let read = fixture.digest();
    let published = fixture.publish_over(read, "processing").unwrap();
    let Published::InPlace { digest, exchanged: true, trouble: None } = published else { panic!("{published:?}") };
    assert_eq!(fixture.digest(), Some(digest));

    let (number, content) = fixture.directory.displaced().unwrap()[0];
    let displaced = fixture.directory.read_displaced(number).unwrap();
    assert_eq!(displaced.digest, read, "as it was read");
    assert!(displaced.queue.unwrap().is_none(), "which is no news");

    held.set_len(0).unwrap();
    held.write_all(queue("done").as_bytes()).unwrap();
    assert_ne!(fixture.directory.displaced().unwrap(), [(number, content)]);
    let news = fixture.directory.read_displaced(number).unwrap();
    assert!(news.queue.unwrap().unwrap().entry(id()).unwrap().state().unwrap().is_done());
    assert!(!fixture.directory.discard_displaced(number, read).unwrap(), "it is not what was read");
    assert!(fixture.directory.discard_displaced(number, news.digest).unwrap());
    assert!(fixture.directory.discard_displaced(number, news.digest).unwrap(), "it may be gone already");
    assert_eq!(fixture.directory.displaced().unwrap(), []);
}

#[test]
fn what_a_crash_of_the_first_version_left_is_kept() {
    let fixture = fixture();
    fs::write(fixture.path(layout::STATUS_STAGED), queue("done")).unwrap();
    let lock = fixture.directory.lock().unwrap();
    fixture.directory.make_folders().unwrap();
    assert_eq!(fixture.directory.displaced().unwrap(), [], "somebody is making it ready");
    drop(lock);
    fixture.directory.make_folders().unwrap();
    let (number, _) = fixture.directory.displaced().unwrap()[0];
    let kept = fixture.directory.read_displaced(number).unwrap().queue.unwrap().unwrap();
    assert!(kept.entry(id()).unwrap().state().unwrap().is_done());
}

#[test]
fn what_a_crash_left_of_a_request_is_replaced() {
    let fixture = fixture();
    fs::write(fixture.path(&layout::request_staged(id())), "half of").unwrap();
    fixture.directory.write_request(id(), b"{}").unwrap();
    assert_eq!(fs::read(fixture.path(&layout::request(id()))).unwrap(), b"{}");
    assert!(!fixture.path(&layout::request_staged(id())).exists());
}

#[test]
fn who_could_write_status_json_still_can() {
    let fixture = fixture();
    fixture.write_status("pending");
    fs::set_permissions(fixture.path(layout::STATUS), fs::Permissions::from_mode(0o664)).unwrap();
    fixture.publish_over(fixture.digest(), "processing").unwrap();
    let mode = fs::metadata(fixture.path(layout::STATUS)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o664);
}

#[test]
fn a_queue_that_somebody_has_repaired_is_not_put_aside() {
    let fixture = fixture();
    fs::write(fixture.path(layout::STATUS), "{\"jobs\": [").unwrap();
    let broken = fixture.digest();
    fixture.write_status("done");
    let lock = fixture.directory.lock().unwrap();
    assert!(!fixture.directory.quarantine_status(&lock, broken, "request/aside").unwrap());
    assert!(!fixture.directory.quarantine_status(&lock, fixture.digest(), "request/aside").unwrap(), "it is whole");
    assert!(fixture.state().unwrap().is_done());

    for name in ["aside", "aside.2"] {
        fs::write(fixture.path(layout::STATUS), "{\"jobs\": [").unwrap();
        assert!(fixture.directory.quarantine_status(&lock, broken, "request/aside").unwrap());
        assert_eq!(fixture.state(), None);
        assert!(fixture.path("request").join(name).exists(), "nothing that was put aside before is lost");
    }
}

#[test]
fn queues_that_were_put_aside_do_not_fill_the_disk() {
    const LARGE_BYTES: u64 = 15 * 1024 * 1024;
    /// Which of these copies are left after one more.
    fn left(copies: Range<u32>, size_bytes: u64) -> Vec<u32> {
        let fixture = fixture();
        let copy = |number: u32| layout::status_corrupt(&number.to_string());
        for number in copies.clone() {
            fs::File::create(fixture.path(&copy(number))).unwrap().set_len(size_bytes).unwrap();
        }
        fs::write(fixture.path(layout::STATUS), "{broken").unwrap();
        let lock = fixture.directory.lock().unwrap();
        assert!(fixture.directory.quarantine_status(&lock, fixture.digest(), &copy(copies.end)).unwrap());
        (copies.start..=copies.end).filter(|number| fixture.path(&copy(*number)).exists()).collect()
    }

    let first_and_latest: Vec<u32> = [10].into_iter().chain(16..=34).collect();
    assert_eq!(left(10..34, 1), first_and_latest);
    assert_eq!(left(10..16, LARGE_BYTES), [10, 13, 14, 15, 16]);
    assert_eq!(left(10..11, 5 * LARGE_BYTES), [10, 11], "the first and the latest, whatever they have");
}

#[test]
fn nothing_but_a_regular_file_is_read() {
    let fixture = fixture();
    let outside = fixture.path("outside.json");
    fs::write(&outside, queue("done")).unwrap();
    for place in [layout::STATUS.to_owned(), layout::STATUS_LOCK.to_owned(), layout::response(id())] {
        let path = fixture.path(&place);
        let make: [&dyn Fn(); 3] =
            [&|| symlink(&outside, &path).unwrap(), &|| fs::create_dir(&path).unwrap(), &|| make_fifo(&path)];
        for make in make {
            make();
            let refused = match place.as_str() {
                layout::STATUS => fixture.directory.read_status().map(drop),
                layout::STATUS_LOCK => fixture.directory.lock().map(drop),
                _ => fixture.directory.open_response(id()).map(drop),
            };
            assert!(matches!(refused, Err(DirectoryError::NotAFile(_))), "{place}: {refused:?}");
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        }
    }
    assert_eq!(fs::read_to_string(&outside).unwrap(), queue("done"));
}

#[test]
fn one_holds_the_lock_at_a_time_and_nobody_waits_for_ever() {
    let fixture = fixture();
    let held = fixture.directory.lock().unwrap();
    let other = fixture.directory.clone();
    assert!(matches!(thread::spawn(move || other.lock().map(drop)).join().unwrap(), Err(DirectoryError::Locked(_))));
    drop(held);
    fixture.directory.lock().unwrap();
}

#[test]
fn a_lock_that_was_removed_while_somebody_waited_for_it_keeps_nobody_out() {
    let fixture = fixture();
    let held = fixture.directory.lock().unwrap();
    let directory = fixture.directory.clone();
    let waiting = thread::spawn(move || directory.lock().unwrap());
    // The fate itself: it has opened the file by then, and waits.
    thread::sleep(std::time::Duration::from_millis(300));
    fs::remove_file(fixture.path(layout::STATUS_LOCK)).unwrap();
    drop(held);

    let _locked = waiting.join().unwrap();
    let there = fs::File::open(fixture.path(layout::STATUS_LOCK)).expect("it has locked the file that others see");
    assert!(matches!(there.try_lock(), Err(fs::TryLockError::WouldBlock)));
}

#[test]
fn an_update_waits_for_somebody_who_is_writing() {
    let fixture = fixture();
    fs::write(fixture.path(layout::STATUS), "{\"jobs\": [").unwrap();
    let (directory, (tried, has_tried)) = (fixture.directory.clone(), mpsc::channel());
    let update = thread::spawn(move || {
        tried.send(()).unwrap();
        directory.update_status(|queue| queue.advance(id(), State::Processing, None).then_some(()))
    });
    has_tried.recv().unwrap();
    fixture.write_status("pending");
    assert_eq!(update.join().unwrap().unwrap(), Some(()));
    assert_eq!(fixture.state(), Some(State::Processing));
}

#[test]
fn an_update_that_changes_nothing_writes_nothing() {
    let fixture = fixture();
    assert_eq!(fixture.directory.update_status(|_| Some(())).unwrap(), None, "there is no queue");
    fixture.write_status("done");
    let before = fixture.directory.status_fingerprint().unwrap();
    assert_eq!(fixture.directory.update_status(|queue| queue.first_pending()).unwrap(), None);
    assert_eq!(fixture.directory.status_fingerprint().unwrap(), before);
}

/// Everything below the directory.
fn names(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| if path.is_dir() { [vec![path.clone()], names(&path)].concat() } else { vec![path] };
    entries.flat_map(below).collect()
}

#[test]
fn a_trial_leaves_nothing_behind() {
    let root = tempfile::tempdir().unwrap();
    let trial = DirectoryTrial::of(root.path()).unwrap();
    let try_all = || {
        trial.write().unwrap();
        trial.lock().unwrap();
        assert!(trial.can_exchange().unwrap());
        assert_eq!(trial.unshared_folders().unwrap(), []);
        assert!(!trial.has_agent().unwrap());
    };
    try_all();
    assert_eq!(names(root.path()), Vec::<PathBuf>::new());
    assert_eq!(trial.missing_folders(), layout::FOLDERS);
    assert!(!trial.file_system().unwrap().name.is_empty());

    let directory = SharedDir::open(root.path()).unwrap();
    let before = names(root.path());
    try_all();
    assert_eq!((names(root.path()), trial.missing_folders()), (before, vec![]));
    let agent = directory.lock_for_agent().unwrap();
    assert!(trial.has_agent().unwrap());
    drop(agent);
    assert!(!trial.has_agent().unwrap());
}

#[test]
fn a_trial_names_what_is_in_the_way() {
    let fixture = fixture();
    let trial = DirectoryTrial::of(fixture.root.path()).unwrap();
    fs::remove_dir_all(fixture.path(layout::RESPONSE_DIR)).unwrap();
    fs::write(fixture.path(layout::RESPONSE_DIR), "").unwrap();
    let error = trial.write().unwrap_err().to_string();
    assert!(error.contains("/response is not a folder"), "{error}");
    assert!(DirectoryTrial::of(&fixture.path("not mounted")).is_err());
    assert!(DirectoryTrial::of(&fixture.path(layout::RESPONSE_DIR)).is_err(), "a file");
}

#[test]
fn folders_that_somebody_has_removed_come_back() {
    let fixture = fixture();
    fs::remove_dir_all(fixture.path(layout::REQUEST_DIR)).unwrap();
    assert!(fixture.directory.make_folders().unwrap(), "it says that it made them");
    assert!(!fixture.directory.make_folders().unwrap());
    fixture.directory.write_request(id(), b"{}").unwrap();
    assert_eq!(fixture.directory.requests_of([id()].into_iter()).unwrap(), [id()].into());
}

#[test]
fn a_prune_takes_what_is_old_and_the_protocols_own() {
    let fixture = fixture();
    let staged = layout::request_staged(id());
    let young = "request/01a20104-8b16-7583-b26c-53bc4b7c12a4.json";
    let (old_copy, new_copy) = ("request/status.json.corrupt-old", "request/status.json.corrupt-new");
    let kept = [young, new_copy, layout::STATUS, "request/notes.json", "response/x.json"];
    let running = format!("{}.part", layout::running(id()));
    for name in
        kept.iter().copied().chain([&*staged, &layout::request(id()), &layout::response(id()), &running, old_copy])
    {
        fs::write(fixture.path(name), "{}").unwrap();
    }
    let week_ago = std::time::SystemTime::now() - std::time::Duration::from_hours(7 * 24 + 1);
    fs::File::open(fixture.path(old_copy)).unwrap().set_modified(week_ago).unwrap();
    let now = id().expiry_date().max(std::time::SystemTime::now().into());
    assert_eq!(fixture.directory.prune(now).unwrap(), 5);
    assert!(kept.iter().all(|name| fixture.path(name).exists()));
}
