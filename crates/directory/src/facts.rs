//! What the system says of a file.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use rustix::fs::{FileType, Statx};

use crate::Fingerprint;

/// What the system says of a file or folder, asked of the server and not of a cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub fingerprint: Fingerprint,
    pub kind: FileType,
    pub mode: u32,
    pub owner: u32,
    pub group: u32,
    pub links: u64,
    pub modified: SystemTime,
}

impl Facts {
    pub(crate) fn of_statx(stat: &Statx) -> Self {
        let mode = u32::from(stat.stx_mode);
        Self {
            fingerprint: Fingerprint::of_statx(stat),
            kind: FileType::from_raw_mode(mode),
            mode,
            owner: stat.stx_uid,
            group: stat.stx_gid,
            links: stat.stx_nlink.into(),
            modified: time(stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
        }
    }

    pub(crate) fn of_metadata(metadata: &Metadata) -> Self {
        let nanoseconds = u32::try_from(metadata.mtime_nsec()).unwrap_or_default();
        Self {
            fingerprint: Fingerprint::of(metadata),
            kind: FileType::from_raw_mode(metadata.mode()),
            mode: metadata.mode(),
            owner: metadata.uid(),
            group: metadata.gid(),
            links: metadata.nlink(),
            modified: time(metadata.mtime(), nanoseconds),
        }
    }

    pub(crate) fn is_file(&self) -> bool {
        self.kind == FileType::RegularFile
    }
}

/// A time that no clock can hold (a damaged file system) counts as 1970.
fn time(seconds: i64, nanoseconds: u32) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let second =
        if seconds < 0 { SystemTime::UNIX_EPOCH.checked_sub(whole) } else { SystemTime::UNIX_EPOCH.checked_add(whole) };
    second
        .and_then(|second| second.checked_add(Duration::from_nanos(nanoseconds.into())))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}
