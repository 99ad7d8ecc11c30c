use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// Tells one content of a file from another without reading it: which file it is, how long, and when last written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    device: u64,
    inode: u64,
    size_bytes: u64,
    modified: (i64, i64),
}

impl Fingerprint {
    /// The fingerprint that the file's metadata make.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size_bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}
