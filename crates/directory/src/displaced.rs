//! The queues that were displaced by newer ones.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;

use bcrlapi_exchange::layout;

use crate::{DirectoryError, Fingerprint, Lock, SeenStatus, SharedDir, durable};

impl SharedDir {
    /// Every displaced queue that lingers, by its inode's number.
    pub fn displaced(&self) -> Result<Vec<(u64, Fingerprint)>, DirectoryError> {
        let folder = self.path(layout::DISPLACED_DIR);
        let mut found = Vec::new();
        for file in fs::read_dir(&folder).map_err(DirectoryError::at(&folder))? {
            let file = file.map_err(DirectoryError::at(&folder))?;
            let Some(inode) = file.file_name().to_str().and_then(layout::displaced_inode) else { continue };
            match file.metadata() {
                Ok(metadata) if metadata.is_file() => found.push((inode, Fingerprint::of(&metadata))),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(DirectoryError::at(&file.path())(error)),
            }
        }
        Ok(found)
    }

    /// Reads a displaced queue.
    pub fn read_displaced(&self, inode: u64) -> Result<SeenStatus, DirectoryError> {
        self.read_queue(&layout::displaced(inode))
    }

    /// Removes a displaced queue.
    pub fn discard_displaced(&self, inode: u64) -> Result<(), DirectoryError> {
        durable::remove(&self.path(&layout::displaced(inode)))
    }

    /// Puts what a crash has left where queues are staged among the displaced. Takes the lock only if there is
    /// something.
    pub fn adopt_leftover(&self) -> Result<(), DirectoryError> {
        match fs::symlink_metadata(self.path(layout::STATUS_STAGED)) {
            Ok(_) => self.adopt_displaced(&self.lock()?),
            Err(_) => Ok(()),
        }
    }

    /// Puts what stands where queues are staged among the displaced. After an exchange, that is the old queue. After a
    /// crash it may also be a new one that never got its place: taking that for an old one does no harm.
    pub(crate) fn adopt_displaced(&self, _lock: &Lock) -> Result<(), DirectoryError> {
        let staged = self.path(layout::STATUS_STAGED);
        let inode = match fs::symlink_metadata(&staged) {
            Ok(metadata) => metadata.ino(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(DirectoryError::at(&staged)(error)),
        };
        fs::rename(&staged, self.path(&layout::displaced(inode))).map_err(DirectoryError::at(&staged))
    }
}
