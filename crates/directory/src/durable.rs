//! Writing without half-measures, and without insisting on what a file system cannot do.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{Gid, Mode, Uid, fchmod, fchown, fsync};
use rustix::io::{Errno, retry_on_intr};

use crate::DirectoryError;
use crate::facts::Facts;
use crate::folder::{Folder, facts_of};

/// Reading and writing, and nothing to execute.
const MODE_OF_FILES: u32 = 0o666;
/// What everybody may do, and that new files get the group of their folder. Not the sticky bit: in
/// a folder that has it, nobody can replace another user's status.json.
const MODE_OF_FOLDERS: u32 = 0o2777;

/// Whose a new file or folder is to be, and who may do what with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Like {
    mode: u32,
    owner: u32,
    group: u32,
}

impl Like {
    /// For a file in this folder: who may work in the folder may read and write the file.
    pub(crate) fn file_in(folder: &Facts) -> Self {
        Self { mode: folder.mode & MODE_OF_FILES, owner: folder.owner, group: folder.group }
    }

    /// For a folder in this folder.
    pub(crate) fn folder_in(folder: &Facts) -> Self {
        Self { mode: folder.mode & MODE_OF_FOLDERS, owner: folder.owner, group: folder.group }
    }

    /// For a file that takes the place of another one: who could write that one in place still can.
    pub(crate) fn and(self, replaced: &Facts) -> Self {
        let mode = self.mode | (replaced.mode & MODE_OF_FILES);
        Self { mode, owner: replaced.owner, group: replaced.group }
    }

    /// Takes away nothing that is allowed already.
    pub(crate) fn at_least(self, now: &Facts) -> Self {
        Self { mode: self.mode | (now.mode & MODE_OF_FOLDERS), ..self }
    }

    pub(crate) fn mode(self) -> u32 {
        self.mode
    }

    /// Gives the file all this, as far as that is allowed: on SMB, WSL and some FUSE, mode and
    /// owner cannot be changed, and only root may give a file away.
    pub(crate) fn give_to(self, file: impl AsFd) -> Result<(), Errno> {
        let facts = facts_of(&file)?;
        if facts.group != self.group {
            let _ = fchown(&file, None, Some(Gid::from_raw(self.group)));
        }
        if facts.owner != self.owner && rustix::process::geteuid().is_root() {
            let _ = fchown(&file, Some(Uid::from_raw(self.owner)), None);
        }
        // Last, since a change of the owner may take bits away.
        if facts.mode & MODE_OF_FOLDERS != self.mode {
            let _ = fchmod(&file, Mode::from_raw_mode(self.mode));
        }
        Ok(())
    }
}

/// Makes sure that a file or the names in a folder are on the disk. Not every file system can (SMB,
/// FUSE): that is no error, but a disk that is full, failing or read-only is.
pub(crate) fn sync(file: impl AsFd) -> Result<(), Errno> {
    match retry_on_intr(|| fsync(&file)) {
        Err(error) if cannot_be_done(error) => Ok(()),
        synced => synced,
    }
}

/// Whether the file system does not know how to do what was asked, or leaves it to another.
pub(crate) fn cannot_be_done(error: Errno) -> bool {
    let unknown = [Errno::INVAL, Errno::NOTSUP, Errno::NOSYS, Errno::PERM, Errno::ACCESS, Errno::BADF];
    unknown.contains(&error)
}

/// Lets `write` fill a new file and makes sure that it is on the disk. Removes a leftover of a
/// crash that stands there.
pub(crate) fn stage(
    folder: &Folder,
    name: &str,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<File, DirectoryError> {
    let like = Like::file_in(&folder.facts()?);
    let file = match folder.create_new(name, like.mode()) {
        // Removed only where it is there: a try to remove costs as much as a file made, and waits
        // for all who work in the folder.
        Err(Errno::EXIST) => {
            folder.remove(name)?;
            folder.create_new(name, like.mode())
        }
        created => created,
    };
    let file = file.map_err(|error| folder.error(name, error))?;
    fill(folder, name, file, like, write)
}

/// Lets `write` fill the file that was just made and makes sure that it is on the disk. Where that
/// fails, the file is removed: what was begun would only fill a full disk further.
pub(crate) fn fill(
    folder: &Folder,
    name: &str,
    mut file: File,
    like: Like,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<File, DirectoryError> {
    let filled = write(&mut file).and_then(|()| Ok(like.give_to(&file)?)).and_then(|()| Ok(sync(&file)?));
    match filled {
        Ok(()) => Ok(file),
        Err(error) => {
            let _ = folder.remove(name);
            Err(DirectoryError::at(&folder.path(name))(error))
        }
    }
}

/// Gives the staged file its name: for good once the folder is synced.
pub(crate) fn put_in_place(folder: &Folder, file: &File, staged: &str, name: &str) -> Result<(), DirectoryError> {
    rename(folder, file, staged, folder, name)
}

/// Gives the file another name in another folder. The answer of a server may be lost, and the call
/// then be repeated to one that has done it already: so an error is looked up before it is
/// believed.
pub(crate) fn rename(
    folder: &Folder,
    file: &File,
    name: &str,
    to: &Folder,
    new_name: &str,
) -> Result<(), DirectoryError> {
    let Err(error) = folder.rename(name, to, new_name) else { return Ok(()) };
    match (facts_of(file), to.facts_of(new_name)) {
        (Ok(ours), Ok(Some(there))) if ours.fingerprint.is_same_file(&there.fingerprint) => Ok(()),
        _ => Err(to.error(new_name, error)),
    }
}
