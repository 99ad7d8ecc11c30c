//! Opening without surprises and writing without half-measures.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use rustix::fs::{CWD, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::{DirectoryError, Fingerprint};

/// Reading and writing, and nothing to execute.
const MODE_OF_FILES: u32 = 0o666;

/// Opens a regular file for reading; `None` if there is nothing. A link is not followed, a FIFO not waited for.
pub(crate) fn open_regular(path: &Path) -> Result<Option<File>, DirectoryError> {
    open_regular_with(path, OpenOptions::new().read(true))
}

fn open_regular_with(path: &Path, options: &mut OpenOptions) -> Result<Option<File>, DirectoryError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match options.custom_flags(flags.bits().cast_signed()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::IsADirectory || is_link(&error) => {
            return Err(DirectoryError::NotAFile(path.to_owned()));
        }
        Err(error) => return Err(DirectoryError::at(path)(error)),
    };
    let metadata = file.metadata().map_err(DirectoryError::at(path))?;
    if metadata.is_file() { Ok(Some(file)) } else { Err(DirectoryError::NotAFile(path.to_owned())) }
}

/// Opens a file to be locked, and makes it where it is missing. For writing, since NFS locks nothing else; where that
/// is not allowed, for reading: another user's file can be locked too.
pub(crate) fn open_to_lock(path: &Path) -> Result<File, DirectoryError> {
    loop {
        let mut for_writing = OpenOptions::new();
        match open_regular_with(path, for_writing.read(true).write(true)) {
            Ok(Some(file)) => return Ok(file),
            Ok(None) => {}
            Err(DirectoryError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                if let Some(file) = open_regular(path)? {
                    return Ok(file);
                }
            }
            Err(error) => return Err(error),
        }
        match OpenOptions::new().write(true).create_new(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map_err(DirectoryError::at(path)),
        }
    }
}

/// Lets `write` fill the file `staged` and makes sure that it is on the disk. Removes a leftover of a crash that stands
/// there. The file gets mode, group and owner of `like`, a file or a folder, where given and allowed: who could write
/// in place still can.
pub(crate) fn stage(
    staged: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
    like: Option<&Metadata>,
) -> Result<Fingerprint, DirectoryError> {
    let fill = || -> io::Result<Fingerprint> {
        let mut file = create_anew(staged)?;
        write(&mut file)?;
        if let Some(like) = like {
            // Only root may give a file away, and only to a group of its own may anybody else.
            let _ = fchown(&file, None, Some(like.gid())).and_then(|()| fchown(&file, Some(like.uid()), None));
            file.set_permissions(Permissions::from_mode(like.mode() & MODE_OF_FILES))?;
        }
        file.sync_all()?;
        Ok(Fingerprint::of(&file.metadata()?))
    };
    // What was begun would only fill a full disk further.
    fill().inspect_err(|_| drop(fs::remove_file(staged))).map_err(DirectoryError::at(staged))
}

/// Removes only what is there: a try to remove costs as much as a file made, and waits for all who work in the folder.
fn create_anew(staged: &Path) -> io::Result<File> {
    let create = || OpenOptions::new().write(true).create_new(true).open(staged);
    match create() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::remove_file(staged).and_then(|()| create()),
        created => created,
    }
}

/// Gives the staged file its name, for good.
pub(crate) fn put_in_place(staged: &Path, path: &Path) -> Result<(), DirectoryError> {
    rename(staged, path)?;
    sync_folder_of(path)
}

/// Gives the staged file its name: for good once the folder is synced.
pub(crate) fn rename(staged: &Path, path: &Path) -> Result<(), DirectoryError> {
    fs::rename(staged, path).map_err(DirectoryError::at(path))
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
pub(crate) fn sync_folder_of(path: &Path) -> Result<(), DirectoryError> {
    sync_folder(path.parent().expect("a file of the layout is in a folder"))
}

/// Makes sure that the names in a folder are on the disk.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), DirectoryError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(DirectoryError::at(folder))
}

fn is_link(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}
