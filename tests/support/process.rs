use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

/// A process that ends with the test, and whose stderr is shown if the test fails.
#[derive(Debug)]
pub struct Process {
    child: Child,
    program: String,
    log: PathBuf,
}

impl Process {
    /// Starts the command, with its stderr in a file of `directory`.
    pub fn start(command: &mut Command, directory: &Path) -> Self {
        let log = directory.join(format!("{}.log", uuid::Uuid::now_v7()));
        let stderr = File::create(&log).expect("a log file can be made");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn();
        let child = child.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let program = Path::new(command.get_program()).file_name().expect("a program has a name");
        Self { child, program: program.to_string_lossy().into_owned(), log }
    }

    /// Ends it at once, as a power cut would.
    pub fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }

    /// Its id.
    pub fn pid(&self) -> Pid {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process has an id")
    }

    /// The most memory that it has had resident, in KiB.
    pub fn peak_memory_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel knows its peak");
        peak.trim().trim_end_matches(" kB").parse().expect("the peak is a number")
    }

    /// Asks it to stop, as systemd would.
    pub fn ask_to_stop(&self) {
        kill_process(self.pid(), Signal::TERM).expect("it can be signalled");
    }

    /// Waits for its end.
    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("it can be waited for")
    }

    /// Asks it to stop and waits for its end.
    pub fn terminate(self) -> ExitStatus {
        self.ask_to_stop();
        self.wait()
    }

    /// Whether it runs this program.
    pub fn is_a(&self, program: &str) -> bool {
        self.program == program
    }

    /// What it has written to stderr so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- stderr of process {}:\n{}", self.child.id(), self.log());
        }
    }
}
