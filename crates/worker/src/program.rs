//! Running the lab's program on one job.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::Stop;
use crate::failure::LastWords;
use crate::output::{Output, Pipe, Progress, Stream};
use crate::trouble::Trouble;

/// How often at most it is told how far a program is: each time writes the whole queue.
const PROGRESS_PAUSE: Duration = Duration::from_secs(5);
/// How long a start that fails for want of something is tried again, and the pause between two tries.
const START_LIMIT: Duration = Duration::from_mins(10);
const START_PAUSE: Duration = Duration::from_millis(200);
/// How often a running program is looked at: a stop is heard so soon.
const WATCH_STEP: Duration = Duration::from_millis(100);
/// The shortest step where the system does not tell when a process ends (Linux before 5.3): an
/// eighth of the time that the program has run, between these two.
const WATCH_STEP_MIN: Duration = Duration::from_millis(1);
/// How long a program that is to end before its time may take to end by itself.
const END_GRACE: Duration = Duration::from_secs(10);
/// How long the rest of its output may wait for whoever reads the worker's.
const OUTPUT_GRACE: Duration = Duration::from_secs(1);

/// What is the same for each run of the program.
#[derive(Clone, Copy)]
pub(crate) struct Program<'a> {
    pub(crate) command: &'a [String],
    pub(crate) timeout: Option<Duration>,
    pub(crate) stop: &'a Stop,
    pub(crate) output: &'a Output,
}

/// How a run came to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    /// By itself.
    Exited(ExitStatus),
    /// It had run for longer than it may.
    TimedOut(Duration),
    /// The worker had to go at once.
    Stopped,
    /// Somebody else has ended the job.
    GivenUp,
}

impl Program<'_> {
    /// Runs `COMMAND... REQUEST RESPONSE` to its end. Fails if it cannot be started.
    ///
    /// The program gets a process group of its own: Ctrl-C at the worker's terminal is for the
    /// worker.
    pub(crate) fn run(self, request: &Path, response: &Path, talk: Talk<'_>) -> io::Result<(Ending, LastWords)> {
        let (name, arguments) = self.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(name);
        command
            .args(arguments)
            .args([request, response])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = self.start(&mut command)?;

        let pipes = [Pipe::new(Stream::Stdout, child.stdout.take()), Pipe::new(Stream::Stderr, child.stderr.take())];
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pidfd = group.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let mut run = Run { child, group, pidfd, pipes, started: Instant::now() };

        let ending = run.watch(self, talk)?;
        Ok((ending, run.last_words(self.output)))
    }

    /// Starts the program, within a limit: what the system has too little of for a moment is no
    /// fault of the job.
    fn start(self, command: &mut Command) -> io::Result<Child> {
        let give_up_at = Instant::now() + START_LIMIT;
        let mut trouble = Trouble::default();
        loop {
            let error = match command.spawn() {
                Ok(child) => return Ok(child),
                Err(error) => error,
            };
            if !may_pass(&error) || self.stop.is_urgent() || Instant::now() >= give_up_at {
                return Err(error);
            }

            if trouble.is_to_be_told(Instant::now()) {
                tracing::warn!(%error, "cannot start a program now; trying again");
            }
            thread::sleep(START_PAUSE);
        }
    }
}

/// Whether the system may start a program, or a thread, a little later: it has no process, no
/// memory or no descriptor left now, or somebody is just writing the program's file.
pub(crate) fn may_pass(error: &io::Error) -> bool {
    const PASSING: [Errno; 5] = [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE, Errno::TXTBSY];
    Errno::from_io_error(error).is_some_and(|error| PASSING.contains(&error))
}

/// What a run and the worker have to say to each other before its end.
#[derive(Clone, Copy)]
pub(crate) struct Talk<'a> {
    /// The program is to end before its time.
    pub(crate) is_given_up: &'a AtomicBool,
    /// How far the program is.
    pub(crate) tell: &'a dyn Fn(Progress),
}

/// A program that runs.
struct Run {
    child: Child,
    group: Option<Pid>,
    /// Becomes readable when the process ends.
    pidfd: Option<OwnedFd>,
    pipes: [Pipe; 2],
    started: Instant,
}

impl Run {
    fn watch(&mut self, program: Program<'_>, talk: Talk<'_>) -> io::Result<Ending> {
        let mut ended_as = None;
        let (mut told, mut tell_at) = (None, self.started + PROGRESS_PAUSE);
        let mut kill_at = None;
        loop {
            if let Some(status) = self.child.try_wait()? {
                let ending = ended_as.unwrap_or(Ending::Exited(status));
                if !matches!(ending, Ending::Exited(_)) {
                    // What it has started goes with it.
                    self.signal(Signal::KILL);
                }
                return Ok(ending);
            }

            let now = Instant::now();
            let ran = now - self.started;
            let is_stopped = matches!(ended_as, Some(Ending::Stopped));
            if program.stop.is_urgent() && !is_stopped {
                ended_as = Some(Ending::Stopped);
                self.signal(Signal::KILL);
            }
            if ended_as.is_none() {
                let timed_out = program.timeout.filter(|timeout| ran >= *timeout).map(Ending::TimedOut);
                let given_up = talk.is_given_up.load(Ordering::Relaxed).then_some(Ending::GivenUp);
                ended_as = timed_out.or(given_up);
                if ended_as.is_some() {
                    kill_at = Some(now + END_GRACE);
                    self.signal(Signal::TERM);
                }
            }
            if kill_at.is_some_and(|kill_at| now >= kill_at) {
                kill_at = None;
                self.signal(Signal::KILL);
            }

            let until_timeout = program.timeout.map_or(WATCH_STEP, |timeout| timeout.saturating_sub(ran));
            let step = if ended_as.is_some() { WATCH_STEP } else { until_timeout };
            self.wait(step.clamp(WATCH_STEP_MIN, WATCH_STEP));
            self.read(program.output);

            if now >= tell_at {
                tell_at = now + PROGRESS_PAUSE;
                let progress = self.pipes.iter_mut().find_map(Pipe::progress);
                if let Some(progress) = progress.filter(|progress| told.as_ref() != Some(progress)) {
                    (talk.tell)(progress.clone());
                    told = Some(progress);
                }
            }
        }
    }

    /// Signals the program and what it has started.
    fn signal(&mut self, signal: Signal) {
        let is_sent = self.group.is_some_and(|group| kill_process_group(group, signal).is_ok());
        if !is_sent && signal == Signal::KILL {
            // It may have gone by itself: the next look says so.
            let _ = self.child.kill();
        }
    }

    /// Waits until there is something to read, or the process has ended, or the step is over.
    fn wait(&self, step: Duration) {
        let step = match self.pidfd {
            Some(_) => step,
            None => step.min((self.started.elapsed() / 8).max(WATCH_STEP_MIN)),
        };
        let timeout = Timespec::try_from(step).ok();
        let pipes = self.pipes.iter().filter_map(Pipe::to_read);
        let all = pipes.chain(self.pidfd.iter().map(AsFd::as_fd));
        let mut fds: Vec<PollFd<'_>> = all.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        // Interrupted is as good as over.
        let _ = poll(&mut fds, timeout.as_ref());
    }

    /// Reads what is there, and no more than that. Says whether there was anything.
    fn read(&mut self, output: &Output) -> bool {
        let mut has_read = false;
        for pipe in &mut self.pipes {
            pipe.pass_held(output);
            let Some(fd) = pipe.to_read() else { continue };
            let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
            let is_ready = poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0);
            if is_ready {
                pipe.read(output);
                has_read = true;
            }
        }
        has_read
    }

    /// Reads the rest of what the program has written before it ended.
    fn last_words(mut self, output: &Output) -> LastWords {
        // It has told what it had to: that the process has ended.
        self.pidfd = None;
        let give_up_at = Instant::now() + OUTPUT_GRACE;
        while Instant::now() < give_up_at {
            let has_read = self.read(output);
            let is_held = self.pipes.iter().any(Pipe::is_held);
            if !has_read && !is_held {
                break;
            }
            if is_held {
                self.wait(WATCH_STEP_MIN);
            }
        }
        let [stdout, stderr] = self.pipes;
        LastWords { stdout: stdout.close(output), stderr: stderr.close(output) }
    }
}
