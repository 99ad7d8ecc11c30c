//! Running the lab's program on one job.

use std::collections::VecDeque;
use std::env;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bcrlapi_domain::limits::ERROR_MAX_CHARS;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::Stop;

/// How often a running program is looked at.
const WATCH_STEP: Duration = Duration::from_millis(10);
/// How long stderr may stay open after the program's end: a child it left behind may hold it.
const STDERR_GRACE: Duration = Duration::from_secs(1);
/// What is kept of stderr: enough for [`ERROR_MAX_CHARS`] of the longest characters.
const STDERR_TAIL_BYTES: usize = ERROR_MAX_CHARS * 4;

/// Looks for a program as a shell would: a path as it is, a name on the `PATH`.
pub(crate) fn find(program: &str) -> io::Result<()> {
    let is_there = if program.contains('/') {
        Path::new(program).is_file()
    } else {
        let folders = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&folders).any(|folder| folder.join(program).is_file())
    };
    if is_there { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// Runs `COMMAND... REQUEST RESPONSE` to its end; gives what went wrong, if anything did. Fails if it cannot be
/// started.
///
/// The program gets a process group of its own: Ctrl-C at the worker's terminal is for the worker.
pub(crate) fn run(command: &[String], request: &Path, response: &Path, stop: &Stop) -> io::Result<Option<String>> {
    let (name, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut child = Command::new(name)
        .args(arguments)
        .args([request, response])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let tail = Tail::default();
    let reader = child.stderr.take().map(|stderr| tail.follow(stderr));
    let (status, was_ended) = wait(&mut child, stop)?;
    let deadline = Instant::now() + STDERR_GRACE;
    while reader.as_ref().is_some_and(|reader| !reader.is_finished()) && Instant::now() < deadline {
        thread::sleep(WATCH_STEP);
    }
    if was_ended {
        return Ok(Some("the worker was stopped before the program had finished".to_owned()));
    }
    Ok((!status.success()).then(|| tail.text().unwrap_or_else(|| describe(status))))
}

/// Waits for the program's end; ends it where the worker must go at once, and says so.
fn wait(child: &mut Child, stop: &Stop) -> io::Result<(ExitStatus, bool)> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status, false));
        }
        if stop.is_urgent() {
            let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            if group.is_none_or(|group| kill_process_group(group, Signal::KILL).is_err()) {
                child.kill()?;
            }
            return Ok((child.wait()?, true));
        }
        thread::sleep(WATCH_STEP);
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("the program exited with code {code} and wrote nothing to stderr"),
        (None, Some(signal)) => format!("the program was ended by signal {signal}"),
        (None, None) => "the program failed".to_owned(),
    }
}

/// The end of what a program writes to stderr, while all of it passes on to the worker's own.
#[derive(Clone, Default)]
struct Tail(Arc<Mutex<VecDeque<u8>>>);

impl Tail {
    fn follow(&self, mut stderr: ChildStderr) -> thread::JoinHandle<()> {
        let tail = self.clone();
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(length @ 1..) = stderr.read(&mut chunk) {
                let chunk = &chunk[..length];
                // Nobody may be reading the worker's stderr; the program's work goes on.
                let _ = io::stderr().write_all(chunk);
                let mut kept = tail.0.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend(chunk);
                let surplus = kept.len().saturating_sub(STDERR_TAIL_BYTES);
                kept.drain(..surplus);
            }
        })
    }

    /// The last [`ERROR_MAX_CHARS`] characters; `None` if there is nothing but white space.
    fn text(&self) -> Option<String> {
        let bytes: Vec<u8> = self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim();
        let surplus = text.chars().count().saturating_sub(ERROR_MAX_CHARS);
        (!text.is_empty()).then(|| text.chars().skip(surplus).collect())
    }
}
