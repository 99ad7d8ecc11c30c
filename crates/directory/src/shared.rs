use std::fs::{self, File};
use std::path::{Path, PathBuf};

use bcrlapi_domain::JobId;
use bcrlapi_exchange::layout;

use crate::{DirectoryError, Lock, durable};

/// The shared directory: one place on disk, with the verbs of the protocol.
#[derive(Clone, Debug)]
pub struct SharedDir {
    root: PathBuf,
}

impl SharedDir {
    /// Opens the directory and makes its folders where they are missing.
    pub fn open(root: &Path) -> Result<Self, DirectoryError> {
        for folder in [layout::REQUEST_DIR, layout::DISPLACED_DIR, layout::RESPONSE_DIR] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).map_err(DirectoryError::at(&folder))?;
        }
        let root = root.canonicalize().map_err(DirectoryError::at(root))?;
        Ok(Self { root })
    }

    /// The full path of a name of the [`layout`].
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Takes the lock that guards the queue; waits for another holder, within a limit.
    pub fn lock(&self) -> Result<Lock, DirectoryError> {
        Lock::acquire(&self.path(layout::STATUS_LOCK))
    }

    /// Whether the job's request file is there.
    pub fn has_request(&self, id: JobId) -> bool {
        fs::symlink_metadata(self.path(&layout::request(id))).is_ok_and(|metadata| metadata.is_file())
    }

    /// Writes the job's request file, durably and in one step.
    pub fn write_request(&self, id: JobId, content: &[u8]) -> Result<(), DirectoryError> {
        let staged = self.path(&layout::request_staged(id));
        durable::stage(&staged, content, None)?;
        durable::put_in_place(&staged, &self.path(&layout::request(id)))
    }

    /// The job's response file; none where the APP has not written it.
    pub fn open_response(&self, id: JobId) -> Result<Option<File>, DirectoryError> {
        durable::open_regular(&self.path(&layout::response(id)))
    }
}
