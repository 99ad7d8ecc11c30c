use serde::{Deserialize, Serialize};

/// Which process runs a job: what `bcrlapi-worker` writes into the entry that it claims, under
/// `worker`.
///
/// ```json
/// "worker": {"host": "app1", "boot": "5f0c…", "pid": 4711, "start": 190233}
/// ```
///
/// By it a worker finds at its start what an earlier one has left in `processing`, and the agent
/// knows that a response which nobody writes to may still be one that a program works on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerMark {
    /// The name of the host.
    pub host: String,
    /// What tells this machine from all others: made from `/etc/machine-id`, which stays a secret.
    /// Containers have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The id of the host's boot, as in `/proc/sys/kernel/random/boot_id`.
    pub boot: String,
    /// The worker's process.
    pub pid: u32,
    /// When that process was started, in the kernel's ticks since the boot: a pid is used again.
    pub start: u64,
    /// The namespace of the pid, where a container has one of its own: what another one calls by
    /// this number is another process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_namespace: Option<u64>,
}

/// Why a job that another worker has marked will never be ended by that worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orphaned {
    /// The host has been started anew since.
    Restarted,
    /// The worker's process is gone.
    Killed,
}

impl WorkerMark {
    /// Names that many hosts have: by such a name, one host is not told from another.
    const COMMON_HOSTS: [&str; 4] = ["", "(none)", "localhost", "localhost.localdomain"];

    /// What has become of the worker that set this mark, as far as the process `own` can tell: only
    /// for its own host. `is_gone` says whether the worker itself is gone, for certain.
    pub fn orphaned(&self, own: &Self, is_gone: impl FnOnce(&Self) -> bool) -> Option<Orphaned> {
        // The same boot is the same host, whatever its name.
        let orphaned = if self.boot == own.boot {
            Orphaned::Killed
        } else if self.is_of_same_host(own) {
            Orphaned::Restarted
        } else {
            return None;
        };
        is_gone(self).then_some(orphaned)
    }

    /// Whether both are of one host, which has been restarted between them. Names are chosen by
    /// people, who may give one to two hosts: where both know their machine, that counts too.
    fn is_of_same_host(&self, other: &Self) -> bool {
        let is_same_machine = match (&self.machine, &other.machine) {
            (Some(machine), Some(other)) => machine == other,
            _ => true,
        };
        is_same_machine && self.host == other.host && !Self::COMMON_HOSTS.contains(&self.host.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(host: &str, boot: &str) -> WorkerMark {
        WorkerMark { host: host.into(), machine: None, boot: boot.into(), pid: 7, start: 70, pid_namespace: Some(1) }
    }

    #[test]
    fn a_worker_is_gone_with_its_boot_or_its_process() {
        let own = mark("app1", "now");
        let gone = |mark: &WorkerMark| mark.orphaned(&own, |_| true);
        assert_eq!(gone(&mark("app1", "before")), Some(Orphaned::Restarted));
        assert_eq!(gone(&mark("app1", "now")), Some(Orphaned::Killed));
        assert_eq!(gone(&mark("a container", "now")), Some(Orphaned::Killed));
        assert_eq!(mark("app1", "now").orphaned(&own, |_| false), None);
    }

    #[test]
    fn hosts_of_one_name_are_told_apart_by_their_machines() {
        let of = |machine: Option<&str>, boot| WorkerMark { machine: machine.map(str::to_owned), ..mark("app1", boot) };
        let own = of(Some("a"), "now");
        assert_eq!(of(Some("b"), "before").orphaned(&own, |_| true), None);
        assert_eq!(of(Some("a"), "before").orphaned(&own, |_| true), Some(Orphaned::Restarted));
        assert_eq!(of(None, "before").orphaned(&own, |_| true), Some(Orphaned::Restarted));
        assert_eq!(of(None, "before").orphaned(&own, |_| false), None, "it holds its lock");
    }

    #[test]
    fn nothing_is_said_of_other_hosts() {
        let own = mark("app1", "now");
        assert_eq!(mark("app2", "before").orphaned(&own, |_| true), None);

        let nameless = mark("localhost", "now");
        let other = mark("localhost", "before").orphaned(&nameless, |_| true);
        assert_eq!(other, None, "every other host may be called so too");
    }
}
