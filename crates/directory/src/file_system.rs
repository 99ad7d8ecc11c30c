use std::fs;

use rustix::fs::{AtFlags, StatxFlags, fstatfs, statx};

use crate::DirectoryError;
use crate::folder::Folder;

/// The number by which the system names a file system, and the name that people know.
const NAMES: [(u64, &str); 18] = [
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x0102_1994, "tmpfs"),
    (0x794c_7630, "overlay"),
    (0x4d44, "vfat"),
    (0x2011_bab0, "exfat"),
    (0x7366_746e, "ntfs3"),
    (0x2fc1_2fc1, "zfs"),
    (0x6969, "nfs"),
    (0x517b, "smb"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb3"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "ceph"),
    (0x5346_414f, "afs"),
    (0x0bd0_0bd0, "lustre"),
    (0x6573_5546, "fuse"),
];

/// File systems whose files other computers, or other mounts, may change too.
const OF_NETWORKS: [&str; 20] = [
    "9p",
    "acfs",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "drvfs",
    "gfs2",
    "glusterfs",
    "gpfs",
    "lustre",
    "nfs",
    "nfs4",
    "ocfs2",
    "orangefs",
    "smb",
    "smb3",
    "vboxsf",
    "virtiofs",
];

/// Which file system a directory is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Its type, as mount(8) says it: `ext4`, `nfs4`, `fuse.sshfs`.
    pub name: String,
    /// Whether a lock may not reach all who have the files, and names and times may come from a
    /// cache.
    pub is_network_or_fuse: bool,
}

impl FileSystem {
    pub(crate) fn of(folder: &Folder) -> Result<Self, DirectoryError> {
        let name = match name_in_mounts(folder) {
            Some(name) => name,
            None => name_by_number(folder)?,
        };
        Ok(Self::named(name))
    }

    fn named(name: String) -> Self {
        // fuseblk is a disk of one computer under a FUSE program (ntfs-3g): there is no other mount
        // of it.
        let is_fuse = name.starts_with("fuse") && name != "fuseblk";
        let is_network_or_fuse = is_fuse || OF_NETWORKS.contains(&name.as_str());
        Self { name, is_network_or_fuse }
    }
}

/// The type that the system's list of mounts gives: for FUSE, only that says what is behind it.
fn name_in_mounts(folder: &Folder) -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let stat = statx(folder, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    let has_mount_id = stat.stx_mask & StatxFlags::MNT_ID.bits() != 0;
    let device = format!("{}:{}", stat.stx_dev_major, stat.stx_dev_minor);
    let is_its = |line: &&str| {
        let mut fields = line.split(' ');
        let (id, _parent, line_device) = (fields.next(), fields.next(), fields.next());
        if has_mount_id { id == Some(&stat.stx_mnt_id.to_string()) } else { line_device == Some(&device) }
    };
    let (_, after) = mounts.lines().rev().find(is_its)?.split_once(" - ")?;
    after.split(' ').next().map(str::to_owned)
}

fn name_by_number(folder: &Folder) -> Result<String, DirectoryError> {
    let found = fstatfs(folder).map_err(|error| folder.error("", error))?;
    let number = u64::try_from(found.f_type).unwrap_or_default();
    let known = NAMES.iter().find(|(known, _)| *known == number);
    Ok(known.map_or_else(|| format!("type {number:#x}"), |(_, name)| (*name).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_may_change_too_is_told_from_the_disks_of_one_computer() {
        for (name, is_shared) in [
            ("ext4", false),
            ("xfs", false),
            ("tmpfs", false),
            ("fuseblk", false),
            ("fuse.sshfs", true),
            ("fuse", true),
            ("nfs4", true),
            ("cifs", true),
            ("9p", true),
        ] {
            assert_eq!(FileSystem::named(name.to_owned()).is_network_or_fuse, is_shared, "{name}");
        }
    }
}
