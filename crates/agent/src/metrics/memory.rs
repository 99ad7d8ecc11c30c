//! How much memory this process has, and how much it may have.

use std::fs;
use std::path::{Path, PathBuf};

const STATUS: &str = "/proc/self/status";
const CGROUP: &str = "/proc/self/cgroup";
/// Where control groups are mounted, the first version's for memory in a folder of their own.
const CGROUPS: &str = "/sys/fs/cgroup";
const CGROUPS_V1: &str = "/sys/fs/cgroup/memory";
/// The first version of control groups writes no word for "no limit", but as many whole pages as
/// fit into 63 bits.
const NO_LIMIT_BYTES: u64 = 1 << 62;

/// The memory in use: what is resident, as the limit counts it. `None` where there is no `/proc`.
pub(super) fn used_bytes() -> Option<u64> {
    resident_bytes(&fs::read_to_string(STATUS).ok()?)
}

/// The memory beyond which the system ends the process: the smallest limit of its control groups,
/// as a unit's `MemoryMax` or a container's `mem_limit` sets it. `None` where there is none, or it
/// cannot be read.
pub(super) fn limit_bytes() -> Option<u64> {
    let groups = fs::read_to_string(CGROUP).ok()?;
    let limits = limit_files(&groups).into_iter().filter_map(|file| fs::read_to_string(file).ok());
    limits.filter_map(|text| limit(&text)).min()
}

/// From a line such as `VmRSS:     12345 kB`. Not from `statm`, which counts in pages of a size
/// that has to be asked for.
fn resident_bytes(status: &str) -> Option<u64> {
    const KIB: u64 = 1024;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kib * KIB)
}

/// The files that may hold a limit: of the process's own group, and of each that this one is in.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();

    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };

        let (mount, file) = match controllers {
            "" => (CGROUPS, "memory.max"),
            some if some.split(',').any(|controller| controller == "memory") => (CGROUPS_V1, "memory.limit_in_bytes"),
            _ => continue,
        };
        let group = Path::new(group.trim_start_matches('/'));
        files.extend(group.ancestors().map(|ancestor| Path::new(mount).join(ancestor).join(file)));
    }

    files
}

fn limit(text: &str) -> Option<u64> {
    let bytes: u64 = text.trim().parse().ok()?;
    (bytes < NO_LIMIT_BYTES).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_resident_is_read_from_its_line() {
        let status = "Name:\tbcrlapi-agent\nVmHWM:\t   20000 kB\nVmRSS:\t   11264 kB\nRssAnon:\t    5000 kB\n";
        assert_eq!(resident_bytes(status), Some(11_534_336));
        assert_eq!(resident_bytes("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn this_process_has_some_memory() {
        assert!(used_bytes().is_some_and(|bytes| bytes > 100_000));
    }

    #[test]
    fn a_limit_is_looked_for_in_the_own_group_and_in_those_around_it() {
        let files = |groups: &str| -> Vec<String> {
            limit_files(groups).into_iter().map(|file| file.display().to_string()).collect()
        };

        assert_eq!(
            files("0::/system.slice/bcrlapi-agent.service\n"),
            [
                "/sys/fs/cgroup/system.slice/bcrlapi-agent.service/memory.max",
                "/sys/fs/cgroup/system.slice/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
        );
        assert_eq!(
            files("12:cpu,cpuacct:/a\n4:memory:/a\n1:name=systemd:/a\n"),
            ["/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        );
        assert_eq!(files("0::/\n"), ["/sys/fs/cgroup/memory.max"]);
        assert_eq!(files(""), Vec::<String>::new());
    }

    #[test]
    fn no_limit_is_said_by_a_word_or_by_a_number_that_no_machine_has() {
        assert_eq!(limit("536870912\n"), Some(536_870_912));
        assert_eq!(limit("max\n"), None);
        assert_eq!(limit("9223372036854771712\n"), None);
    }
}
