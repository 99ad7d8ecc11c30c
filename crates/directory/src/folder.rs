//! Folders that are held open: who swaps one for a link while it is worked in leads nobody
//! elsewhere.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, StatxFlags};
use rustix::fs::{mkdirat, openat, openat2, renameat, renameat_with, statx, unlinkat};
use rustix::io::{Errno, retry_on_intr};

use crate::DirectoryError;
use crate::facts::Facts;

/// The mode with which a file or folder is made, before it gets that of its folder.
const MODE_OF_NEW_FOLDERS: u32 = 0o777;

/// A folder that is held open. All names are those of files and folders within it.
#[derive(Debug)]
pub(crate) struct Folder {
    descriptor: OwnedFd,
    path: PathBuf,
}

/// A regular file that was opened, and what the system said of it then.
#[derive(Debug)]
pub(crate) struct Opened {
    pub file: File,
    pub facts: Facts,
}

impl Folder {
    /// Opens the folder of this path. The path is the administrator's: links in it are followed.
    pub(crate) fn open_root(path: &Path) -> Result<Self, DirectoryError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor =
            retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty())).map_err(DirectoryError::at(path))?;
        Ok(Self { descriptor, path: path.to_owned() })
    }

    /// Opens a folder beneath this one; `name` may have several components, and none may be a link.
    pub(crate) fn open(&self, name: &str) -> Result<Self, DirectoryError> {
        let path = self.path(name);
        match self.descriptor_beneath(name) {
            Ok(descriptor) => Ok(Self { descriptor, path }),
            Err(Errno::LOOP | Errno::NOTDIR) => Err(DirectoryError::NotAFolder(path)),
            Err(error) => Err(DirectoryError::at(&path)(error)),
        }
    }

    /// Opens a folder beneath this one; `None` if there is nothing.
    pub(crate) fn open_if_there(&self, name: &str) -> Result<Option<Self>, DirectoryError> {
        match self.open(name) {
            Ok(folder) => Ok(Some(folder)),
            Err(DirectoryError::Io { source, .. }) if is_missing(&source) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn descriptor_beneath(&self, name: &str) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match retry_on_intr(|| openat2(&self.descriptor, name, flags, Mode::empty(), beneath)) {
            // Before Linux 5.6 there is no openat2, and containers with an older list of calls
            // refuse it.
            Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => self.descriptor_by_steps(name, flags),
            opened => opened,
        }
    }

    fn descriptor_by_steps(&self, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let mut held: Option<OwnedFd> = None;
        for component in name.split('/') {
            let folder = held.as_ref().unwrap_or(&self.descriptor);
            held = Some(retry_on_intr(|| openat(folder, component, flags, Mode::empty()))?);
        }
        held.ok_or(Errno::NOENT)
    }

    /// The path of a name in this folder, for messages and for programs.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The error that a call about this name has ended with.
    pub(crate) fn error(&self, name: &str, error: Errno) -> DirectoryError {
        DirectoryError::at(&self.path(name))(error)
    }

    /// What the system says of the folder itself.
    pub(crate) fn facts(&self) -> Result<Facts, DirectoryError> {
        facts_of(&self.descriptor).map_err(DirectoryError::at(&self.path))
    }

    /// What the system says of a name; `None` if there is nothing. Of a link, it is what it says of
    /// the link.
    pub(crate) fn facts_of(&self, name: &str) -> Result<Option<Facts>, DirectoryError> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_FORCE_SYNC;
        let mut facts =
            statx(&self.descriptor, name, flags, StatxFlags::BASIC_STATS).map(|stat| Facts::of_statx(&stat));
        if matches!(facts, Err(Errno::NOSYS | Errno::PERM)) {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            facts = openat(&self.descriptor, name, flags, Mode::empty()).and_then(facts_of);
        }
        match facts {
            Ok(facts) => Ok(Some(facts)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.error(name, error)),
        }
    }

    /// Opens a regular file; `None` if there is nothing. A link is not followed, a FIFO not waited
    /// for.
    pub(crate) fn open_file(&self, name: &str, access: OFlags) -> Result<Option<Opened>, DirectoryError> {
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let descriptor = match retry_on_intr(|| openat(&self.descriptor, name, flags, Mode::empty())) {
            Ok(descriptor) => descriptor,
            Err(Errno::NOENT) => return Ok(None),
            // A link, a folder, a FIFO that nobody reads.
            Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => {
                return Err(DirectoryError::NotAFile(self.path(name)));
            }
            Err(error) => return Err(self.error(name, error)),
        };

        let facts = facts_of(&descriptor).map_err(|error| self.error(name, error))?;
        if !facts.is_file() {
            return Err(DirectoryError::NotAFile(self.path(name)));
        }
        Ok(Some(Opened { file: descriptor.into(), facts }))
    }

    /// Opens a regular file for reading whose absence is believed only where the folder does not
    /// list it either: a client of NFS or FUSE remembers for some time that there was no such file.
    pub(crate) fn open_listed(&self, name: &str) -> Result<Option<Opened>, DirectoryError> {
        const TRIES: u32 = 3;
        for _ in 0..TRIES {
            if let Some(opened) = self.open_file(name, OFlags::RDONLY)? {
                return Ok(Some(opened));
            }
            if !self.lists(name)? {
                return Ok(None);
            }
            // It may have come between the two looks.
        }
        Err(DirectoryError::NotVisibleYet(self.path(name)))
    }

    /// Opens a file for reading that somebody else has written, and that must have no other name.
    pub(crate) fn open_single(&self, name: &str) -> Result<Option<Opened>, DirectoryError> {
        match self.open_listed(name)? {
            // A lab user may have linked a file here that only the user of this process may read.
            Some(opened) if opened.facts.links > 1 => Err(DirectoryError::HardLinked(self.path(name))),
            opened => Ok(opened),
        }
    }

    /// Makes a file for reading and writing that must not be there yet.
    pub(crate) fn create_new(&self, name: &str, mode: u32) -> Result<File, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode);
        let descriptor = retry_on_intr(|| openat(&self.descriptor, name, flags, mode))?;
        Ok(descriptor.into())
    }

    /// Makes a folder; says whether there was none.
    pub(crate) fn make_folder(&self, name: &str) -> Result<bool, DirectoryError> {
        match mkdirat(&self.descriptor, name, Mode::from_raw_mode(MODE_OF_NEW_FOLDERS)) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(self.error(name, error)),
        }
    }

    /// The names in the folder that `is_meant`, and what each is the name of.
    fn names(&self, is_meant: impl Fn(&str) -> bool) -> Result<Vec<(String, FileType)>, DirectoryError> {
        let mut names = Vec::new();
        let mut listing = Dir::read_from(&self.descriptor).map_err(DirectoryError::at(&self.path))?;
        while let Some(entry) = listing.read() {
            let entry = entry.map_err(DirectoryError::at(&self.path))?;
            // All names of the protocol are ASCII.
            let Ok(name) = entry.file_name().to_str() else { continue };
            if is_meant(name) {
                names.push((name.to_owned(), entry.file_type()));
            }
        }
        Ok(names)
    }

    /// The names in the folder that `is_meant` and are those of regular files.
    pub(crate) fn files(&self, is_meant: impl Fn(&str) -> bool) -> Result<Vec<String>, DirectoryError> {
        let mut files = Vec::new();
        for (name, kind) in self.names(is_meant)? {
            // Some file systems do not say in a listing what a name is the name of.
            let is_file = match kind {
                FileType::Unknown => match self.facts_of(&name) {
                    Ok(facts) => facts.is_none_or(|facts| facts.is_file()),
                    Err(error) if error.is_damage() => true,
                    Err(error) => return Err(error),
                },
                kind => kind == FileType::RegularFile,
            };
            if is_file {
                files.push(name);
            }
        }
        Ok(files)
    }

    /// Whether the folder lists this name.
    pub(crate) fn lists(&self, name: &str) -> Result<bool, DirectoryError> {
        let found = self.names(|listed| listed == name)?;
        Ok(!found.is_empty())
    }

    /// Removes a file, if it is there.
    pub(crate) fn remove(&self, name: &str) -> Result<(), DirectoryError> {
        match unlinkat(&self.descriptor, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.error(name, error)),
        }
    }

    /// Gives a file another name in another folder, or in this one.
    pub(crate) fn rename(&self, name: &str, to: &Self, new_name: &str) -> Result<(), Errno> {
        renameat(&self.descriptor, name, &to.descriptor, new_name)
    }

    /// Lets two files change places.
    pub(crate) fn exchange(&self, name: &str, other: &Self, other_name: &str) -> Result<(), Errno> {
        renameat_with(&self.descriptor, name, &other.descriptor, other_name, RenameFlags::EXCHANGE)
    }

    /// Gives a file a name that no file has.
    pub(crate) fn rename_to_free_name(&self, name: &str, to: &Self, new_name: &str) -> Result<(), Errno> {
        renameat_with(&self.descriptor, name, &to.descriptor, new_name, RenameFlags::NOREPLACE)
    }

    /// Makes sure that the names in the folder are on the disk, as far as the file system knows how
    /// to.
    pub(crate) fn sync(&self) -> Result<(), DirectoryError> {
        crate::durable::sync(&self.descriptor).map_err(DirectoryError::at(&self.path))
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Whether a file system renames, but cannot exchange two files or keep a name from being written
/// over: NFS, some FUSE, and folders that lie on different disks (mergerfs).
pub(crate) fn can_only_rename(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::XDEV)
}

/// What the system says of an open file, asked of the server: NFS and FUSE answer from a cache
/// otherwise.
pub(crate) fn facts_of(file: impl AsFd) -> Result<Facts, Errno> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
    match statx(&file, "", flags, StatxFlags::BASIC_STATS) {
        Ok(stat) => Ok(Facts::of_statx(&stat)),
        // Containers with an older list of calls refuse statx.
        Err(Errno::NOSYS | Errno::PERM) => {
            let file = File::from(rustix::io::dup(file)?);
            let metadata = file.metadata().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            Ok(Facts::of_metadata(&metadata))
        }
        Err(error) => Err(error),
    }
}

/// Makes sure that a file that somebody else has written, and its name, are on the disk; nothing
/// where it is not there.
pub(crate) fn sync_file(folder: &Folder, name: &str) -> Result<(), DirectoryError> {
    let Some(opened) = folder.open_file(name, OFlags::RDONLY)? else { return Ok(()) };
    crate::durable::sync(&opened.file).map_err(|error| folder.error(name, error))?;
    folder.sync()
}

fn is_missing(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
}
