//! Whether a directory is fit to be shared, tried with the very calls of the protocol, and without
//! touching anything of it.

use std::fmt;
use std::fs::File;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

use bcrlapi_exchange::layout;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::facts::Facts;
use crate::folder::{Folder, can_only_rename};
use crate::{DirectoryError, FileSystem, Lock, SeenStatus, SharedDir, durable};

/// Who writes into a folder gives its files this group, where the folder has this bit.
const SET_GROUP_ID: u32 = 0o2000;
const GROUP_WRITES: u32 = 0o020;

/// A folder whose files the agent and the APP server may not be able to share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsharedFolder {
    /// The folder.
    pub path: PathBuf,
    /// The id of the user whose folder it is.
    pub owner: u32,
    /// The id of the user who asks.
    pub own: u32,
}

/// Whose it is, and what to do about it.
impl fmt::Display for UnsharedFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, owner, own } = self;
        write!(
            f,
            "{} belongs to user {owner}, and this is user {own}; run the agent and all that serves the queue as one user, or \
             give the directory a group that both are in: chgrp, then chmod 2770",
            path.display()
        )
    }
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
        let directory = SharedDir::at(root);
        directory.root()?.lists(layout::TRIAL)?;
        Ok(Self { directory })
    }

    /// The protocol's folders that are not there yet; an agent makes them.
    pub fn missing_folders(&self) -> Vec<&'static str> {
        let is_missing = |folder: &&str| !self.directory.path(folder).exists();
        layout::FOLDERS.into_iter().filter(is_missing).collect()
    }

    /// Which file system it is on.
    pub fn file_system(&self) -> Result<FileSystem, DirectoryError> {
        self.directory.file_system()
    }

    /// Writes a file into the directory and into each of its folders that is there, as requests and
    /// queues are written: made ready, synced, renamed, the folder synced, appended to. Removes it
    /// again.
    pub fn write(&self) -> Result<(), DirectoryError> {
        for folder in self.folders()? {
            let tried = write_in(&folder);
            let removed = folder.remove(layout::TRIAL).and(folder.remove(layout::TRIAL_OTHER));
            tried.and(removed)?;
        }
        Ok(())
    }

    /// The folders of other users that do not give their files to a group.
    pub fn unshared_folders(&self) -> Result<Vec<UnsharedFolder>, DirectoryError> {
        let own = rustix::process::geteuid().as_raw();
        let mut unshared = Vec::new();
        for folder in self.folders()? {
            let facts = folder.facts()?;
            if facts.owner != own && !is_for_a_group(&facts) {
                unshared.push(UnsharedFolder { path: folder.path(""), owner: facts.owner, own });
            }
        }
        Ok(unshared)
    }

    /// Whether two files can change places there in one step, as a new queue and the one that it
    /// displaces do.
    pub fn can_exchange(&self) -> Result<bool, DirectoryError> {
        let (one, other) = self.queue_folders()?;
        let (one, other) = (&one, &other);
        let tried = exchange_between(one, other);
        let removed = one.remove(layout::TRIAL).and(other.remove(layout::TRIAL_OTHER));
        tried.and_then(|can_exchange| removed.map(|()| can_exchange))
    }

    /// Whether a lock keeps others out, as far as one computer can tell: it is tried from two
    /// sides.
    pub fn lock(&self) -> Result<(), DirectoryError> {
        let (_, folder) = self.queue_folders()?;
        let tried = lock_twice(&folder);
        let removed = folder.remove(layout::TRIAL);
        tried.and(removed)
    }

    /// Whether an agent serves the directory now. Holds the agent's lock for no longer than it takes to see that it is
    /// free; an agent that starts in this very moment is refused.
    pub fn has_agent(&self) -> Result<bool, DirectoryError> {
        let root = self.directory.root()?;
        match root.facts_of(layout::AGENT_LOCK)? {
            None => Ok(false),
            Some(_) => Ok(Lock::try_acquire(&root, layout::AGENT_LOCK)?.is_none()),
        }
    }

    /// Reads status.json; none where an agent has not made its folder yet.
    pub fn read_status(&self) -> Result<SeenStatus, DirectoryError> {
        match self.directory.root()?.open_if_there(layout::REQUEST_DIR)? {
            Some(_) => self.directory.read_status(),
            None => Ok(SeenStatus { queue: Ok(None), digest: None }),
        }
    }

    /// The directory, and those of its folders that are there.
    fn folders(&self) -> Result<Vec<Folder>, DirectoryError> {
        let mut folders = vec![self.directory.root()?];
        for name in layout::FOLDERS {
            folders.extend(folders[0].open_if_there(name)?);
        }
        Ok(folders)
    }

    /// Where queues are staged, and where status.json is; the directory itself, before an agent has
    /// made the folders.
    fn queue_folders(&self) -> Result<(Folder, Folder), DirectoryError> {
        let root = self.directory.root()?;
        let folders = (root.open_if_there(layout::DISPLACED_DIR)?, root.open_if_there(layout::REQUEST_DIR)?);
        match folders {
            (Some(displaced), Some(request)) => Ok((displaced, request)),
            _ => Ok((self.directory.root()?, root)),
        }
    }
}

fn write_in(folder: &Folder) -> Result<(), DirectoryError> {
    let (name, other) = (layout::TRIAL, layout::TRIAL_OTHER);
    let file = durable::stage(folder, other, |file| file.write_all(b"{"))?;
    durable::put_in_place(folder, &file, other, name)?;
    folder.sync()?;

    let at = |error: std::io::Error| DirectoryError::at(&folder.path(name))(error);
    let Some(opened) = folder.open_file(name, OFlags::RDWR | OFlags::APPEND)? else {
        return Err(DirectoryError::NotVisibleYet(folder.path(name)));
    };
    let mut file: File = opened.file;
    file.write_all(b"}").map_err(at)?;
    file.rewind().map_err(at)?;
    let content = std::io::read_to_string(&file).map_err(at)?;
    if content == "{}" { Ok(()) } else { Err(folder.error(name, Errno::IO)) }
}

fn exchange_between(one: &Folder, other: &Folder) -> Result<bool, DirectoryError> {
    durable::stage(one, layout::TRIAL, |file| file.write_all(b"1"))?;
    durable::stage(other, layout::TRIAL_OTHER, |file| file.write_all(b"2"))?;
    match one.exchange(layout::TRIAL, other, layout::TRIAL_OTHER) {
        Ok(()) => Ok(true),
        Err(error) if can_only_rename(error) => Ok(false),
        Err(error) => Err(one.error(layout::TRIAL, error)),
    }
}

fn lock_twice(folder: &Folder) -> Result<(), DirectoryError> {
    let held = Lock::acquire(folder, layout::TRIAL)?;
    let second = Lock::try_acquire(folder, layout::TRIAL)?;
    drop(held);
    match second {
        None => Ok(()),
        Some(_) => Err(DirectoryError::LockNotKept(folder.path(layout::TRIAL))),
    }
}

fn is_for_a_group(facts: &Facts) -> bool {
    facts.mode & SET_GROUP_ID != 0 && facts.mode & GROUP_WRITES != 0
}
