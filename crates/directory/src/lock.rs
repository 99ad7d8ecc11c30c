use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::DirectoryError;
use crate::durable::{Like, sync};
use crate::folder::{Folder, facts_of};

/// How long another holder of the queue's lock is waited for.
const WAIT_LIMIT: Duration = Duration::from_secs(5);
const WAIT_STEP: Duration = Duration::from_millis(5);
/// How often a lock that is made and removed by others in the same moment is opened again.
const OPEN_TRIES: u32 = 100;

/// Holds an advisory lock (flock) until it is dropped. For the one on `request/.status.lock`, flock(1) takes the same.
#[derive(Debug)]
pub struct Lock {
    held: File,
}

impl Lock {
    /// Whether the file that is locked is the one that has this name now.
    pub(crate) fn is_on(&self, folder: &Folder, name: &str) -> bool {
        match (facts_of(&self.held), folder.facts_of(name)) {
            (Ok(held), Ok(Some(there))) => held.fingerprint.is_same_file(&there.fingerprint),
            _ => false,
        }
    }

    /// What the last one has left in the file who had the lock, at most so much that it is a note.
    pub fn note(&self) -> io::Result<String> {
        const MAX_BYTES: u64 = 256;
        let (mut note, mut file) = (String::new(), &self.held);
        file.rewind()?;
        file.take(MAX_BYTES).read_to_string(&mut note)?;
        Ok(note)
    }

    /// Leaves a note for the next one who has the lock, also after a power cut.
    pub fn set_note(&self, note: &str) -> io::Result<()> {
        let mut file = &self.held;
        file.rewind()?;
        // Over the note before, and cut to length only then: a crash in between leaves one of them.
        file.write_all(note.as_bytes())?;
        file.set_len(note.len() as u64)?;
        Ok(sync(file)?)
    }

    /// Takes the lock; waits for another holder, within a limit.
    pub(crate) fn acquire(folder: &Folder, name: &str) -> Result<Self, DirectoryError> {
        let deadline = Instant::now() + WAIT_LIMIT;
        for _ in 0..OPEN_TRIES {
            let file = open(folder, name)?;
            while !try_lock(&file, folder, name)? {
                if Instant::now() >= deadline {
                    return Err(DirectoryError::Locked(folder.path(name)));
                }
                thread::sleep(WAIT_STEP);
            }

            let lock = Self { held: file };
            if lock.is_on(folder, name) {
                return Ok(lock);
            }
            // Somebody has removed the file meanwhile, or put another in its place: whoever comes
            // next locks that one.
        }
        Err(DirectoryError::NotVisibleYet(folder.path(name)))
    }

    /// Takes the lock if nobody holds it.
    pub(crate) fn try_acquire(folder: &Folder, name: &str) -> Result<Option<Self>, DirectoryError> {
        for _ in 0..OPEN_TRIES {
            let file = open(folder, name)?;
            if !try_lock(&file, folder, name)? {
                return Ok(None);
            }

            let lock = Self { held: file };
            if lock.is_on(folder, name) {
                return Ok(Some(lock));
            }
        }
        Err(DirectoryError::NotVisibleYet(folder.path(name)))
    }

    /// Whether somebody holds the lock of this name.
    pub(crate) fn is_held(folder: &Folder, name: &str) -> Result<bool, DirectoryError> {
        match open_existing(folder, name)? {
            Some(file) => Ok(!try_lock(&file, folder, name)?),
            None => Ok(false),
        }
    }
}

fn try_lock(file: &File, folder: &Folder, name: &str) -> Result<bool, DirectoryError> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(source)) => Err(DirectoryError::at(&folder.path(name))(source)),
    }
}

/// Opens a file to be locked, and makes it where it is missing. For writing, since NFS locks
/// nothing else; where that is not allowed, for reading: another user's file can be locked too.
fn open(folder: &Folder, name: &str) -> Result<File, DirectoryError> {
    for _ in 0..OPEN_TRIES {
        if let Some(file) = open_existing(folder, name)? {
            return Ok(file);
        }

        let like = Like::file_in(&folder.facts()?);
        match folder.create_new(name, like.mode()) {
            Ok(file) => {
                like.give_to(&file).map_err(|error| folder.error(name, error))?;
                return Ok(file);
            }
            Err(Errno::EXIST) => {}
            Err(error) => return Err(folder.error(name, error)),
        }
    }
    Err(DirectoryError::NotVisibleYet(folder.path(name)))
}

fn open_existing(folder: &Folder, name: &str) -> Result<Option<File>, DirectoryError> {
    let opened = match folder.open_file(name, OFlags::RDWR) {
        Err(error) if error.is_denied() => folder.open_file(name, OFlags::RDONLY)?,
        opened => opened?,
    };
    Ok(opened.map(|opened| opened.file))
}
