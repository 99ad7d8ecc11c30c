//! A directory that is against the agent: it says what is wrong, keeps trying, and loses nothing.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bcrlapi_domain::{JobId, Payload, Status};
use bcrlapi_exchange::layout;
use bcrlapi_local::{until, until_within};
use bcrlapi_tests::{DYNAMODB_URL, Fate, Faults, Process, System, announce};
use chrono::{TimeDelta, Utc};
use rustix::process::{Resource, Rlimit, prlimit};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use crate::lab::{assert_each_ran_once, submit_many};

/// Without the capabilities by which root may read and write what it has no permission for. Others have none anyway.
const WITHOUT_PRIVILEGES: &str = r"
import ctypes, os, sys
PR_CAPBSET_DROP, DAC_OVERRIDE, DAC_READ_SEARCH = 24, 1, 2
for capability in DAC_OVERRIDE, DAC_READ_SEARCH:
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability)
os.execv(sys.argv[1], sys.argv[1:])
";

/// No file may be written beyond 64 KiB: the same errors, at the same places, as on a disk that is full.
const ON_A_FULL_DISK: &str = r"
import os, resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
os.execv(sys.argv[1], sys.argv[1:])
";

/// The system refuses renameat2 with flags, as it does on NFS.
const WITHOUT_EXCHANGE: &str = r"
import ctypes, os, platform, struct, sys
RENAMEAT2 = {'x86_64': 316, 'aarch64': 276}[platform.machine()]
LOAD, JUMP_IF_EQUAL, RETURN, ALLOW, REFUSE_EINVAL = 0x20, 0x15, 0x06, 0x7fff0000, 0x00050000 | 22
NUMBER, FLAGS = 0, 16 + 8 * 4
program = [(LOAD, 0, 0, NUMBER), (JUMP_IF_EQUAL, 0, 3, RENAMEAT2), (LOAD, 0, 0, FLAGS), (JUMP_IF_EQUAL, 1, 0, 0),
           (RETURN, 0, 0, REFUSE_EINVAL), (RETURN, 0, 0, ALLOW)]
code = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *step) for step in program))
filter = ctypes.create_string_buffer(struct.pack('HxxxxxxP', len(program), ctypes.addressof(code)))
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
prctl = ctypes.CDLL(None).prctl
if prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter):
    sys.exit('cannot set a system call filter here')
os.execv(sys.argv[1], sys.argv[1:])
";

async fn logged(agent: &Process, words: &str) {
    until(&format!("the log to say {words:?}"), async || agent.log().contains(words).then_some(())).await.unwrap();
}

fn response(system: &System, id: JobId) -> std::path::PathBuf {
    system.shared(&layout::response(id))
}

/// Sets all pending entries to done, in place.
fn set_to_done(system: &System) {
    let status = fs::read_to_string(system.shared(layout::STATUS)).unwrap();
    fs::write(system.shared(layout::STATUS), status.replace("\"pending\"", "\"done\"")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_file_is_no_response_and_holds_up_nobody() {
    let system = System::start().await;
    let _agent = system.start_agent();
    let jobs = submit_many(&system, 5, 0.0).await;
    system.entry(jobs[4].uuid).await;
    fs::write(system.path("secret"), "\"of the lab\"").unwrap();
    symlink(system.path("secret"), response(&system, jobs[0].uuid)).unwrap();
    assert!(Command::new("mkfifo").arg(response(&system, jobs[1].uuid)).status().unwrap().success());
    fs::create_dir(response(&system, jobs[2].uuid)).unwrap();
    fs::write(response(&system, jobs[4].uuid), "{}").unwrap();
    // Two gigabytes of nothing, which take no room.
    File::create(response(&system, jobs[3].uuid)).unwrap().set_len(2 << 30).unwrap();
    set_to_done(&system);
    assert!(system.reached(jobs[4].uuid, Status::Done).await.has_succeeded());
    for (job, reason) in jobs.iter().zip(["regular file", "regular file", "regular file", "JSON"]) {
        let error = system.reached(job.uuid, Status::Done).await.error.unwrap();
        assert!(error.contains(reason), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_over_the_limit_fails_the_job_and_says_so() {
    const LIMIT_BYTES: u64 = 5 << 30;
    let system = System::start().await;
    let _agent = system.start_agent();
    let job = system.submit("mock", &json!({})).await;
    system.entry(job.uuid).await;
    // It takes no room, and nobody has to read it to know.
    File::create(response(&system, job.uuid)).unwrap().set_len(LIMIT_BYTES + 1).unwrap();
    set_to_done(&system);
    let end = system.reached(job.uuid, Status::Done).await;
    let error = "the response file has 5368709121 bytes; at most 5368709120 are taken";
    assert_eq!((end.outcome.as_deref(), end.error.as_deref()), (Some("failed"), Some(error)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_in_the_place_of_a_folder_is_not_followed() {
    let system = System::start().await;
    let agent = system.start_agent();
    let first = system.submit("mock", &json!({})).await;
    system.entry(first.uuid).await;
    let (folder, elsewhere) = (system.shared(layout::REQUEST_DIR), system.path("elsewhere"));
    fs::create_dir(&elsewhere).unwrap();
    fs::rename(&folder, system.path("old")).unwrap();
    symlink(&elsewhere, &folder).unwrap();
    logged(&agent, "is not a folder").await;
    let second = system.submit("mock", &json!({})).await;
    fs::remove_file(&folder).unwrap();
    for job in [first, second] {
        system.entry(job.uuid).await;
    }
    assert_eq!(fs::read_dir(elsewhere).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_nobody_knows_do_not_hold_up_new_ones() {
    const UNKNOWN: u16 = 50_000;
    /// A hundred go in one call. A round asks for 2,000 at the most, and the three plans that the
    /// new job needs for 500 each: 35 calls; the rest are polls.
    const ALL_ASKED: u64 = UNKNOWN as u64 / 100;
    const ASKED_MAX: u64 = ALL_ASKED / 2;
    announce("a new job beside 50,000 jobs that nobody knows, about a minute");
    let system = System::start().await;
    fs::create_dir_all(system.shared(layout::REQUEST_DIR)).unwrap();
    fs::write(system.shared(layout::STATUS), "{}").unwrap();
    let now = Utc::now();
    for number in 0..UNKNOWN {
        let unknown = JobId::earliest(now - TimeDelta::milliseconds(number.into()));
        File::create(system.shared(&layout::request(unknown))).unwrap();
    }
    let dynamodb = Faults::start(&system.environment(DYNAMODB_URL)).await;
    dynamodb.always(Fate::Delay(Duration::from_millis(10)));
    let _agent = system.start_agent_with(&[(DYNAMODB_URL, dynamodb.url())]);
    until("some to be asked for", async || (dynamodb.requests() > 20).then_some(())).await.unwrap();
    let job = system.submit("mock", &json!({})).await;
    system.entry(job.uuid).await;
    let asked = dynamodb.requests();
    assert!(asked < ASKED_MAX, "the new job waited for {asked} requests");
    until("all of them to be asked for", async || (dynamodb.requests() > ALL_ASKED).then_some(())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_thousand_stray_files_are_left_alone() {
    const STRAY: usize = 50_000;
    let system = System::start().await;
    let folders = [layout::REQUEST_DIR, layout::RESPONSE_DIR];
    for folder in folders {
        fs::create_dir_all(system.shared(folder)).unwrap();
        for number in 0..STRAY / folders.len() {
            let name = if number % 2 == 0 { format!("{number}.json") } else { format!("..{number}\u{96fb} \n.json") };
            File::create(system.shared(folder).join(name)).unwrap();
        }
    }
    let (_agent, _worker) = (system.start_agent(), system.start_worker());
    let jobs = submit_many(&system, 3, 0.0).await;
    assert_each_ran_once(&system, &jobs).await;
    let is_ours = |name: &str| name.contains("status") || layout::JOURNAL.ends_with(name);
    let is_stray = |name: &str| layout::job_named(name).is_none() && !is_ours(name);
    let stray = folders.iter().flat_map(|folder| fs::read_dir(system.shared(folder)).unwrap());
    let stray = stray.filter(|file| file.as_ref().unwrap().file_name().to_str().is_some_and(is_stray));
    assert_eq!(stray.filter(|file| file.as_ref().unwrap().path().is_file()).count(), STRAY);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_the_agent_keeps_trying() {
    let system = System::start().await;
    let agent = system.start_agent_from(ON_A_FULL_DISK);
    let large = system.submit("mock", &json!({"payload": "x".repeat(100_000)})).await;
    logged(&agent, "File too large").await;
    let small = system.submit("mock", &json!({})).await;
    system.entry(small.uuid).await;
    assert!(!system.shared(&layout::request_staged(large.uuid)).exists(), "nothing unfinished fills the disk further");
    assert!(system.queue().unwrap().entry(large.uuid).is_none(), "an entry waits for its request file");
    let unlimited = Rlimit { current: None, maximum: None };
    prlimit(Some(agent.pid()), Resource::Fsize, unlimited).unwrap();
    let _worker = system.start_worker();
    for job in [large, small] {
        assert!(system.reached(job.uuid, Status::Done).await.has_succeeded());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_that_are_taken_away_and_given_back_lose_nothing() {
    let chmod = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let system = System::start().await;
    let agent = system.start_agent_from(WITHOUT_PRIVILEGES);
    let first = system.submit("mock", &json!({})).await;
    system.entry(first.uuid).await;

    let requests = system.shared(layout::REQUEST_DIR);
    chmod(&requests, 0o555);
    let second = system.submit("mock", &json!({})).await;
    logged(&agent, "Permission denied").await;
    chmod(&requests, 0o755);
    system.entry(second.uuid).await;

    fs::write(response(&system, first.uuid), "{}").unwrap();
    chmod(&response(&system, first.uuid), 0);
    fs::write(response(&system, second.uuid), "{}").unwrap();
    set_to_done(&system);
    assert!(system.reached(second.uuid, Status::Done).await.has_succeeded());
    logged(&agent, &format!("response/{}.json: Permission denied", first.uuid)).await;
    assert_eq!(system.client().job(first.uuid).await.unwrap().outcome, None, "it is not the program's fault");
    chmod(&response(&system, first.uuid), 0o644);
    assert!(system.reached(first.uuid, Status::Done).await.has_succeeded());

    chmod(&system.shared(""), 0);
    let third = system.submit("mock", &json!({})).await;
    logged(&agent, "cannot look").await;
    chmod(&system.shared(""), 0o755);
    system.entry(third.uuid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_nobody_makes_readable_ends_its_job_at_last() {
    let system = System::start().await;
    let limit = "import os; os.environ['BCRLAPI_LOST_AFTER'] = '12s'";
    let _agent = system.start_agent_from(&format!("{limit}\n{WITHOUT_PRIVILEGES}"));
    let id = system.submit("mock", &json!({})).await.uuid;
    system.entry(id).await;
    fs::write(response(&system, id), "{}").unwrap();
    fs::set_permissions(response(&system, id), Permissions::from_mode(0o0)).unwrap();
    set_to_done(&system);

    let job = system.reached(id, Status::Done).await;
    let error = job.error.unwrap();
    assert!(error.contains("cannot read the response: Permission denied") && !error.contains("/response/"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_displaced_queue_that_cannot_be_read_is_not_tried_all_the_time() {
    const LOOKS: u32 = 60;
    let system = System::start().await;
    let agent = system.start_agent_from(WITHOUT_PRIVILEGES);
    let job = system.submit("mock", &json!({})).await;
    system.entry(job.uuid).await;
    let displaced = system.shared(&layout::displaced(1));
    let queue = fs::read_to_string(system.shared(layout::STATUS)).unwrap();
    fs::write(&displaced, queue.replace("pending", "processing")).unwrap();
    fs::set_permissions(&displaced, Permissions::from_mode(0o0)).unwrap();

    for number in 0..LOOKS {
        fs::write(system.shared("request/notes.json"), number.to_string()).unwrap();
        // The pace of the changes, and not a wait for anything.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let tries = agent.log().matches("displaced/1.json: Permission denied").count();
    assert!((1..=5).contains(&tries), "{tries} tries");
    fs::set_permissions(&displaced, Permissions::from_mode(0o644)).unwrap();
    assert!(system.reached(job.uuid, Status::Processing).await.outcome.is_none(), "its news is read at last");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_replaced_under_the_agent_gets_all_that_is_open() {
    let system = System::start().await;
    let _agent = system.start_agent();
    let job = system.submit("mock", &json!({})).await;
    system.entry(job.uuid).await;
    fs::rename(system.shared(""), system.path("old")).unwrap();
    fs::create_dir(system.shared("")).unwrap();
    system.entry(job.uuid).await;
    let lock = system.shared(layout::AGENT_LOCK);
    until("the agent to lock it", async || lock.exists().then_some(())).await.unwrap();
    let second = system.start_agent();
    logged(&second, "another agent serves").await;
    let _worker = system.start_worker();
    assert!(system.reached(job.uuid, Status::Done).await.has_succeeded());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_directory_becomes_anothers_goes() {
    let system = System::start().await;
    let agent = system.start_agent();
    until("the queue", async || system.queue()).await.unwrap();
    fs::create_dir(system.path("anothers")).unwrap();
    let held = File::create(system.path("anothers").join(layout::AGENT_LOCK)).unwrap();
    held.lock().unwrap();
    fs::rename(system.shared(""), system.path("old")).unwrap();
    fs::rename(system.path("anothers"), system.shared("")).unwrap();
    logged(&agent, "another agent serves").await;
    assert_eq!(agent.wait().code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_files_cannot_be_exchanged_those_who_lock_lose_nothing() {
    const JOBS: usize = 10;
    let system = System::start().await;
    let agent = system.start_agent_from(WITHOUT_EXCHANGE);
    let (_one, _two) = (system.start_worker(), system.start_worker());
    let jobs = submit_many(&system, JOBS / 2, 0.05).await;
    logged(&agent, "cannot exchange files").await;
    agent.kill();
    let _agent = system.start_agent_from(WITHOUT_EXCHANGE);
    let more = submit_many(&system, JOBS / 2, 0.05).await;
    for half in [jobs, more] {
        for job in half {
            assert!(system.reached(job.uuid, Status::Done).await.has_succeeded());
        }
    }
    assert_eq!(system.runs().len(), JOBS, "every program ran once");
}

/// Writes a response of about this size, has it uploaded, and reads it back; gives the agent's peak of memory in KiB.
async fn return_large_response(size_bytes: usize) -> u64 {
    const CHUNK: &[u8] = &[b'x'; 1 << 20];
    let system = System::start().await;
    let agent = system.start_agent();
    let job = system.submit("mock", &json!({})).await;
    system.entry(job.uuid).await;
    let mut file = File::create(response(&system, job.uuid)).unwrap();
    file.write_all(b"{\"padding\": \"").unwrap();
    for _ in 0..size_bytes / CHUNK.len() {
        file.write_all(CHUNK).unwrap();
    }
    file.write_all(b"\"}").unwrap();
    let size_bytes = file.metadata().unwrap().len();
    set_to_done(&system);
    let row = async || system.stack().store().job(job.uuid).await.unwrap().filter(|row| row.state.is_done());
    let row = until_within(Duration::from_mins(10), "the upload", row).await.unwrap();
    let payload = row.response.expect("it is good JSON");
    let body = system.stack().store().open_response(job.uuid, &payload).await.unwrap().unwrap();
    let (mut body, mut file) = (Box::pin(body), tokio::fs::File::open(response(&system, job.uuid)).await.unwrap());
    let (mut there, mut here, mut sha256) = (vec![0; CHUNK.len()], vec![0; CHUNK.len()], Sha256::new());
    loop {
        let length = file.read(&mut here).await.unwrap();
        body.read_exact(&mut there[..length]).await.unwrap();
        assert!(there[..length] == here[..length], "the object is the file, byte for byte");
        sha256.update(&here[..length]);
        if length == 0 {
            break;
        }
    }
    assert_eq!(body.read(&mut there).await.unwrap(), 0, "and no longer");
    let sha256 = BASE64_STANDARD.encode(sha256.finalize());
    assert_eq!(payload, Payload { size_bytes, sha256 });
    agent.peak_memory_kib()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_of_several_parts_arrives_whole() {
    return_large_response(40 << 20).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes gigabytes: cargo test -p bcrlapi-tests gigabyte -- --ignored"]
async fn a_response_of_a_gigabyte_takes_little_memory() {
    const LIMIT_KIB: u64 = 100 * 1024;
    announce("a response of 1 GB through a lab, about 3 minutes");
    let peak_kib = return_large_response(1 << 30).await;
    eprintln!("the agent's peak: {} MiB", peak_kib / 1024);
    assert!(peak_kib < LIMIT_KIB, "{peak_kib} KiB");
}
