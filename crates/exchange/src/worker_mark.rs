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
    /// for its own host. `is_gone` says whether a worker of the same boot is gone for certain.
    pub fn orphaned(&self, own: &Self, is_gone: impl FnOnce(&Self) -> bool) -> Option<Orphaned> {
        let is_own_host = self.host == own.host && !Self::COMMON_HOSTS.contains(&self.host.as_str());
        if self.boot == own.boot {
            // The same boot is the same host, whatever its name.
            return is_gone(self).then_some(Orphaned::Killed);
        }

        is_own_host.then_some(Orphaned::Restarted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(host: &str, boot: &str) -> WorkerMark {
        WorkerMark { host: host.into(), boot: boot.into(), pid: 7, start: 70, pid_namespace: Some(1) }
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
    fn nothing_is_said_of_other_hosts() {
        let own = mark("app1", "now");
        assert_eq!(mark("app2", "before").orphaned(&own, |_| true), None);

        let nameless = mark("localhost", "now");
        let other = mark("localhost", "before").orphaned(&nameless, |_| true);
        assert_eq!(other, None, "every other host may be called so too");
    }
}
