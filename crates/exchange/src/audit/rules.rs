use std::collections::{BTreeMap, BTreeSet};

use bcrlapi_domain::{Job, JobId, Outcome, State, Status};
use chrono::TimeDelta;

use super::{FileSeen, Rule, Severity, Sight, StatusSeen, Subject};
use crate::{Entry, Queue, layout};

/// How long a queue that was displaced may be kept: the agent and every worker remove them after 10
/// seconds.
const DISPLACED_AGE_MAX: TimeDelta = TimeDelta::minutes(1);
/// How many bytes all displaced queues may have together.
const DISPLACED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How long what a program writes may be there without an entry that says that it runs.
const RUNNING_AGE_MAX: TimeDelta = TimeDelta::minutes(1);
/// How long what has expired may still be there: it is removed once a day, and that takes its time.
const EXPIRED_AGE_MAX: TimeDelta = TimeDelta::hours(25);
/// How much later than its deadline a job may end.
const DEADLINE_SLACK: TimeDelta = TimeDelta::minutes(2);

const SEE_THE_LOG: &str = "the agent's log says what keeps it from that (is it running?)";

/// Every rule: first what stands in the way of all others.
pub const RULES: [Rule; 20] = [
    Rule {
        name: "an agent serves the directory",
        severity: Severity::Warn,
        advice: "start it; what follows may have no other cause",
        broken_by: |sight| if sight.has_agent { none() } else { [Subject::Lab].into() },
    },
    Rule {
        name: "files and folders are what they should be",
        severity: Severity::Fail,
        advice: "neither a link nor a folder may stand there: move it away",
        broken_by: |sight| files(&sight.misplaced),
    },
    Rule {
        name: "the agent may read every file",
        severity: Severity::Fail,
        advice: "run agent and programs as one user, or in one group with chmod 2770; a script then needs the umask 007",
        broken_by: |sight| files(&sight.unreadable),
    },
    Rule {
        name: "status.json can be read",
        severity: Severity::Fail,
        advice: "the agent makes it again within a minute: is it running, and what writes the file?",
        broken_by: unreadable_queue,
    },
    Rule {
        name: "status.json is ASCII",
        severity: Severity::Warn,
        advice: "a script under another locale may not read it; write it with json.dump, which escapes",
        broken_by: queue_beyond_ascii,
    },
    Rule {
        name: "every row can be read",
        severity: Severity::Fail,
        advice: "something else has written it: look at the row, and restore it or remove it",
        broken_by: |sight| sight.damaged.iter().copied().map(Subject::Job).collect(),
    },
    Rule {
        name: "every row is looked at",
        severity: Severity::Warn,
        advice: "this identity may read no whole table: for a complete audit, attach the output ResyncPolicyArn",
        broken_by: |sight| {
            if sight.has_unasked { files(&["older jobs that are done".to_owned()]) } else { none() }
        },
    },
    Rule {
        name: "a job is in the queue once",
        severity: Severity::Fail,
        advice: "the furthest counts; remove all others, under the lock; which script appends?",
        broken_by: doubled,
    },
    Rule {
        name: "a pending entry has its request file",
        severity: Severity::Fail,
        advice: SEE_THE_LOG,
        broken_by: pending_without_request,
    },
    Rule {
        name: "an open job is in the queue",
        severity: Severity::Fail,
        advice: SEE_THE_LOG,
        broken_by: open_and_not_in_the_queue,
    },
    Rule {
        name: "a job stays in the queue when it is done",
        severity: Severity::Warn,
        advice: "stop the agent, bcrlapi-agent resync, start it; which script removes entries?",
        broken_by: done_and_not_in_the_queue,
    },
    Rule {
        name: "the cloud knows what the APP has said",
        severity: Severity::Fail,
        advice: SEE_THE_LOG,
        broken_by: not_told,
    },
    Rule {
        name: "the queue still says what the APP has said",
        severity: Severity::Fail,
        advice: "a script has put an old queue back; the agent's journal knows better: is it running?",
        broken_by: behind_the_journal,
    },
    Rule {
        name: "the queue is not behind the cloud",
        severity: Severity::Fail,
        advice: SEE_THE_LOG,
        broken_by: behind_the_cloud,
    },
    Rule {
        name: "a job ends within its deadline",
        severity: Severity::Fail,
        advice: "the agent ends it (--lost-after): is it running, with another limit than this check was given?",
        broken_by: overdue,
    },
    Rule {
        name: "the cloud knows every job of the queue",
        severity: Severity::Warn,
        advice: "somebody's own entry, or its row was lost: restore rows as docs/operations.md says, or remove the entry",
        broken_by: unknown,
    },
    Rule {
        name: "a status is one of the known words",
        severity: Severity::Warn,
        advice: "write pending, processing, done or failed",
        broken_by: unknown_words,
    },
    Rule {
        name: "a job that waits has no response",
        severity: Severity::Warn,
        advice: "a program ran without setting it to processing, or a file was copied: set the job to done, or remove the file",
        broken_by: response_of_a_pending_job,
    },
    Rule { name: "what has expired is removed", severity: Severity::Warn, advice: SEE_THE_LOG, broken_by: expired },
    Rule {
        name: "nothing is left lying about",
        severity: Severity::Warn,
        advice: "corrupt queues: look what wrote them, then remove them; in .running: a killed program's, remove it; \
                 in .displaced: the agent removes it, is it running?",
        broken_by: left_behind,
    },
];

type Subjects = BTreeSet<Subject>;

fn none() -> Subjects {
    Subjects::new()
}

fn files(names: &[String]) -> Subjects {
    names.iter().cloned().map(Subject::File).collect()
}

fn unreadable_queue(sight: &Sight) -> Subjects {
    match &sight.status {
        StatusSeen::Whole { .. } => none(),
        StatusSeen::Missing => [Subject::File(format!("{} is missing", layout::STATUS))].into(),
        StatusSeen::Broken(reason) => [Subject::File(reason.clone())].into(),
    }
}

fn queue_beyond_ascii(sight: &Sight) -> Subjects {
    match sight.status {
        StatusSeen::Whole { is_ascii: false, .. } => [Subject::File(layout::STATUS.to_owned())].into(),
        _ => none(),
    }
}

fn doubled(sight: &Sight) -> Subjects {
    let mut entries: BTreeMap<JobId, usize> = BTreeMap::new();
    for (id, _) in sight.entries() {
        *entries.entry(id).or_default() += 1;
    }

    entries.into_iter().filter(|(_, count)| *count > 1).map(|(id, _)| Subject::Job(id)).collect()
}

fn pending_without_request(sight: &Sight) -> Subjects {
    let Some(queue) = sight.queue() else { return none() };
    let waits = queue.jobs().filter(|(id, entry)| !id.is_expired(sight.now) && entry.state() == Some(State::Pending));
    waits.filter(|(id, _)| !sight.requests.contains(id)).map(|(id, _)| Subject::Job(id)).collect()
}

fn open_and_not_in_the_queue(sight: &Sight) -> Subjects {
    let Some(queue) = sight.queue() else { return none() };
    // A job that its caller has canceled leaves the queue first, and is then said to be canceled.
    let is_leaving = |job: &Job| job.state == State::Pending && job.cancel_requested;
    let open = sight.jobs().filter(|job| !job.state.is_done() && !is_leaving(job));
    open.filter(|job| queue.entry(job.id).is_none()).map(|job| Subject::Job(job.id)).collect()
}

fn done_and_not_in_the_queue(sight: &Sight) -> Subjects {
    let Some(queue) = sight.queue() else { return none() };
    // One that never started may never have come to the lab: its request was damaged, or it was
    // canceled.
    let is_expected = |job: &&Job| {
        let State::Done(outcome) = job.state else { return false };
        outcome != Outcome::Canceled && job.start_date.is_some()
    };
    let done = sight.jobs().filter(is_expected);
    done.filter(|job| queue.entry(job.id).is_none()).map(|job| Subject::Job(job.id)).collect()
}

fn not_told(sight: &Sight) -> Subjects {
    let StatusSeen::Whole { written, .. } = sight.status else { return none() };
    let is_late = |job: &Job, entry: State| {
        if !entry.is_done() {
            return true;
        }

        // The response was there before `done`, and nothing was said after the queue was last
        // written.
        let said = sight.responses.get(&job.id).copied().unwrap_or(written);
        sight.is_older_than(said, sight.grace)
    };

    let untold = sight.pairs().filter(|(job, entry)| job.state.is_behind(*entry));
    untold.filter(|(job, entry)| is_late(job, *entry)).map(|(job, _)| Subject::Job(job.id)).collect()
}

fn behind_the_journal(sight: &Sight) -> Subjects {
    let Some(queue) = sight.queue() else { return none() };
    let mut seen: BTreeMap<JobId, Status> = BTreeMap::new();
    for entry in &sight.journal {
        let (Some(id), Some(state)) = (entry.id(), entry.state()) else { continue };
        let furthest = seen.entry(id).or_insert(state.status());
        *furthest = state.status().max(*furthest);
    }

    let is_behind = |id: &JobId, seen: &Status| {
        let entry = queue.entry(*id).and_then(Entry::state);
        !id.is_expired(sight.now) && entry.is_some_and(|entry| entry.status() < *seen)
    };
    seen.iter().filter(|(id, seen)| is_behind(id, seen)).map(|(id, _)| Subject::Job(*id)).collect()
}

fn behind_the_cloud(sight: &Sight) -> Subjects {
    let behind = sight.pairs().filter(|(job, entry)| entry.is_behind(job.state));
    behind.map(|(job, _)| Subject::Job(job.id)).collect()
}

fn overdue(sight: &Sight) -> Subjects {
    let Some(limit) = sight.lost_after else { return none() };
    let is_over = |job: &&Job| {
        let begin = job.start_date.unwrap_or(job.id.request_date());
        job.state == State::Processing && sight.is_older_than(begin, limit + DEADLINE_SLACK)
    };
    sight.jobs().filter(is_over).map(|job| Subject::Job(job.id)).collect()
}

fn unknown(sight: &Sight) -> Subjects {
    let ids = sight.entries().map(|(id, _)| id);
    ids.filter(|id| matches!(sight.rows.get(id), Some(None))).map(Subject::Job).collect()
}

fn unknown_words(sight: &Sight) -> Subjects {
    let word = |(id, entry): (JobId, &Entry)| {
        let word = unknown_word(entry)?;
        Some(Subject::Word(id, word))
    };
    sight.entries().filter_map(word).collect()
}

/// What stands in the place of a word that is understood; an empty text where nothing does.
fn unknown_word(entry: &Entry) -> Option<String> {
    let is_missing = entry.state().is_none();
    entry.unknown_word().or_else(|| is_missing.then(String::new))
}

fn response_of_a_pending_job(sight: &Sight) -> Subjects {
    let waits = sight.pairs().filter(|(job, entry)| job.state == State::Pending && *entry == State::Pending);
    waits.filter(|(job, _)| sight.responses.contains_key(&job.id)).map(|(job, _)| Subject::Job(job.id)).collect()
}

fn expired(sight: &Sight) -> Subjects {
    let entries = sight.queue().map(Queue::entries).unwrap_or_default().iter().filter_map(Entry::id);
    let files = sight.requests.iter().chain(sight.responses.keys()).copied();
    let overdue = entries.chain(files).filter(|id| sight.is_older_than(id.expiry_date(), EXPIRED_AGE_MAX));
    overdue.map(Subject::Job).collect()
}

fn left_behind(sight: &Sight) -> Subjects {
    let old_displaced = sight.displaced.iter().filter(|file| sight.is_older_than(file.written, DISPLACED_AGE_MAX));
    let orphans = sight.running.iter().filter(|file| is_orphan(sight, file));
    let names = old_displaced.chain(orphans).map(|file| file.name.clone()).chain(sight.corrupt.iter().cloned());
    let mut subjects: Subjects = names.map(Subject::File).collect();

    let displaced_bytes: u64 = sight.displaced.iter().map(|file| file.size_bytes).sum();
    if displaced_bytes > DISPLACED_BYTES_MAX {
        // How many they are changes from one look to the next.
        let mebibytes = DISPLACED_BYTES_MAX / (1024 * 1024);
        subjects.insert(Subject::File(format!("over {mebibytes} MiB in {}", layout::DISPLACED_DIR)));
    }

    subjects
}

/// Whether no program runs or has failed whose file this is. Of what cannot be read nothing is said: the file may
/// be all that is left of a run.
fn is_orphan(sight: &Sight, file: &FileSeen) -> bool {
    let Some(queue) = sight.queue() else { return false };
    let name = file.name.rsplit('/').next().unwrap_or_default();
    // A worker's lock belongs to no job. The next worker removes it where its holder is gone.
    if layout::is_worker_lock(name) {
        return false;
    }

    let job = layout::job_of_running(name);
    let is_needed = match job.and_then(|id| queue.entry(id)).map(Entry::state) {
        // It runs; or its error names the file, for people to look at.
        Some(state) => matches!(state, None | Some(State::Processing | State::Done(Outcome::Failed))),
        None => false,
    };

    !is_needed && sight.is_older_than(file.written, RUNNING_AGE_MAX)
}
