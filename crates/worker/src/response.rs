//! What a program has left behind: is it one whole JSON document, then it gets its name.

use std::fs::{self, File};
use std::thread;
use std::time::{Duration, Instant};

use bcrlapi_directory::{DirectoryError, Fingerprint, SharedDir};
use bcrlapi_domain::JobId;
use bcrlapi_exchange::document::{self, DocumentFault};
use bcrlapi_exchange::layout;

use crate::Stop;
use crate::trouble::Trouble;

/// How long a response may follow the end of its program, which may have had it written elsewhere.
const MISSING_GRACE: Duration = Duration::from_secs(2);
/// The same where a computer remembers for up to a minute that there was no such file (NFS, FUSE).
const MISSING_GRACE_CACHED: Duration = Duration::from_secs(75);
/// The pauses between two looks for a response, and after trouble with the directory.
const MISSING_PAUSE: Duration = Duration::from_millis(100);
const TROUBLE_PAUSE: Duration = Duration::from_secs(2);

/// The response of one job.
pub(crate) struct Response<'a> {
    directory: &'a SharedDir,
    id: JobId,
    stop: &'a Stop,
    /// What was there before the program ran: no response of this run.
    before: Option<Fingerprint>,
}

impl<'a> Response<'a> {
    /// To be called before the program runs.
    pub(crate) fn new(directory: &'a SharedDir, id: JobId, stop: &'a Stop) -> Self {
        // What cannot be read now will be judged when the program has ended.
        let opened = directory.open_running_or_response(id).ok().flatten();
        let before = opened.and_then(|file| fingerprint(&file));
        Self { directory, id, stop, before }
    }

    /// Gives what the program has written its name; says what is wrong with it, if it cannot be
    /// taken. Where the directory is away, goes on until it is back: the work is done, and is not
    /// to be lost. A second stop ends that.
    pub(crate) fn take(&self) -> Result<(), String> {
        let since = Instant::now();
        let mut trouble = Trouble::default();
        let mut grace = None;
        loop {
            match self.try_to_take() {
                Ok(Some(taken)) => {
                    if trouble.end(Instant::now()).is_some() {
                        tracing::info!(uuid = %self.id, "the response can be read again");
                    }
                    return taken;
                }
                Ok(None) if since.elapsed() >= *grace.get_or_insert_with(|| self.missing_grace()) => {
                    return Err("the program wrote no response file".to_owned());
                }
                Ok(None) => thread::sleep(MISSING_PAUSE),
                // The program's user or its umask has seen to it that it will never be read.
                Err(error)
                    if error.is_denied() && since.elapsed() >= *grace.get_or_insert_with(|| self.missing_grace()) =>
                {
                    return Err(format!(
                        "the response file cannot be read by the worker's user: {error}; run the program as that user"
                    ));
                }
                Err(error) => {
                    if trouble.is_to_be_told(Instant::now()) {
                        tracing::warn!(uuid = %self.id, %error, "cannot take the response; trying again");
                    }
                    thread::sleep(TROUBLE_PAUSE);
                }
            }
            if self.stop.is_urgent() {
                return Err("the worker was stopped before the response could be read".to_owned());
            }
        }
    }

    /// `None` where there is no response yet.
    fn try_to_take(&self) -> Result<Option<Result<(), String>>, DirectoryError> {
        let file = match self.directory.open_running_or_response(self.id) {
            Ok(Some(file)) => file,
            Ok(None) | Err(DirectoryError::NotVisibleYet(_)) => return Ok(None),
            Err(error) => return settled(error),
        };
        if self.before.is_some() && fingerprint(&file) == self.before {
            return Ok(None);
        }

        match document::check(&file) {
            Ok(()) => {}
            Err(DocumentFault::Unreadable(source)) => {
                return Err(DirectoryError::Io { path: self.directory.running_path(self.id), source });
            }
            Err(fault) => return Ok(Some(Err(self.describe(&fault)))),
        }

        match self.directory.place_response(self.id) {
            Ok(()) => Ok(Some(Ok(()))),
            Err(DirectoryError::ResponseMissing(_) | DirectoryError::NotVisibleYet(_)) => Ok(None),
            Err(error) => settled(error),
        }
    }

    fn describe(&self, fault: &DocumentFault) -> String {
        let is_running = fs::symlink_metadata(self.directory.running_path(self.id)).is_ok();
        let name = if is_running { layout::running(self.id) } else { layout::response(self.id) };
        format!("the response file {name} cannot be taken: {fault}")
    }

    fn missing_grace(&self) -> Duration {
        // A directory that cannot even be asked is away: then the longer one is right too.
        let is_local = self.directory.file_system().is_ok_and(|file_system| !file_system.is_network_or_fuse);
        if is_local { MISSING_GRACE } else { MISSING_GRACE_CACHED }
    }
}

/// What the program has done is settled; what the system does may pass.
fn settled(error: DirectoryError) -> Result<Option<Result<(), String>>, DirectoryError> {
    match error {
        DirectoryError::Io { .. } => Err(error),
        error => Ok(Some(Err(format!("the response file cannot be taken: {error}")))),
    }
}

/// Whether the job's response is in its place, and whole.
pub(crate) fn is_whole(directory: &SharedDir, id: JobId) -> Result<bool, DirectoryError> {
    let file = match directory.open_response(id) {
        Ok(Some(file)) => file,
        // Nobody takes a link, a folder or a file of two names, however long it is waited for.
        Ok(None) | Err(DirectoryError::NotAFile(_) | DirectoryError::HardLinked(_)) => return Ok(false),
        Err(error) => return Err(error),
    };
    match document::check(file) {
        Ok(()) => Ok(true),
        Err(DocumentFault::Unreadable(source)) => {
            Err(DirectoryError::Io { path: directory.path(&layout::response(id)), source })
        }
        Err(_) => Ok(false),
    }
}

fn fingerprint(file: &File) -> Option<Fingerprint> {
    file.metadata().ok().map(|metadata| Fingerprint::of(&metadata))
}
