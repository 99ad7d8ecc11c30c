//! Opening without surprises and writing without half-measures.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use rustix::fs::{CWD, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::{DirectoryError, Fingerprint};

/// Opens a regular file for reading; `None` if there is nothing. A link is not followed, a FIFO not waited for.
pub(crate) fn open_regular(path: &Path) -> Result<Option<File>, DirectoryError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if is_link(&error) => return Err(DirectoryError::NotAFile(path.to_owned())),
        Err(error) => return Err(DirectoryError::at(path)(error)),
    };
    let metadata = file.metadata().map_err(DirectoryError::at(path))?;
    if metadata.is_file() { Ok(Some(file)) } else { Err(DirectoryError::NotAFile(path.to_owned())) }
}

/// Opens a regular file and makes it where it is missing. Not for writing: another user's file can be opened too.
pub(crate) fn open_or_create(path: &Path) -> Result<File, DirectoryError> {
    loop {
        if let Some(file) = open_regular(path)? {
            return Ok(file);
        }
        match OpenOptions::new().write(true).create_new(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map_err(DirectoryError::at(path)),
        }
    }
}

/// Writes `content` to `staged` and makes sure that it is on the disk. Removes a leftover of a crash that stands there.
/// The file gets mode, group and owner of `like`, where given and allowed: who could write in place still can.
pub(crate) fn stage(staged: &Path, content: &[u8], like: Option<&Metadata>) -> Result<Fingerprint, DirectoryError> {
    remove(staged)?;
    let write = || -> io::Result<Fingerprint> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(staged)?;
        file.write_all(content)?;
        if let Some(like) = like {
            // Only root may give a file away, and only to a group of its own may anybody else.
            let _ = fchown(&file, None, Some(like.gid())).and_then(|()| fchown(&file, Some(like.uid()), None));
            file.set_permissions(like.permissions())?;
        }
        file.sync_all()?;
        Ok(Fingerprint::of(&file.metadata()?))
    };
    write().map_err(DirectoryError::at(staged))
}

/// Gives the staged file its name, for good: the folder is synced too.
pub(crate) fn put_in_place(staged: &Path, path: &Path) -> Result<(), DirectoryError> {
    fs::rename(staged, path).map_err(DirectoryError::at(path))?;
    sync_folder(path)
}

/// How a staged file's way to its place ended.
pub(crate) enum Renamed {
    /// It is there, and what was there before is where it was staged.
    Done,
    /// It is there, but what was there before is lost: the file system cannot exchange (NFS, some FUSE).
    WithoutExchange,
    /// It is not: the file that was there is gone, or there is one now.
    Overtaken,
}

/// Lets the two files change places in one step, so that what was at `path` is not lost.
pub(crate) fn exchange(staged: &Path, path: &Path) -> Result<Renamed, DirectoryError> {
    rename_with(staged, path, RenameFlags::EXCHANGE)
}

/// Gives the staged file a name that no file has.
pub(crate) fn rename_to_free_name(staged: &Path, path: &Path) -> Result<Renamed, DirectoryError> {
    rename_with(staged, path, RenameFlags::NOREPLACE)
}

fn rename_with(staged: &Path, path: &Path, flags: RenameFlags) -> Result<Renamed, DirectoryError> {
    match rustix::fs::renameat_with(CWD, staged, CWD, path, flags) {
        Ok(()) => Ok(Renamed::Done),
        Err(Errno::NOENT | Errno::EXIST) => Ok(Renamed::Overtaken),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            fs::rename(staged, path).map_err(DirectoryError::at(path))?;
            Ok(Renamed::WithoutExchange)
        }
        Err(error) => Err(DirectoryError::at(path)(error.into())),
    }
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), DirectoryError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(DirectoryError::at(path)(error)),
        _ => Ok(()),
    }
}

/// Makes sure that the names in the file's folder are on the disk.
pub(crate) fn sync_folder(path: &Path) -> Result<(), DirectoryError> {
    let folder = path.parent().expect("a file of the layout is in a folder");
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(DirectoryError::at(folder))
}

fn is_link(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}
