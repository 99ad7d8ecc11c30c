use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{Statx, makedev};

/// Tells one content of a file from another without reading it: which file it is, how long, when it
/// was last written, and when anything about it last changed. Two writes within one tick of the
/// file system's clock look alike: what must not be missed is told apart by its
/// [`Digest`](crate::Digest).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    device: u64,
    inode: u64,
    size_bytes: u64,
    modified: (i64, i64),
    /// Also changes where a tool sets `modified` back (rsync, cp -p, git).
    changed: (i64, i64),
}

impl Fingerprint {
    /// The fingerprint that the file's metadata make.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size_bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    pub(crate) fn of_statx(stat: &Statx) -> Self {
        Self {
            device: makedev(stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            size_bytes: stat.stx_size,
            modified: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec.into()),
            changed: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec.into()),
        }
    }

    /// How many bytes the file has.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Whether both are the same file, whatever it holds.
    pub(crate) fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// Seconds and nanoseconds since 1970 by the file system's clock, when anything about the file
    /// last changed.
    pub(crate) fn changed(&self) -> (i64, i64) {
        self.changed
    }
}
