//! Whether a directory is fit to be shared, tried without touching anything of the protocol's.

use std::fs::{self, Metadata};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bcrlapi_exchange::layout;

use crate::durable::{self, Renamed};
use crate::{DirectoryError, Lock, SharedDir};

/// Who writes into a folder gives its files this group, where the folder has this bit.
const SET_GROUP_ID: u32 = 0o2000;
const GROUP_WRITES: u32 = 0o020;

/// A folder whose files the agent and the APP server may not be able to share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranger {
    /// The folder.
    pub path: PathBuf,
    /// The id of the user whose folder it is.
    pub owner: u32,
    /// The id of the user who asks.
    pub own: u32,
}

/// A directory that is tried: nothing is made in it that stays.
#[derive(Debug)]
pub struct DirectoryTrial {
    directory: SharedDir,
}

impl DirectoryTrial {
    /// Of a directory that must be there.
    pub fn of(root: &Path) -> Result<Self, DirectoryError> {
        let root = root.canonicalize().map_err(DirectoryError::at(root))?;
        fs::read_dir(&root).map_err(DirectoryError::at(&root))?;
        Ok(Self { directory: SharedDir::at(root) })
    }

    /// The protocol's folders that are not there yet; an agent makes them.
    pub fn missing_folders(&self) -> Vec<&'static str> {
        let is_missing = |folder: &&str| !self.directory.path(folder).exists();
        layout::FOLDERS.into_iter().filter(is_missing).collect()
    }

    /// Writes a file into the directory and into each of its folders that is there, and removes it again.
    pub fn write(&self) -> Result<(), DirectoryError> {
        for folder in self.folders() {
            let file = folder.join(layout::TRIAL);
            durable::stage(&file, |file| file.write_all(b"{}"), None)?;
            durable::remove(&file)?;
        }
        Ok(())
    }

    /// The folders of other users that do not give their files to a group.
    pub fn strangers(&self) -> Result<Vec<Stranger>, DirectoryError> {
        let own = rustix::process::geteuid().as_raw();
        let mut strangers = Vec::new();
        for path in self.folders() {
            let metadata = fs::metadata(&path).map_err(DirectoryError::at(&path))?;
            if metadata.uid() != own && !is_for_a_group(&metadata) {
                strangers.push(Stranger { path, owner: metadata.uid(), own });
            }
        }
        Ok(strangers)
    }

    /// Whether two files can change places there in one step.
    pub fn can_exchange(&self) -> Result<bool, DirectoryError> {
        let request = self.directory.path(layout::REQUEST_DIR);
        let folder = if request.is_dir() { request } else { self.directory.path("") };
        let (one, other) = (folder.join(layout::TRIAL), folder.join(layout::TRIAL_OTHER));
        durable::stage(&one, |file| file.write_all(b"1"), None)?;
        durable::stage(&other, |file| file.write_all(b"2"), None)?;
        let exchanged = durable::exchange(&one, &other);
        durable::remove(&one)?;
        durable::remove(&other)?;
        Ok(matches!(exchanged?, Renamed::Done))
    }

    /// Whether an agent serves the directory now. Holds the agent's lock for no longer than it takes to see that it is
    /// free; an agent that starts in this very moment is refused.
    pub fn has_agent(&self) -> Result<bool, DirectoryError> {
        let lock = self.directory.path(layout::AGENT_LOCK);
        match fs::symlink_metadata(&lock) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            _ => Ok(Lock::try_acquire(&lock)?.is_none()),
        }
    }

    /// The directory, and those of its folders that are there.
    fn folders(&self) -> Vec<PathBuf> {
        let folders = [""].into_iter().chain(layout::FOLDERS).map(|folder| self.directory.path(folder));
        folders.filter(|folder| folder.exists()).collect()
    }
}

fn is_for_a_group(metadata: &Metadata) -> bool {
    let mode = metadata.permissions().mode();
    mode & SET_GROUP_ID != 0 && mode & GROUP_WRITES != 0
}
