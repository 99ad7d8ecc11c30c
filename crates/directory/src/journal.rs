//! The file in which the agent keeps how far it has seen jobs go.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;

use bcrlapi_exchange::layout;
use rustix::fs::{OFlags, fcntl_setfl, fdatasync};
use rustix::io::{Errno, retry_on_intr};

use crate::durable::Like;
use crate::folder::{Folder, facts_of};
use crate::shared::name_of;
use crate::{DirectoryError, SharedDir, durable};

/// The most bytes that a journal may have: over three hundred thousand open jobs.
pub const MAX_BYTES: u64 = 64 * 1024 * 1024;

impl SharedDir {
    /// All that is in the journal; nothing where there is none.
    pub fn read_journal(&self) -> Result<Vec<u8>, DirectoryError> {
        let folder = self.root()?.open(layout::REQUEST_DIR)?;
        let name = name_of(layout::JOURNAL);
        let Some(opened) = folder.open_listed(name)? else { return Ok(Vec::new()) };
        check_size(&folder, opened.facts.fingerprint.size_bytes())?;

        let mut content = Vec::new();
        opened.file.take(MAX_BYTES).read_to_end(&mut content).map_err(DirectoryError::at(&folder.path(name)))?;
        Ok(content)
    }

    /// Appends lines to the journal: they are on the disk when this returns. A half line that a
    /// full disk or a crash has left before is ended first, so that it spoils nothing but itself.
    pub fn append_journal(&self, lines: &[u8]) -> Result<(), DirectoryError> {
        let folder = self.root()?.open(layout::REQUEST_DIR)?;
        let name = name_of(layout::JOURNAL);
        let at = |error: std::io::Error| DirectoryError::at(&folder.path(name))(error);
        let (mut file, is_new) = open_to_append(&folder, name)?;

        let size_bytes = facts_of(&file).map_err(|error| folder.error(name, error))?.fingerprint.size_bytes();
        check_size(&folder, size_bytes.saturating_add(lines.len() as u64))?;
        let mut content = Vec::with_capacity(lines.len() + 1);
        if !ends_a_line(&file, size_bytes).map_err(at)? {
            content.push(b'\n');
        }
        content.extend_from_slice(lines);

        file.write_all(&content).map_err(at)?;
        match retry_on_intr(|| fdatasync(&file)) {
            Ok(()) => {}
            Err(error) if durable::cannot_be_done(error) => {}
            Err(error) => return Err(folder.error(name, error)),
        }
        if is_new { folder.sync() } else { Ok(()) }
    }

    /// Replaces the journal, durably and in one step.
    pub fn replace_journal(&self, content: &[u8]) -> Result<(), DirectoryError> {
        let folder = self.root()?.open(layout::REQUEST_DIR)?;
        check_size(&folder, content.len() as u64)?;
        let (staged, name) = (name_of(layout::JOURNAL_STAGED), name_of(layout::JOURNAL));
        let file = durable::stage(&folder, staged, |file| file.write_all(content))?;
        durable::put_in_place(&folder, &file, staged, name)?;
        folder.sync()
    }
}

fn check_size(folder: &Folder, size_bytes: u64) -> Result<(), DirectoryError> {
    if size_bytes > MAX_BYTES {
        let path = folder.path(name_of(layout::JOURNAL));
        return Err(DirectoryError::JournalTooLarge { path, size_bytes });
    }
    Ok(())
}

/// Opens the journal, or makes it; says whether it was made.
fn open_to_append(folder: &Folder, name: &str) -> Result<(File, bool), DirectoryError> {
    if let Some(opened) = folder.open_file(name, OFlags::RDWR | OFlags::APPEND)? {
        // Another user's file may have been linked here, or a backup may share it.
        if opened.facts.links > 1 {
            return Err(DirectoryError::JournalHardLinked(folder.path(name)));
        }
        return Ok((opened.file, false));
    }

    let like = Like::file_in(&folder.facts()?);
    let at = |error: Errno| folder.error(name, error);
    let file = folder.create_new(name, like.mode()).map_err(at)?;
    like.give_to(&file).map_err(at)?;
    fcntl_setfl(&file, OFlags::APPEND).map_err(at)?;
    Ok((file, true))
}

fn ends_a_line(file: &File, size_bytes: u64) -> std::io::Result<bool> {
    let Some(last) = size_bytes.checked_sub(1) else { return Ok(true) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte == *b"\n")
}
