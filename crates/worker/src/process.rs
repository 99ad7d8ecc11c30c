//! Which process this is, and whether another one still lives.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::process;

use bcrlapi_directory::Digest;
use bcrlapi_exchange::WorkerMark;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// Where the fields of /proc/PID/stat stand after the name, which may have spaces itself.
const STATE: usize = 0;
const START: usize = 19;
/// The namespace of pids of a host's own processes; containers have others.
const NAMESPACE_OF_HOST: u64 = 0xefff_fffc;

/// The mark of this process.
pub(crate) fn own_mark() -> io::Result<WorkerMark> {
    let word_in = |path| fs::read_to_string(path).map(|text| text.trim().to_owned());
    let fields = fs::read_to_string("/proc/self/stat")?;
    let start = start_in(&fields).ok_or(io::ErrorKind::InvalidData)?;
    let namespace = fs::metadata("/proc/self/ns/pid").ok().map(|namespace| namespace.ino());
    Ok(WorkerMark {
        host: word_in("/proc/sys/kernel/hostname")?,
        machine: fs::read("/etc/machine-id").ok().and_then(|id| machine_of(&id)),
        boot: word_in("/proc/sys/kernel/random/boot_id")?,
        pid: process::id(),
        start,
        pid_namespace: namespace.filter(|namespace| *namespace != NAMESPACE_OF_HOST),
    })
}

/// A name for this machine, made from its id: the id itself is a secret. `None` where an image has
/// left the id empty.
fn machine_of(id: &[u8]) -> Option<String> {
    const ID_DIGITS: usize = 32;
    let id = id.trim_ascii();
    let is_id = id.len() == ID_DIGITS && id.iter().all(u8::is_ascii_hexdigit);
    is_id.then(|| Digest::of(&[b"bcrlapi-worker", id].concat()).short())
}

/// Whether whoever has started this process wants it to go on after a hang-up, as nohup(1) does.
pub fn ignores_hang_up() -> bool {
    const HANG_UP: u64 = 1;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & HANG_UP != 0)
}

/// Whether the process that has this pid is the one that was started then. Where the system does
/// not show processes of other users (hidepid), one that has the pid counts as that one.
pub(crate) fn is_alive(pid: u32, start: u64) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    if test_kill_process(pid) == Err(Errno::SRCH) {
        return false;
    }
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(fields) => start_in(&fields).is_none_or(|other| other == start),
        Err(_) => true,
    }
}

/// When the process was started. One that is dead, and whose parent has not looked, never was.
fn start_in(stat: &str) -> Option<u64> {
    const DEAD: u64 = u64::MAX;
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    if matches!(*fields.get(STATE)?, "Z" | "X") {
        return Some(DEAD);
    }
    fields.get(START)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_known_by_its_pid_and_its_start() {
        let own = own_mark().unwrap();
        assert!(is_alive(own.pid, own.start));
        assert!(!is_alive(own.pid, own.start + 1), "another one had the pid before");
        assert_ne!((own.host.as_str(), own.boot.as_str()), ("", ""));
    }

    #[test]
    fn a_machine_has_a_name_that_does_not_tell_its_id() {
        let id = b"5f0c5f0c5f0c5f0c5f0c5f0c5f0c5f0c\n";
        let name = machine_of(id).unwrap();
        assert!(name.len() >= 16 && !name.contains("5f0c5f0c"), "{name}");
        assert_eq!(machine_of(b"\n").or_else(|| machine_of(b"uninitialized\n")), None);
    }

    #[test]
    fn a_process_that_has_ended_is_not_alive() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = child.id();
        let start = start_in(&fs::read_to_string(format!("/proc/{pid}/stat")).unwrap()).unwrap();
        child.wait().unwrap();
        assert!(!is_alive(pid, start));
    }

    #[test]
    fn a_name_with_brackets_and_spaces_hides_nothing() {
        let after = "S 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 190233 1 1";
        assert_eq!(start_in(&format!("7 (a ) b) {after}")), Some(190_233));
    }
}
