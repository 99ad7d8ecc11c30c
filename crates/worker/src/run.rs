use std::collections::BTreeMap;
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use bcrlapi_directory::SharedDir;
use bcrlapi_domain::JobId;
use bcrlapi_exchange::layout;

use crate::command::{self, NotStartable};
use crate::desk::Desk;
use crate::failure::Failure;
use crate::output::{Output, Progress};
use crate::program::{self, Ending, Program, Talk};
use crate::response::Response;
use crate::{Stop, WorkerError, process};

/// The pause between two looks at a queue in which nothing waits. A look costs one `stat`.
const IDLE_PAUSE: Duration = Duration::from_millis(200);
/// How long a worker that looks once waits for an entry that somebody's script has thrown out: the
/// agent puts it back.
const MISSING_LIMIT_ONCE: Duration = Duration::from_mins(1);

/// The worker's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The shared directory.
    pub shared: PathBuf,
    /// Whether to look once and go, instead of staying.
    pub once: bool,
    /// How many jobs may run at the same time.
    pub jobs: usize,
    /// How long a program may run; any time, if `None`.
    pub timeout: Option<Duration>,
    /// The program and its first arguments; the request's and the response's file follow.
    pub command: Vec<String>,
}

impl Config {
    fn cannot_start(&self, reason: NotStartable) -> WorkerError {
        WorkerError::CannotStart { command: self.command.first().cloned().unwrap_or_default(), reason }
    }
}

/// Serves the queue until it is asked to stop; with `once`, claims at most `jobs` jobs and runs them. Says how many it
/// has run.
pub fn run(config: &Config, stop: &Stop) -> Result<usize, WorkerError> {
    let directory = SharedDir::open(&config.shared)?;
    // A slip in the command should cost no job.
    let program = command::find(&config.command).map_err(|reason| config.cannot_start(reason))?;
    let mark = process::own_mark().map_err(WorkerError::NoIdentity)?;
    greet(config, &directory, &program.display().to_string());

    let output = Output::start();
    let (sender, news) = channel();
    let served = thread::scope(|scope| {
        let program = Program { command: &config.command, timeout: config.timeout, stop, output: &output };
        let shift = Shift {
            config,
            directory: &directory,
            program,
            desk: Desk::new(&directory, mark),
            sender,
            news,
            given_up: BTreeMap::new(),
            unstarted: Vec::new(),
            cannot_start: None,
            jobs_run: 0,
            is_taking: true,
            is_idle: false,
        };
        shift.serve(scope)
    });
    output.flush();
    served
}

/// What the worker serves and what it finds, for whoever has started it.
fn greet(config: &Config, directory: &SharedDir, program: &str) {
    let version = env!("CARGO_PKG_VERSION");
    let shared = directory.path("").display().to_string();
    let timeout = config.timeout.map_or("none".to_owned(), |timeout| humantime::format_duration(timeout).to_string());
    let queue = match directory.read_status().map(|seen| seen.queue) {
        Ok(Ok(Some(queue))) => {
            let (waiting, running) = queue.waiting_and_running();
            format!("{waiting} waiting, {running} running")
        }
        Ok(Ok(None)) => "no status.json yet: is an agent running on this directory?".to_owned(),
        Ok(Err(broken)) => broken.to_string(),
        Err(error) => error.to_string(),
    };
    tracing::info!(version, shared, program, jobs = config.jobs, timeout, queue, "worker started");
}

/// What the thread of a job has to say.
enum News {
    Progress(JobId, Progress),
    Ended(Ended),
}

/// A job that is over.
struct Ended {
    id: JobId,
    end: Result<(), JobError>,
}

enum JobError {
    Failed(Failure),
    CannotStart(NotStartable),
}

/// The worker at work: one thread deals with the queue, and one more waits for each program.
struct Shift<'a> {
    config: &'a Config,
    directory: &'a SharedDir,
    program: Program<'a>,
    desk: Desk<'a>,
    sender: Sender<News>,
    news: Receiver<News>,
    /// Whether the program of each running job is to end before its time.
    given_up: BTreeMap<JobId, Arc<AtomicBool>>,
    /// Jobs for which the system had no thread left.
    unstarted: Vec<JobId>,
    cannot_start: Option<WorkerError>,
    jobs_run: usize,
    /// Whether further jobs are wanted.
    is_taking: bool,
    /// Whether it was said that nothing waits.
    is_idle: bool,
}

impl<'a> Shift<'a> {
    fn serve<'scope>(mut self, scope: &'scope Scope<'scope, '_>) -> Result<usize, WorkerError>
    where
        'a: 'scope,
    {
        let stop = self.program.stop;
        loop {
            for id in mem::take(&mut self.unstarted) {
                self.start(id, scope);
            }
            let is_last = stop.is_urgent() && self.desk.running() == 0;
            if is_last {
                self.desk.hurry();
            }
            self.is_taking &= !stop.is_asked() && self.cannot_start.is_none();
            let free = if self.is_taking { self.config.jobs - self.desk.running() } else { 0 };

            match self.desk.serve(free, Instant::now()) {
                Ok(claimed) => {
                    for id in claimed {
                        tracing::info!(uuid = %id, "started");
                        self.start(id, scope);
                    }
                    self.is_taking &= !self.config.once;
                }
                // Cron comes again, and nothing of its is lost.
                Err(error) if self.config.once && self.is_taking => return Err(error.into()),
                Err(_) => {}
            }

            self.end_given_up();
            if is_last || self.is_over() {
                break;
            }
            self.tell_idle();
            self.wait_for_news();
        }

        if self.desk.owed() > 0 {
            tracing::error!(jobs = self.desk.owed(), "giving up: jobs are over, but their entries do not say so");
        }
        match self.cannot_start {
            Some(error) => Err(error),
            None => Ok(self.jobs_run),
        }
    }

    /// Ends the programs of jobs that have an end already: they would only keep others waiting.
    fn end_given_up(&self) {
        for id in self.desk.given_up() {
            let Some(is_given_up) = self.given_up.get(id) else { continue };
            if !is_given_up.swap(true, Ordering::Relaxed) {
                tracing::warn!(uuid = %id, "somebody else has ended the job while its program runs; ending the program");
            }
        }
    }

    fn is_over(&self) -> bool {
        if self.is_taking || self.desk.running() > 0 {
            return false;
        }
        let has_waited = self.config.once && self.desk.missing_for(Instant::now()) >= MISSING_LIMIT_ONCE;
        has_waited || !self.desk.has_unsaid()
    }

    fn start<'scope>(&mut self, id: JobId, scope: &'scope Scope<'scope, '_>)
    where
        'a: 'scope,
    {
        self.is_idle = false;
        self.program.stop.set_running(self.desk.running());

        let (directory, program, sender) = (self.directory, self.program, self.sender.clone());
        let is_given_up = Arc::clone(self.given_up.entry(id).or_default());
        let run = move || {
            // The receiver lives as long as the scope's threads.
            let send = |news| drop(sender.send(news));
            let tell = |progress| send(News::Progress(id, progress));
            let talk = Talk { is_given_up: &is_given_up, tell: &tell };
            let end = run_job(directory, program, id, talk);
            send(News::Ended(Ended { id, end }));
        };
        let spawned = thread::Builder::new().spawn_scoped(scope, run);
        match spawned {
            Ok(_) => {}
            Err(error) if program::may_pass(&error) && !self.program.stop.is_urgent() => self.unstarted.push(id),
            Err(error) => {
                let end = Err(JobError::CannotStart(NotStartable::System(error)));
                self.take_in(Ended { id, end });
            }
        }
    }

    /// Waits for the end of a job, or until the next look is due.
    fn wait_for_news(&mut self) {
        let pause = if self.desk.is_due_now(Instant::now()) { Duration::ZERO } else { IDLE_PAUSE };
        match self.news.recv_timeout(pause) {
            Ok(news) => self.take_in_news(news),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
        // What has come meanwhile goes in the same update.
        while let Ok(news) = self.news.try_recv() {
            self.take_in_news(news);
        }
    }

    fn take_in_news(&mut self, news: News) {
        match news {
            News::Progress(id, progress) => self.desk.note_progress(id, progress),
            News::Ended(ended) => self.take_in(ended),
        }
    }

    fn take_in(&mut self, Ended { id, end }: Ended) {
        let error = match end {
            Ok(()) => {
                tracing::info!(uuid = %id, "done");
                None
            }
            Err(JobError::Failed(failure)) => {
                tracing::warn!(uuid = %id, error = failure.reason, "failed");
                Some(failure.error)
            }
            Err(JobError::CannotStart(reason)) => {
                let error = self.config.cannot_start(reason);
                tracing::error!(uuid = %id, %error, "failed; no other job is taken");
                let text = error.to_string();
                self.cannot_start.get_or_insert(error);
                Some(text)
            }
        };
        self.jobs_run += 1;
        self.given_up.remove(&id);
        self.desk.note_end(id, error);
        self.program.stop.set_running(self.desk.running());
    }

    fn tell_idle(&mut self) {
        let is_idle = self.is_taking && self.desk.running() == 0 && !self.desk.is_due_now(Instant::now());
        if is_idle && !self.is_idle {
            tracing::info!("waiting for jobs");
        }
        self.is_idle |= is_idle;
    }
}

/// Runs the program on the job, and takes what it has written.
fn run_job(directory: &SharedDir, program: Program<'_>, id: JobId, talk: Talk<'_>) -> Result<(), JobError> {
    let request = directory.path(&layout::request(id));
    let response = Response::new(directory, id, program.stop);

    let ran = program.run(&request, &directory.running_path(id), talk);
    let (ending, words) = ran.map_err(|reason| JobError::CannotStart(NotStartable::System(reason)))?;
    let failure = match ending {
        Ending::Exited(status) if status.success() => match response.take() {
            Ok(()) => return Ok(()),
            Err(reason) => Failure::with_words(reason, &words),
        },
        Ending::Exited(status) => Failure::of_exit(status, &words),
        Ending::TimedOut(timeout) => Failure::of_timeout(timeout, &words),
        Ending::Stopped => Failure::of_stop(),
        Ending::GivenUp => Failure::of_given_up(),
    };
    Err(JobError::Failed(failure))
}
