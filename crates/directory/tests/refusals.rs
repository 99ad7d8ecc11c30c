//! What the system refuses, and what must not come of it. Each test runs itself again, as a process
//! of its own for which the system refuses something.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::env;
use std::fs::{self, File, Permissions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use bcrlapi_directory::{DirectoryError, DirectoryTrial, Published, SharedDir};
use bcrlapi_domain::{JobId, State};
use bcrlapi_exchange::{Queue, layout};

const ID: &str = "018aef2c-7a00-7000-8000-000000000001";
/// Set in the process for which the system refuses something.
const REFUSED: &str = "BCRLAPI_TEST_REFUSED";

/// Without the capabilities by which root may do what it has no permission for; files are made
/// under umask 077.
const WITHOUT_PRIVILEGES: &str = r"
import ctypes, os, sys
PR_CAPBSET_DROP, CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH = 24, 0, 1, 2
for capability in CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH:
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability)
os.umask(0o077)
os.execv(sys.argv[2], sys.argv[2:])
";

/// The system refuses calls: each is given by its name, the error's number, and which argument must
/// be at least what.
const WITHOUT_CALLS: &str = r"
import ctypes, os, platform, struct, sys
CALLS = {'x86_64': {'fsync': 74, 'fchmod': 91, 'fchown': 93, 'renameat2': 316, 'statx': 332, 'openat2': 437},
         'aarch64': {'fsync': 82, 'fchmod': 52, 'fchown': 55, 'renameat2': 276, 'statx': 291, 'openat2': 437}}
LOAD, JUMP_IF_EQUAL, JUMP_IF_AT_LEAST, RETURN, ALLOW, REFUSE = 0x20, 0x15, 0x35, 0x06, 0x7fff0000, 0x00050000
program = []
for refusal in sys.argv[1].split():
    call, error, argument, least = refusal.split(':')
    number = CALLS[platform.machine()][call]
    program += [(LOAD, 0, 0, 0), (JUMP_IF_EQUAL, 0, 3, number), (LOAD, 0, 0, 16 + 8 * int(argument)),
                (JUMP_IF_AT_LEAST, 0, 1, int(least)), (RETURN, 0, 0, REFUSE | int(error))]
program.append((RETURN, 0, 0, ALLOW))
code = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *step) for step in program))
filter = ctypes.create_string_buffer(struct.pack('HxxxxxxP', len(program), ctypes.addressof(code)))
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
prctl = ctypes.CDLL(None).prctl
if prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter):
    sys.exit('cannot set a system call filter here')
os.execv(sys.argv[2], sys.argv[2:])
";

/// The errors' numbers are the same on all that this runs on.
const EPERM: i32 = 1;
const EIO: i32 = 5;
const EINVAL: i32 = 22;
const ENOSYS: i32 = 38;

/// Runs the test of this name as a process of its own that `python` starts; false in that process.
fn runs_apart(test: &str, python: &str, refusals: &str) -> bool {
    if env::var_os(REFUSED).is_some() {
        return false;
    }

    let mut apart = Command::new("python3");
    apart.args(["-c", python, refusals]).arg(env::current_exe().unwrap());
    apart.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(REFUSED, "1");
    let output = apart.output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    true
}

fn queue(status: &str) -> Queue {
    let text = format!("{{\"jobs\": [{{\"uuid\": \"{ID}\", \"status\": \"{status}\"}}]}}");
    Queue::parse(text.as_bytes()).unwrap()
}

fn id() -> JobId {
    ID.parse().unwrap()
}

fn state(directory: &SharedDir) -> Option<State> {
    directory.read_status().unwrap().queue.unwrap()?.entry(id())?.state()
}

fn publish(directory: &SharedDir, status: &str) -> Result<Published, DirectoryError> {
    let lock = directory.lock().unwrap();
    let read = directory.read_status().unwrap().digest;
    directory.publish_status(&lock, read, &queue(status))
}

/// The first publish of a directory that has a queue.
fn fixture() -> (tempfile::TempDir, SharedDir) {
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), Permissions::from_mode(0o2775)).unwrap();
    let directory = SharedDir::open(root.path()).unwrap();
    fs::write(directory.path(layout::STATUS), queue("pending").render()).unwrap();
    (root, directory)
}

fn mode(directory: &SharedDir, name: &str) -> u32 {
    fs::metadata(directory.path(name)).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_publish_that_cannot_be_staged_has_changed_nothing() {
    if runs_apart("a_publish_that_cannot_be_staged_has_changed_nothing", WITHOUT_PRIVILEGES, "") {
        return;
    }
    let (_root, directory) = fixture();
    fs::set_permissions(directory.path(layout::DISPLACED_DIR), Permissions::from_mode(0o555)).unwrap();
    let error = publish(&directory, "processing").unwrap_err().to_string();
    assert!(error.contains(layout::DISPLACED_DIR) && error.contains("Permission denied"), "{error}");
    assert_eq!(state(&directory), Some(State::Pending));

    // Who made the folder under another umask gives it the mode of the one that it is in.
    directory.make_folders().unwrap();
    assert_eq!(mode(&directory, layout::DISPLACED_DIR), 0o2775);
    assert!(matches!(publish(&directory, "processing"), Ok(Published::InPlace { exchanged: true, trouble: None, .. })));
}

#[test]
fn what_is_made_under_a_narrow_umask_is_for_all_who_may_work_in_the_folder() {
    if runs_apart("what_is_made_under_a_narrow_umask_is_for_all_who_may_work_in_the_folder", WITHOUT_PRIVILEGES, "") {
        return;
    }
    let (_root, directory) = fixture();
    publish(&directory, "processing").unwrap();
    directory.write_request(id(), b"{}").unwrap();
    directory.append_journal(b"{}\n").unwrap();
    let agent = directory.lock_for_agent().unwrap();
    drop(agent);
    fs::write(directory.running_path(id()), "{}").unwrap();
    assert_eq!(mode(&directory, &layout::running(id())), 0o600, "the program has this umask too");
    directory.place_response(id()).unwrap();

    for folder in layout::FOLDERS {
        assert_eq!(mode(&directory, folder), 0o2775, "{folder}");
    }
    let files = [layout::STATUS, layout::STATUS_LOCK, layout::AGENT_LOCK, layout::JOURNAL];
    for file in files.map(str::to_owned).into_iter().chain([layout::request(id()), layout::response(id())]) {
        assert_eq!(mode(&directory, &file), 0o664, "{file}");
    }
}

/// Opens files until every descriptor below this one is taken.
fn take_descriptors_below(limit: i32) -> Vec<OwnedFd> {
    let mut held: Vec<OwnedFd> = Vec::new();
    while held.last().is_none_or(|last| last.as_raw_fd() < limit - 1) {
        held.push(File::open("/dev/null").unwrap().into());
    }
    held
}

#[test]
fn what_fails_after_the_exchange_is_told_beside_the_success() {
    // The staged file gets the first free descriptor, that of the root; the folders have those
    // after it.
    const FIRST_FREE: i32 = 500;
    let refusals = format!("fsync:{EIO}:0:{}", FIRST_FREE + 1);
    if runs_apart("what_fails_after_the_exchange_is_told_beside_the_success", WITHOUT_CALLS, &refusals) {
        return;
    }
    let (_root, directory) = fixture();
    let lock = directory.lock().unwrap();
    let read = directory.read_status().unwrap().digest;
    let held = take_descriptors_below(FIRST_FREE);
    let published = directory.publish_status(&lock, read, &queue("processing"));
    drop(held);
    let Ok(Published::InPlace { trouble: Some(trouble), .. }) = published else { panic!("{published:?}") };
    assert!(trouble.to_string().contains("Input/output error"), "{trouble}");
    assert_eq!(state(&directory), Some(State::Processing));
    assert_eq!(directory.displaced().unwrap().len(), 1, "what was displaced lingers");

    drop(lock);
    // One more is that of the lock.
    let held = take_descriptors_below(FIRST_FREE - 1);
    let updated = directory.update_status(|queue| {
        let done = State::Done(bcrlapi_domain::Outcome::Succeeded);
        queue.advance(id(), done, None).then_some(())
    });
    drop(held);
    assert_eq!(updated.unwrap(), Some(()), "whoever has claimed a job has to know it");
}

#[test]
fn what_the_disk_refuses_before_the_exchange_is_an_error() {
    let refusals = format!("fsync:{EIO}:0:0");
    if runs_apart("what_the_disk_refuses_before_the_exchange_is_an_error", WITHOUT_CALLS, &refusals) {
        return;
    }
    let (_root, directory) = fixture();
    let error = publish(&directory, "processing").unwrap_err().to_string();
    assert!(error.contains("Input/output error"), "{error}");
    assert_eq!(state(&directory), Some(State::Pending));
    assert_eq!(directory.displaced().unwrap(), [], "what was begun is gone");

    directory.sync_status().expect_err("what a script has written is not on the disk either");
    fs::write(directory.path(&layout::response(id())), "{}").unwrap();
    let response = directory.open_response(id()).unwrap().unwrap();
    directory.sync_response(id(), &response).expect_err("nor is a response");
}

#[test]
fn a_trial_says_first_what_could_not_be_tried() {
    let refusals = format!("fsync:{EIO}:0:0");
    if runs_apart("a_trial_says_first_what_could_not_be_tried", WITHOUT_CALLS, &refusals) {
        return;
    }
    let (_root, directory) = fixture();
    // It cannot be removed.
    fs::create_dir(directory.path(&format!("{}/{}", layout::REQUEST_DIR, layout::TRIAL_OTHER))).unwrap();
    let error = DirectoryTrial::of(&directory.path("")).unwrap().can_exchange().unwrap_err().to_string();
    assert!(error.contains("Input/output error"), "{error}");
}

#[test]
fn what_a_file_system_does_not_know_is_not_insisted_on() {
    let refusals = format!("fsync:{EINVAL}:0:0 fchmod:{EPERM}:0:0 fchown:{EPERM}:0:0 statx:{ENOSYS}:0:0");
    if runs_apart("what_a_file_system_does_not_know_is_not_insisted_on", WITHOUT_CALLS, &refusals) {
        return;
    }
    let (_root, directory) = fixture();
    let status = File::open(directory.path(layout::STATUS)).unwrap();
    status.set_permissions(Permissions::from_mode(0o660)).expect_err("the mode cannot be changed");
    status.sync_all().expect_err("nothing can be synced");
    assert!(matches!(publish(&directory, "processing"), Ok(Published::InPlace { exchanged: true, trouble: None, .. })));
    directory.write_request(id(), b"{}").unwrap();
    directory.sync_requests().unwrap();
    directory.write_response(id(), &b"{}"[..]).unwrap();
    assert_eq!(directory.displaced().unwrap().len(), 1);
    DirectoryTrial::of(&directory.path("")).unwrap().write().unwrap();
}

#[test]
fn where_files_cannot_be_exchanged_the_queue_is_renamed() {
    // No flags at all: as on NFS.
    let refusals = format!("renameat2:{EINVAL}:4:1");
    if runs_apart("where_files_cannot_be_exchanged_the_queue_is_renamed", WITHOUT_CALLS, &refusals) {
        return;
    }
    let (_root, directory) = fixture();
    assert!(!DirectoryTrial::of(&directory.path("")).unwrap().can_exchange().unwrap());
    let published = publish(&directory, "processing");
    assert!(matches!(published, Ok(Published::InPlace { exchanged: false, trouble: None, .. })), "{published:?}");
    assert_eq!(state(&directory), Some(State::Processing));
    assert_eq!(directory.displaced().unwrap(), []);

    fs::remove_file(directory.path(layout::STATUS)).unwrap();
    assert!(matches!(publish(&directory, "pending"), Ok(Published::InPlace { trouble: None, .. })));
    assert_eq!(state(&directory), Some(State::Pending));
}

#[test]
fn without_openat2_no_link_is_followed_either() {
    let refusals = format!("openat2:{ENOSYS}:0:0");
    if runs_apart("without_openat2_no_link_is_followed_either", WITHOUT_CALLS, &refusals) {
        return;
    }
    let (root, directory) = fixture();
    assert!(matches!(publish(&directory, "processing"), Ok(Published::InPlace { trouble: None, .. })));

    let elsewhere = tempfile::tempdir().unwrap();
    fs::create_dir(elsewhere.path().join(".displaced")).unwrap();
    fs::rename(directory.path(layout::REQUEST_DIR), root.path().join("old")).unwrap();
    symlink(elsewhere.path(), directory.path(layout::REQUEST_DIR)).unwrap();
    assert!(matches!(directory.write_request(id(), b"{}"), Err(DirectoryError::NotAFolder(_))));
    assert!(matches!(directory.displaced(), Err(DirectoryError::NotAFolder(_))));
    assert!(matches!(directory.make_folders(), Err(DirectoryError::NotAFolder(_))));
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
}
