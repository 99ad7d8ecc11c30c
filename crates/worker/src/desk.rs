//! The worker's dealings with the queue: what it owes is said, the next jobs are claimed, both in
//! one update of status.json.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bcrlapi_directory::{DirectoryError, Lock, SharedDir, StatusWatch};
use bcrlapi_domain::{JobId, Outcome, State};
use bcrlapi_exchange::{Entry, Orphaned, Queue, WorkerMark};

use crate::output::Progress;
use crate::trouble::Trouble;
use crate::{process, response};

/// [`bcrlapi_domain::limits::RETENTION`], by the monotonic clock.
const WEEK: Duration = Duration::from_hours(7 * 24);
/// How long a response that must not be read may become one that may: as long as computers
/// remember modes (NFS).
const UNREADABLE_LIMIT: Duration = Duration::from_secs(75);
/// How long nothing is claimed where the worker cannot hold its own lock.
const LOCKLESS_LIMIT: Duration = Duration::from_secs(10);
/// The pause between two tries to say what could not be said.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// Of how many jobs the end is kept in mind, to be said again where a script without the lock
/// writes over it.
const SAID_MAX: usize = 1_000;

/// How a job has ended: with this error, or well.
type End = Option<String>;

/// What the worker has claimed, and what it has to say of it.
pub(crate) struct Desk<'a> {
    directory: &'a SharedDir,
    mark: WorkerMark,
    /// By it, workers in other containers know that this one lives.
    lock: Option<Lock>,
    /// Whether locks reach every container of this host; not where each mount may have its own.
    has_shared_locks: bool,
    /// All jobs that were started here or that earlier workers have left, and since when they are
    /// known: none is run twice.
    started: BTreeMap<JobId, Instant>,
    running: BTreeSet<JobId>,
    /// How far programs are, where the entries do not say so yet.
    progress: BTreeMap<JobId, Progress>,
    /// Jobs that somebody else has ended while their programs run.
    given_up: Vec<JobId>,
    /// Jobs that are over, and whose entries do not say so yet.
    owed: BTreeMap<JobId, End>,
    /// Ends that the entries have said: those of the newest jobs.
    said: BTreeMap<JobId, End>,
    /// Jobs of a worker that is gone, whose ends could not be found out yet.
    orphans: BTreeMap<JobId, Orphaned>,
    /// Whether there is something owed that has not been tried yet.
    is_due: bool,
    /// After trouble with the directory, nothing is tried before this.
    retry_at: Option<Instant>,
    /// What was tried and could not be said is not tried before this, unless the queue changes.
    say_again_at: Option<Instant>,
    watch: StatusWatch,
    /// Whether the queue has changed, or there was more in it than could be claimed.
    has_changed: bool,
    /// That the directory cannot be used.
    trouble: Trouble,
    /// That entries of jobs that are over are missing.
    missing: Trouble,
    /// That what earlier workers have left cannot be read.
    unreadable: Trouble,
    /// That the worker's own lock cannot be held.
    lockless: Trouble,
}

/// What an update found and did. Nothing of it counts where the update failed.
#[derive(Default)]
struct Update {
    claimed: Vec<JobId>,
    said: Vec<JobId>,
    missing: Vec<JobId>,
    given_up: Vec<JobId>,
    orphans: BTreeMap<JobId, Orphaned>,
    has_more: bool,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(directory: &'a SharedDir, mark: WorkerMark) -> Self {
        Self {
            directory,
            mark,
            lock: None,
            has_shared_locks: false,
            started: BTreeMap::new(),
            running: BTreeSet::new(),
            progress: BTreeMap::new(),
            given_up: Vec::new(),
            owed: BTreeMap::new(),
            said: BTreeMap::new(),
            orphans: BTreeMap::new(),
            is_due: true,
            retry_at: None,
            say_again_at: None,
            watch: StatusWatch::default(),
            has_changed: false,
            trouble: Trouble::default(),
            missing: Trouble::default(),
            unreadable: Trouble::default(),
            lockless: Trouble::default(),
        }
    }

    /// Takes in how far a job's program is.
    pub(crate) fn note_progress(&mut self, id: JobId, progress: Progress) {
        self.progress.insert(id, progress);
        self.is_due = true;
    }

    /// Takes in that a job is over.
    pub(crate) fn note_end(&mut self, id: JobId, error: End) {
        self.progress.remove(&id);
        self.running.remove(&id);
        self.owed.insert(id, error);
        self.is_due = true;
    }

    /// How many jobs run.
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// Those of the running jobs that somebody else has ended, as seen at the last look: the agent,
    /// whose patience was at its end, or a person.
    pub(crate) fn given_up(&self) -> &[JobId] {
        &self.given_up
    }

    /// How many ended jobs have entries that do not say so yet.
    pub(crate) fn owed(&self) -> usize {
        self.owed.len()
    }

    /// Whether there is something to say that no entry says yet.
    pub(crate) fn has_unsaid(&self) -> bool {
        !self.owed.is_empty() || !self.orphans.is_empty()
    }

    /// Forgets all pauses: there will be no other try.
    pub(crate) fn hurry(&mut self) {
        self.retry_at = None;
        self.is_due = self.has_unsaid();
    }

    /// For how long entries of ended jobs have been missing.
    pub(crate) fn missing_for(&self, now: Instant) -> Duration {
        self.missing.lasts(now)
    }

    /// Whether there is work that should not wait for the next look.
    pub(crate) fn is_due_now(&self, now: Instant) -> bool {
        self.is_due && self.retry_at.is_none_or(|retry_at| now >= retry_at)
    }

    /// Says what is owed and claims up to `free` jobs, if there is reason to look; gives what is to
    /// be started. Trouble is told in the log, less and less often, and is tried again.
    pub(crate) fn serve(&mut self, free: usize, now: Instant) -> Result<Vec<JobId>, DirectoryError> {
        let is_time = |at: Option<Instant>| at.is_none_or(|at| now >= at);
        let says_again = self.has_unsaid() && is_time(self.say_again_at);
        let looks_after_running = !self.running.is_empty() && is_time(self.say_again_at);
        let is_wanted = self.is_due || says_again || free > 0 || self.has_unsaid() || looks_after_running;
        // What was not used has not shown that it can be used: the trouble, if there is any, lasts.
        if !is_wanted || !is_time(self.retry_at) {
            return Ok(Vec::new());
        }

        let served = self.look(free, says_again, now);
        match &served {
            Ok(_) => {
                if let Some(lasted) = self.trouble.end(now) {
                    let lasted_s = lasted.as_secs();
                    tracing::info!(lasted_s, "the shared directory can be used again");
                }
            }
            Err(error) => {
                self.retry_at = Some(now + RETRY_PAUSE);
                if self.trouble.is_to_be_told(now) {
                    let owed = self.owed.len();
                    tracing::warn!(%error, owed, "cannot use the shared directory; trying again");
                }
            }
        }
        served
    }

    fn look(&mut self, free: usize, says_again: bool, now: Instant) -> Result<Vec<JobId>, DirectoryError> {
        if !self.is_due && !says_again && !self.has_news()? {
            return Ok(Vec::new());
        }

        let may_claim = self.hold_lock(now);
        let free = if may_claim { free } else { 0 };

        self.end_orphans(now);
        let update = self.update(free)?;
        self.has_changed = update.has_more;
        let claimed = self.take_in(update, now);

        if !may_claim {
            self.is_due = true;
            self.retry_at = Some(now + RETRY_PAUSE);
        }
        Ok(claimed)
    }

    /// Whether the queue has changed since it was last worked on.
    fn has_news(&mut self) -> Result<bool, DirectoryError> {
        if let Some(seen) = self.directory.look_at_status(&mut self.watch)? {
            let is_there = !matches!(seen.queue, Ok(None));
            self.has_changed |= is_there;
        }
        Ok(self.has_changed)
    }

    /// Holds the worker's own lock, anew where another file system was mounted. Says whether it may
    /// claim: without the lock, a worker in another container would take it for one that is gone.
    /// But where nobody can make the lock, somebody has to do the work.
    fn hold_lock(&mut self, now: Instant) -> bool {
        let is_held = self.lock.as_ref().is_some_and(|lock| self.directory.is_lock_of_worker(lock, &self.mark));
        if is_held {
            return true;
        }

        let taken = self.directory.make_folders().and_then(|_| self.directory.lock_for_worker(&self.mark));
        match taken {
            Ok(lock) => {
                self.lock = Some(lock);
                self.has_shared_locks = !self.directory.is_remote();
                self.lockless.end(now);
                true
            }
            Err(error) => {
                if self.lockless.is_to_be_told(now) {
                    tracing::warn!(%error, "cannot hold the lock by which other workers know that this one lives");
                }
                self.lockless.lasts(now) >= LOCKLESS_LIMIT
            }
        }
    }

    /// Whether the worker with this mark is gone, for certain.
    fn is_gone(&self, mark: &WorkerMark) -> bool {
        let may_hold_its_lock = !matches!(self.directory.has_worker(mark), Ok(false));
        if may_hold_its_lock {
            return false;
        }
        if mark.boot != self.mark.boot {
            return true;
        }

        // In another container a pid is another process: there only the lock tells, where it
        // reaches all.
        let is_same_container = mark.pid_namespace == self.mark.pid_namespace;
        if is_same_container { !process::is_alive(mark.pid, mark.start) } else { self.has_shared_locks }
    }

    /// Finds out how the jobs of workers that are gone have ended. What cannot be found out now is
    /// tried again, and holds up nothing else.
    fn end_orphans(&mut self, now: Instant) {
        let orphans: Vec<(JobId, Orphaned)> = self.orphans.iter().map(|(&id, &orphaned)| (id, orphaned)).collect();
        for (id, orphaned) in orphans {
            // The worker gives a response its name after the program's end, and never before.
            let end = match response::is_whole(self.directory, id) {
                Ok(true) => None,
                Ok(false) => Some(describe(orphaned).to_owned()),
                Err(error) if error.is_denied() && self.unreadable.lasts(now) >= UNREADABLE_LIMIT => {
                    Some(format!("{}; its response cannot be read: {error}", describe(orphaned)))
                }
                Err(error) => {
                    if self.unreadable.is_to_be_told(now) {
                        tracing::warn!(uuid = %id, %error, "cannot read what an earlier worker has left; trying again");
                    }
                    continue;
                }
            };
            match &end {
                None => tracing::warn!(uuid = %id, "done: an earlier worker has not come to say so"),
                Some(error) => tracing::warn!(uuid = %id, error, "failed"),
            }
            self.orphans.remove(&id);
            self.owed.insert(id, end);
        }
        if self.orphans.is_empty() {
            self.unreadable.end(now);
        }
    }

    fn update(&self, free: usize) -> Result<Update, DirectoryError> {
        // Where there is no queue at all, every entry is missing.
        let mut update = Update { missing: self.owed.keys().copied().collect(), ..Update::default() };
        self.directory.update_status(|queue| {
            // What a try before this one did has come to nothing.
            update = Update::default();
            let said = self.say(queue, &mut update);
            let claimed = self.claim(queue, free, &mut update);
            (said || claimed).then_some(())
        })?;
        Ok(update)
    }

    /// Writes what is owed, and again what was written over. Says whether that changed anything.
    fn say(&self, queue: &mut Queue, update: &mut Update) -> bool {
        let mut has_changed = false;
        for (&id, end) in &self.owed {
            has_changed |= say_end(queue, id, end);
            let is_done = queue.entry(id).and_then(Entry::state).is_some_and(State::is_done);
            if is_done { update.said.push(id) } else { update.missing.push(id) }
        }
        for (&id, end) in &self.said {
            has_changed |= say_end(queue, id, end);
        }
        for (&id, Progress { percent, message }) in &self.progress {
            has_changed |= queue.report(id, *percent, message);
        }
        for &id in &self.running {
            has_changed |= queue.claim_again(id, &self.mark);
            let is_done = queue.entry(id).and_then(Entry::state).is_some_and(State::is_done);
            update.given_up.extend(is_done.then_some(id));
        }
        has_changed
    }

    /// Claims what waits; before that, what this worker has claimed already in an update of which
    /// it did not hear how it ended. Says whether that changed anything.
    fn claim(&self, queue: &mut Queue, free: usize, update: &mut Update) -> bool {
        for (id, mark) in queue.marked() {
            if self.started.contains_key(&id) {
                continue;
            }
            if mark == self.mark {
                update.claimed.push(id);
            } else if let Some(orphaned) = mark.orphaned(&self.mark, |mark| self.is_gone(mark)) {
                update.orphans.insert(id, orphaned);
            }
        }

        update.has_more = update.claimed.len() > free;
        update.claimed.truncate(free);

        let room = free - update.claimed.len();
        let claimed = queue.claim(&self.mark, room, |id| self.started.contains_key(&id));
        update.has_more |= room > 0 && claimed.len() == room;
        let has_changed = !claimed.is_empty();
        update.claimed.extend(claimed);
        has_changed
    }

    fn take_in(&mut self, update: Update, now: Instant) -> Vec<JobId> {
        for id in &update.said {
            self.said.extend(self.owed.remove_entry(id));
        }
        while self.said.len() > SAID_MAX {
            self.said.pop_first();
        }
        self.forget_expired(now);
        self.tell_missing(&update.missing, now);

        self.retry_at = None;
        self.say_again_at = Some(now + RETRY_PAUSE);
        // How these have ended is yet to be found out.
        self.is_due = !update.orphans.is_empty();
        let began = update.orphans.keys().chain(&update.claimed);
        self.started.extend(began.map(|&id| (id, now)));
        self.orphans.extend(update.orphans);
        self.given_up = update.given_up;
        self.progress.clear();
        self.running.extend(&update.claimed);
        update.claimed
    }

    fn tell_missing(&mut self, missing: &[JobId], now: Instant) {
        let Some(first) = missing.first() else {
            if self.missing.end(now).is_some() {
                tracing::info!("no entry of an ended job is missing any more");
            }
            return;
        };
        if self.missing.is_to_be_told(now) {
            let jobs = missing.len();
            tracing::warn!(uuid = %first, jobs, "an ended job is missing in status.json; trying again");
        }
    }

    /// After its week, nobody asks for a job any more. This computer's date may be wrong; but a week
    /// after it was started here, a job's week is over.
    fn forget_expired(&mut self, now: Instant) {
        let running = &self.running;
        let is_over = |id: &JobId, since: Instant| now - since >= WEEK && !running.contains(id);
        for (id, _) in self.started.extract_if(.., |id, since| is_over(id, *since)) {
            self.orphans.remove(&id);
            if self.owed.remove(&id).is_some() {
                tracing::error!(uuid = %id, "giving up: the job's week is over, and its entry was never set to done");
            }
        }
    }
}

/// Says how the job has ended, if its entry does not say so; gives whether that changed anything.
fn say_end(queue: &mut Queue, id: JobId, end: &End) -> bool {
    let outcome = if end.is_some() { Outcome::Failed } else { Outcome::Succeeded };
    queue.advance(id, State::Done(outcome), end.as_deref())
}

fn describe(orphaned: Orphaned) -> &'static str {
    match orphaned {
        Orphaned::Restarted => "the machine was restarted while the program ran; submit the job again",
        Orphaned::Killed => "the worker was killed while the program ran; submit the job again",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use bcrlapi_exchange::layout;
    use tempfile::TempDir;

    use super::*;

    const FIRST: &str = "01a200bc-a5f2-724c-8057-ca5c79931e2d";
    const SECOND: &str = "01a200bc-a5f2-724c-8057-ca5c79931e2e";
    const THIRD: &str = "01a200bc-a5f2-724c-8057-ca5c79931e2f";

    fn id(text: &str) -> JobId {
        text.parse().unwrap()
    }

    fn own_mark() -> WorkerMark {
        process::own_mark().unwrap()
    }

    fn pending(uuid: &str) -> String {
        format!("{{\"uuid\": \"{uuid}\", \"status\": \"pending\"}}")
    }

    fn processing(uuid: &str, mark: &WorkerMark) -> String {
        let mark = serde_json::to_string(mark).unwrap();
        format!("{{\"uuid\": \"{uuid}\", \"status\": \"processing\", \"worker\": {mark}}}")
    }

    /// A directory with a queue of these entries.
    struct Lab {
        directory: SharedDir,
        _place: TempDir,
    }

    impl Lab {
        fn new(entries: &[String]) -> Self {
            let place = tempfile::tempdir().unwrap();
            let lab = Self { directory: SharedDir::open(place.path()).unwrap(), _place: place };
            lab.write(entries);
            lab
        }

        fn write(&self, entries: &[String]) {
            let status = format!("{{\"jobs\": [{}]}}", entries.join(","));
            fs::write(self.directory.path(layout::STATUS), status).unwrap();
        }

        fn state(&self, uuid: &str) -> Option<State> {
            let queue = self.directory.read_status().unwrap().queue.unwrap().unwrap();
            queue.entry(id(uuid)).and_then(Entry::state)
        }

        fn error(&self, uuid: &str) -> Option<String> {
            let queue = self.directory.read_status().unwrap().queue.unwrap().unwrap();
            queue.entry(id(uuid)).and_then(Entry::error)
        }
    }

    #[test]
    fn one_update_says_what_is_owed_and_claims_the_next_job() {
        let lab = Lab::new(&[pending(FIRST), pending(SECOND)]);
        let mut desk = Desk::new(&lab.directory, own_mark());
        let now = Instant::now();
        assert_eq!(desk.serve(1, now).unwrap(), [id(FIRST)]);

        desk.note_end(id(FIRST), None);
        let before = lab.directory.displaced().unwrap().len();
        assert_eq!(desk.serve(1, now).unwrap(), [id(SECOND)]);
        assert_eq!(lab.directory.displaced().unwrap().len(), before + 1, "status.json was written once");
        assert_eq!(lab.state(FIRST), Some(State::Done(Outcome::Succeeded)));
        assert_eq!(lab.state(SECOND), Some(State::Processing));
        assert!(!desk.has_unsaid());
    }

    #[test]
    fn a_claim_of_which_the_worker_did_not_hear_is_run_and_once_only() {
        let lab = Lab::new(&[processing(FIRST, &own_mark()), pending(SECOND)]);
        let mut desk = Desk::new(&lab.directory, own_mark());
        let now = Instant::now();
        assert_eq!(desk.serve(2, now).unwrap(), [id(FIRST), id(SECOND)]);
        lab.write(&[processing(FIRST, &own_mark()), processing(SECOND, &own_mark())]);
        assert_eq!(desk.serve(2, now).unwrap(), []);
    }

    #[test]
    fn a_job_that_a_script_sets_back_is_not_run_again() {
        let lab = Lab::new(&[pending(FIRST)]);
        let mut desk = Desk::new(&lab.directory, own_mark());
        let now = Instant::now();
        assert_eq!(desk.serve(2, now).unwrap(), [id(FIRST)]);
        lab.write(&[pending(FIRST), pending(SECOND)]);
        assert_eq!(desk.serve(1, now).unwrap(), [id(SECOND)]);
        assert_eq!(lab.state(FIRST), Some(State::Processing), "it still runs");
    }

    /// A clock that is eight days ahead made it run again and again.
    #[test]
    fn a_job_whose_week_is_over_by_the_clock_is_run_once() {
        const LONG_AGO: &str = "0180a200-a5f2-724c-8057-ca5c79931e2d";
        let lab = Lab::new(&[pending(LONG_AGO)]);
        let mut desk = Desk::new(&lab.directory, own_mark());
        let now = Instant::now();
        assert_eq!(desk.serve(2, now).unwrap(), [id(LONG_AGO)]);
        lab.write(&[pending(LONG_AGO), pending(SECOND)]);
        assert_eq!(desk.serve(2, now).unwrap(), [id(SECOND)], "it runs");
        desk.note_end(id(LONG_AGO), None);
        lab.write(&[pending(LONG_AGO)]);
        assert_eq!(desk.serve(2, now).unwrap(), [], "it has run");
        assert_eq!(lab.state(LONG_AGO), Some(State::Done(Outcome::Succeeded)));
    }

    #[test]
    fn what_was_started_is_forgotten_after_a_week() {
        let lab = Lab::new(&[pending(FIRST), pending(SECOND)]);
        let mut desk = Desk::new(&lab.directory, own_mark());
        let now = Instant::now();
        desk.serve(2, now).unwrap();
        desk.note_end(id(FIRST), None);
        desk.serve(2, now).unwrap();
        lab.write(&[]);
        desk.serve(2, now + WEEK).unwrap();
        assert_eq!(desk.started.keys().copied().collect::<Vec<_>>(), [id(SECOND)], "it still runs");
    }

    /// Found by the rounds of scripts that overlap: the job was `processing` for ever.
    #[test]
    fn an_end_that_a_script_writes_over_is_said_again() {
        let lab = Lab::new(&[pending(FIRST), pending(SECOND)]);
        let mut desk = Desk::new(&lab.directory, own_mark());
        let now = Instant::now();
        desk.serve(2, now).unwrap();
        desk.note_end(id(FIRST), None);
        desk.note_end(id(SECOND), Some("no input".to_owned()));
        desk.serve(2, now).unwrap();
        assert!(!desk.has_unsaid());

        lab.write(&[processing(FIRST, &own_mark()), pending(SECOND)]);
        assert_eq!(desk.serve(2, now).unwrap(), [], "nothing of it is run again");
        assert_eq!(lab.state(FIRST), Some(State::Done(Outcome::Succeeded)));
        assert_eq!(lab.state(SECOND), Some(State::Done(Outcome::Failed)));
        assert_eq!(lab.error(SECOND).as_deref(), Some("no input"));
    }

    #[test]
    fn a_missing_entry_holds_up_no_other_job_and_is_said_when_it_is_back() {
        let lab = Lab::new(&[pending(FIRST)]);
        let mut desk = Desk::new(&lab.directory, own_mark());
        let now = Instant::now();
        desk.serve(1, now).unwrap();
        lab.write(&[pending(SECOND)]);
        desk.note_end(id(FIRST), Some("no input".to_owned()));
        assert_eq!(desk.serve(1, now).unwrap(), [id(SECOND)]);
        assert!(desk.has_unsaid());

        lab.write(&[processing(FIRST, &own_mark()), processing(SECOND, &own_mark())]);
        desk.serve(0, now + RETRY_PAUSE).unwrap();
        assert_eq!(lab.state(FIRST), Some(State::Done(Outcome::Failed)));
        assert_eq!(lab.error(FIRST).as_deref(), Some("no input"));
        assert!(!desk.has_unsaid());
    }

    #[test]
    fn entries_are_missing_where_the_whole_queue_is() {
        let lab = Lab::new(&[pending(FIRST)]);
        let mut desk = Desk::new(&lab.directory, own_mark());
        let now = Instant::now();
        desk.serve(1, now).unwrap();
        fs::remove_file(lab.directory.path(layout::STATUS)).unwrap();
        desk.note_end(id(FIRST), None);
        desk.serve(0, now).unwrap();
        assert_eq!(desk.missing_for(now + RETRY_PAUSE), RETRY_PAUSE);
    }

    #[test]
    fn a_pause_after_trouble_does_not_count_as_its_end() {
        let lab = Lab::new(&[]);
        let mut desk = Desk::new(&lab.directory, own_mark());
        let now = Instant::now();
        let (request, away) = (lab.directory.path(layout::REQUEST_DIR), lab.directory.path("away"));
        fs::rename(&request, &away).unwrap();
        fs::write(&request, "no folder").unwrap();
        desk.serve(1, now).unwrap_err();
        let later = now + RETRY_PAUSE / 2;
        assert_eq!(desk.serve(1, later).unwrap(), []);
        assert_eq!(desk.trouble.lasts(later), RETRY_PAUSE / 2);

        fs::remove_file(&request).unwrap();
        fs::rename(&away, &request).unwrap();
        desk.serve(1, now + RETRY_PAUSE).unwrap();
        assert_eq!(desk.trouble.lasts(now + RETRY_PAUSE), Duration::ZERO);
    }

    #[test]
    fn what_a_worker_that_is_gone_has_left_is_ended_with_the_reason() {
        let own = own_mark();
        let killed = WorkerMark { start: own.start + 1, ..own.clone() };
        let restarted = WorkerMark { boot: "before".to_owned(), ..own.clone() };
        let lab = Lab::new(&[processing(FIRST, &killed), processing(SECOND, &restarted)]);
        let mut desk = Desk::new(&lab.directory, own);
        let now = Instant::now();
        while desk.is_due_now(now) {
            assert_eq!(desk.serve(1, now).unwrap(), [], "nothing of it is run again");
        }
        for (uuid, reason) in [(FIRST, "the worker was killed"), (SECOND, "the machine was restarted")] {
            let error = lab.error(uuid).unwrap();
            assert!(error.starts_with(reason) && error.ends_with("submit the job again"), "{error}");
        }
    }

    #[test]
    fn a_response_that_was_put_in_its_place_counts_though_the_worker_is_gone() {
        let own = own_mark();
        let killed = WorkerMark { start: own.start + 1, ..own.clone() };
        let lab = Lab::new(&[processing(FIRST, &killed), processing(SECOND, &killed)]);
        fs::write(lab.directory.path(&layout::response(id(FIRST))), "{}").unwrap();
        fs::write(lab.directory.path(&layout::response(id(SECOND))), "{\"half\": ").unwrap();
        let mut desk = Desk::new(&lab.directory, own);
        let now = Instant::now();
        while desk.is_due_now(now) {
            desk.serve(1, now).unwrap();
        }
        assert_eq!(lab.state(FIRST), Some(State::Done(Outcome::Succeeded)));
        assert_eq!(lab.state(SECOND), Some(State::Done(Outcome::Failed)));
    }

    /// A backup by hard links, or a link, kept the worker from everything else, for ever.
    #[test]
    fn a_response_that_nobody_takes_is_none_and_holds_up_no_other_job() {
        let own = own_mark();
        let killed = WorkerMark { start: own.start + 1, ..own.clone() };
        let lab = Lab::new(&[processing(FIRST, &killed), processing(SECOND, &killed), pending(THIRD)]);
        let backup = lab.directory.path("backup.json");
        fs::write(&backup, "{}").unwrap();
        fs::hard_link(&backup, lab.directory.path(&layout::response(id(FIRST)))).unwrap();
        std::os::unix::fs::symlink(&backup, lab.directory.path(&layout::response(id(SECOND)))).unwrap();
        let mut desk = Desk::new(&lab.directory, own);
        let now = Instant::now();
        let mut claimed = Vec::new();
        while desk.is_due_now(now) {
            claimed.extend(desk.serve(1, now).unwrap());
        }
        assert_eq!(claimed, [id(THIRD)]);
        for uuid in [FIRST, SECOND] {
            assert_eq!(lab.state(uuid), Some(State::Done(Outcome::Failed)));
        }
    }

    #[test]
    fn what_becomes_of_a_running_job_is_seen() {
        let lab = Lab::new(&[pending(FIRST), pending(SECOND)]);
        let mut desk = Desk::new(&lab.directory, own_mark());
        let now = Instant::now();
        desk.serve(2, now).unwrap();
        let unmarked = format!("{{\"uuid\": \"{FIRST}\", \"status\": \"processing\"}}");
        let ended = format!("{{\"uuid\": \"{SECOND}\", \"status\": \"done\", \"outcome\": \"failed\"}}");
        lab.write(&[unmarked, ended]);
        desk.serve(0, now + RETRY_PAUSE).unwrap();
        let queue = lab.directory.read_status().unwrap().queue.unwrap().unwrap();
        assert_eq!(queue.entry(id(FIRST)).unwrap().worker(), Some(own_mark()), "the entry was made anew");
        assert_eq!(desk.given_up(), [id(SECOND)]);
    }

    /// An APP server of the same name on one NFS directory ended its jobs as of before a restart.
    #[test]
    fn a_worker_of_another_boot_that_holds_its_lock_lives() {
        let own = own_mark();
        let other_host = WorkerMark { boot: "another".to_owned(), machine: None, ..own.clone() };
        let lab = Lab::new(&[processing(FIRST, &other_host), pending(SECOND)]);
        let _lock = lab.directory.lock_for_worker(&other_host).unwrap();
        let mut desk = Desk::new(&lab.directory, own);
        let now = Instant::now();
        assert_eq!(desk.serve(1, now).unwrap(), [id(SECOND)]);
        assert!(!desk.is_due_now(now));
    }

    #[test]
    fn a_worker_that_cannot_have_its_lock_works_without_after_some_time() {
        let lab = Lab::new(&[pending(FIRST)]);
        let mark = own_mark();
        fs::create_dir(lab.directory.path(&layout::worker_lock(&mark))).unwrap();
        let mut desk = Desk::new(&lab.directory, mark);
        let now = Instant::now();
        assert_eq!(desk.serve(1, now).unwrap(), []);
        assert_eq!(desk.serve(1, now + LOCKLESS_LIMIT).unwrap(), [id(FIRST)]);
    }

    #[test]
    fn jobs_of_workers_that_live_or_of_other_hosts_are_left_alone() {
        let own = own_mark();
        let here = WorkerMark { pid: 1, start: start_of_first_process(), ..own.clone() };
        let there = WorkerMark { host: "another".to_owned(), boot: "another".to_owned(), ..own.clone() };
        let entries = [processing(FIRST, &here), processing(SECOND, &there)];
        let lab = Lab::new(&entries);
        let before = fs::read(lab.directory.path(layout::STATUS)).unwrap();
        let mut desk = Desk::new(&lab.directory, own);
        assert_eq!(desk.serve(1, Instant::now()).unwrap(), []);
        assert!(!desk.has_unsaid());
        assert_eq!(fs::read(lab.directory.path(layout::STATUS)).unwrap(), before);
    }

    #[test]
    fn a_worker_in_another_container_is_gone_once_nobody_holds_its_lock() {
        let own = own_mark();
        let alive = WorkerMark { pid_namespace: Some(1), ..own.clone() };
        let killed = WorkerMark { pid_namespace: Some(2), ..own.clone() };
        let lab = Lab::new(&[processing(FIRST, &alive), processing(SECOND, &killed)]);
        let _lock = lab.directory.lock_for_worker(&alive).unwrap();
        let mut desk = Desk::new(&lab.directory, own);
        let now = Instant::now();
        while desk.is_due_now(now) {
            assert_eq!(desk.serve(1, now).unwrap(), [], "nothing of it is run again");
        }
        assert_eq!(lab.state(FIRST), Some(State::Processing));
        assert_eq!(lab.state(SECOND), Some(State::Done(Outcome::Failed)));
    }

    fn start_of_first_process() -> u64 {
        let fields = fs::read_to_string("/proc/1/stat").unwrap();
        let (_, fields) = fields.rsplit_once(')').unwrap();
        fields.split_whitespace().nth(19).unwrap().parse().unwrap()
    }
}
