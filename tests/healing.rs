//! What the lab loses, the agent brings back: queues that are broken, removed or written over, folders, everything.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bcrlapi_api::JobResource;
use bcrlapi_domain::{JobId, State, Status};
use bcrlapi_exchange::{Entry, Queue, layout};
use bcrlapi_local::until;
use bcrlapi_tests::System;
use serde_json::json;

use crate::lab::{assert_all_ran_once, submit_many};

#[tokio::test(flavor = "multi_thread")]
async fn something_in_the_place_of_the_journal_stops_no_lab() {
    let system = System::start().await;
    fs::create_dir_all(system.shared(layout::REQUEST_DIR)).unwrap();
    fs::create_dir(system.shared(layout::JOURNAL)).unwrap();
    let agent = system.start_agent();
    let jobs = submit_many(&system, 1, 0.0).await;
    until("the entry", async || system.queue()?.entry(jobs[0].uuid).map(drop)).await.unwrap();
    assert!(agent.log().contains("going on without what was seen before"), "{}", agent.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_or_lost_queue_is_rebuilt() {
    let system = System::start().await;
    let agent = system.start_agent();
    let jobs = submit_many(&system, 2, 0.0).await;
    let whole = async || system.queue().filter(|queue| queue.entries().len() == jobs.len());
    until("both entries", whole).await.unwrap();
    fs::remove_file(system.shared(layout::STATUS)).unwrap();
    until("both entries again", whole).await.unwrap();

    fs::write(system.shared(layout::STATUS), "{\"jobs\": [ oh no").unwrap();
    until("both entries once more", whole).await.unwrap();
    let names = fs::read_dir(system.shared(layout::REQUEST_DIR)).unwrap();
    let names: BTreeSet<String> = names.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let kept = names.iter().find(|name| name.starts_with("status.json.corrupt-")).expect("the broken file is kept");
    assert_eq!(fs::read_to_string(system.shared(layout::REQUEST_DIR).join(kept)).unwrap(), "{\"jobs\": [ oh no");

    // More than anybody reads, and it takes no room: it may be a good queue, and is left for
    // people.
    let size_bytes = fs::metadata(system.shared(layout::STATUS)).unwrap().len();
    let status = fs::OpenOptions::new().write(true).open(system.shared(layout::STATUS)).unwrap();
    status.set_len(Queue::MAX_BYTES + 1).unwrap();
    until("the log to say so", async || agent.log().contains("are read").then_some(())).await.unwrap();
    status.set_len(size_bytes).unwrap();
    until("both entries after all", whole).await.unwrap();
    let aside = fs::read_dir(system.shared(layout::REQUEST_DIR))
        .unwrap()
        .filter(|file| file.as_ref().unwrap().file_name().to_str().is_some_and(layout::is_corrupt_status));
    assert_eq!(aside.count(), 1);

    let _worker = system.start_worker();
    assert_all_ran_once(&system, &jobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_a_week_is_removed_and_nothing_else() {
    let system = System::start().await;
    let old: JobId = "018aef2c-7a00-7000-8000-000000000001".parse().unwrap();
    let fresh = system.submit("mock", &json!({})).await;
    let keep = [layout::request(fresh.uuid), "request/notes.txt".to_owned(), "response/my own.json".to_owned()];
    fs::create_dir_all(system.shared(layout::REQUEST_DIR)).unwrap();
    fs::create_dir_all(system.shared(layout::RESPONSE_DIR)).unwrap();
    for name in keep[1..].iter().chain(&[layout::request(old), layout::response(old)]) {
        fs::write(system.shared(name), "{}").unwrap();
    }
    let entry = format!("{{\"jobs\": [{{\"uuid\": \"{old}\", \"status\": \"processing\"}}]}}");
    fs::write(system.shared(layout::STATUS), entry).unwrap();
    let _agent = system.start_agent();
    let is_pruned = async || (!system.shared(&layout::response(old)).exists()).then_some(());
    until("the old files to be removed", is_pruned).await.unwrap();
    assert!(!system.shared(&layout::request(old)).exists());
    assert!(system.queue().unwrap().entry(old).is_none(), "the entry went first");
    until("the fresh entry", async || system.queue()?.entry(fresh.uuid).cloned()).await.unwrap();
    for name in keep {
        assert!(system.shared(&name).exists(), "{name}");
    }
}

/// A script opens status.json, the agent publishes a newer one, and only then the script writes what it has to say into
/// the file that it holds, for this job.
async fn write_into_the_displaced_queue(system: &System, job: &JobResource, before_write: impl AsyncFnOnce()) {
    system.entry(job.uuid).await;
    let path = system.shared(layout::STATUS);
    let old = fs::read_to_string(&path).unwrap();
    let mut held = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let newer = system.submit("mock", &json!({})).await;
    until("the newer entry", async || system.queue()?.entry(newer.uuid).cloned()).await.unwrap();
    before_write().await;
    held.set_len(0).unwrap();
    held.write_all(old.replace("pending", "processing").as_bytes()).unwrap();
    drop(held);
}

async fn assert_nothing_was_lost(system: &System, job: &JobResource) {
    let entries = async || {
        let queue = system.queue().filter(|queue| queue.entries().len() == 2)?;
        (queue.entry(job.uuid)?.state() == Some(State::Processing)).then_some(queue)
    };
    let queue = until("what the script wrote to be in the queue", entries).await.unwrap();
    assert_eq!(queue.entries()[1].state(), Some(State::Pending), "the newer entry is still there");
    system.reached(job.uuid, Status::Processing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_into_a_displaced_queue_is_not_lost() {
    let system = System::start().await;
    let _agent = system.start_agent();
    let job = system.submit("mock", &json!({})).await;
    write_into_the_displaced_queue(&system, &job, async || ()).await;
    assert_nothing_was_lost(&system, &job).await;
    let is_clean = async || fs::read_dir(system.shared(layout::DISPLACED_DIR)).ok()?.next().is_none().then_some(());
    until("the displaced queues to be removed", is_clean).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_into_a_displaced_queue_is_not_lost_even_when_the_agent_is_killed() {
    let system = System::start().await;
    let agent = system.start_agent();
    let job = system.submit("mock", &json!({})).await;
    write_into_the_displaced_queue(&system, &job, async || agent.kill()).await;
    let _agent = system.start_agent();
    assert_nothing_was_lost(&system, &job).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_queue_and_a_killed_agent_do_not_make_programs_run_again() {
    let system = System::start().await;
    let agent = system.start_agent();
    let mut jobs = submit_many(&system, 3, 0.0).await;
    until("the entries", async || system.queue().filter(|queue| queue.entries().len() == 3)).await.unwrap();
    // One more publish: a queue in which the first three are pending lingers among the displaced.
    jobs.push(system.submit("mock", &json!({"payload": 3})).await);
    until("the last entry", async || system.queue()?.entry(jobs[3].uuid).cloned()).await.unwrap();
    let _worker = system.start_worker();
    assert_all_ran_once(&system, &jobs).await;
    agent.kill();
    fs::remove_file(system.shared(layout::STATUS)).unwrap();
    let _agent = system.start_agent();
    let next = system.submit("mock", &json!({"payload": 4})).await;
    assert!(system.reached(next.uuid, Status::Done).await.has_succeeded());
    assert_eq!(system.runs().len(), 5, "no program ran again");
    for job in &jobs {
        system.result(job.uuid).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_displaced_queues_go_too() {
    const MANY: usize = 1_100;
    let system = System::start().await;
    fs::create_dir_all(system.shared(layout::DISPLACED_DIR)).unwrap();
    for number in 0..MANY {
        let name = system.shared(&layout::displaced(1_000_000 + number as u64));
        fs::write(name, "{\"jobs\": []}").unwrap();
    }
    let _agent = system.start_agent();
    let left = || fs::read_dir(system.shared(layout::DISPLACED_DIR)).map_or(MANY, Iterator::count);
    until("all of them to be removed", async || (left() == 0).then_some(())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_that_were_removed_are_made_and_watched_again() {
    let system = System::start().await;
    let _agent = system.start_agent();
    let job = system.submit("mock", &json!({})).await;
    system.entry(job.uuid).await;
    // In one step: the agent writes to what is there while it is being emptied.
    for folder in [layout::REQUEST_DIR, layout::RESPONSE_DIR] {
        fs::rename(system.shared(folder), system.path(folder)).unwrap();
    }
    system.entry(job.uuid).await;
    let _worker = system.start_worker();
    assert!(system.reached(job.uuid, Status::Done).await.has_succeeded());
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resync_brings_back_what_the_lab_has_lost() {
    let system = System::start().await;
    let agent = system.start_agent();
    let worker = system.start_worker();
    let jobs = submit_many(&system, 3, 0.0).await;
    assert_all_ran_once(&system, &jobs).await;
    worker.terminate();
    let open = system.submit("mock", &json!({})).await;
    until("the last entry", async || system.queue()?.entry(open.uuid).cloned()).await.unwrap();
    let refused = system.command("bcrlapi-agent").arg("resync").output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another agent serves"), "{refused:?}");
    agent.terminate();

    let names = |id| [layout::request(id), layout::response(id)];
    let names: Vec<String> = jobs.iter().flat_map(|job| names(job.uuid)).chain([layout::request(open.uuid)]).collect();
    let read = || names.iter().map(|name| fs::read(system.shared(name)).ok()).collect::<Vec<_>>();
    // Not which worker has had it: that is the lab's own, and lost with it.
    let entries = || {
        let queue = system.queue().unwrap();
        queue.entries().iter().map(|entry| (entry.id(), entry.state())).collect::<Vec<_>>()
    };
    let (files, before) = (read(), entries());
    fs::remove_dir_all(system.shared("")).unwrap();
    fs::create_dir(system.shared("")).unwrap();
    let resync = system.command("bcrlapi-agent").arg("resync").output().unwrap();
    let said = String::from_utf8_lossy(&resync.stdout).into_owned();
    assert!(said.contains("brought back: 4 requests, 3 responses, 4 entries of status.json"), "{resync:?}");
    assert!(read() == files, "all files as they were");
    assert_eq!(entries(), before, "all entries as they were");
    let again = system.command("bcrlapi-agent").arg("resync").output().unwrap();
    assert!(String::from_utf8_lossy(&again.stdout).contains("brought back: 0 requests, 0 responses, 0 entries"));

    let done = fs::read_to_string(system.shared(layout::STATUS)).unwrap();
    fs::write(system.shared(layout::STATUS), done.replace("\"done\"", "\"pending\"")).unwrap();
    let inodes = || jobs.iter().map(|job| inode(&system.shared(&layout::response(job.uuid)))).collect::<Vec<_>>();
    let before = inodes();
    assert!(system.command("bcrlapi-agent").arg("resync").status().unwrap().success(), "an old status.json is mended");
    assert_eq!(inodes(), before, "what is there stays");

    for lost in [layout::request(jobs[0].uuid), layout::STATUS.to_owned()] {
        fs::remove_file(system.shared(&lost)).unwrap();
    }
    assert!(system.command("bcrlapi-agent").arg("resync").status().unwrap().success());
    let ids = system.queue().unwrap().entries().iter().filter_map(Entry::id).collect::<Vec<_>>();
    assert_eq!(ids[..3], [jobs[0].uuid, jobs[1].uuid, jobs[2].uuid], "the oldest is first also if its file was lost");

    fs::write(system.shared(layout::STATUS), "{\"jobs\": [").unwrap();
    assert!(system.command("bcrlapi-agent").arg("resync").status().unwrap().success(), "it is put aside in time");
    assert_eq!(system.queue().unwrap().entries().len(), 4);

    let gone = jobs[1].uuid;
    let object = format!("s3/bcrlapi/request/{gone}.json");
    fs::remove_file(system.stack().directory().join(object)).unwrap();
    for lost in [layout::request(gone), layout::STATUS.to_owned()] {
        fs::remove_file(system.shared(&lost)).unwrap();
    }
    let resync = system.command("bcrlapi-agent").arg("resync").output().unwrap();
    assert_eq!(resync.status.code(), Some(1), "{resync:?}");
    let ids = system.queue().unwrap().entries().iter().filter_map(Entry::id).collect::<Vec<_>>();
    assert_eq!(ids, [jobs[0].uuid, jobs[2].uuid, open.uuid], "what cannot be had keeps nothing else away");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_was_lost_comes_back_with_the_jobs_that_are_done() {
    let system = System::start().await;
    let agent = system.start_agent();
    let _worker = system.start_worker();
    let jobs = submit_many(&system, 3, 0.0).await;
    assert_all_ran_once(&system, &jobs).await;
    agent.kill();
    fs::remove_file(system.shared(layout::STATUS)).unwrap();
    let _agent = system.start_agent();
    until("the queue", async || system.queue()).await.unwrap();
    assert_all_ran_once(&system, &jobs).await;
}
