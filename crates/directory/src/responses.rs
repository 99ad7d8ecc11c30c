//! Responses: who has written which, and their way from the program that runs to their name.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::time::SystemTime;

use bcrlapi_domain::JobId;
use bcrlapi_exchange::layout;

use crate::durable::{self, Like};
use crate::folder::{Folder, Opened};
use crate::shared::name_of;
use crate::{DirectoryError, SharedDir};

/// What is known of a response file that is listed in its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListedResponse {
    /// It was last written at this time, by the clock of the file system.
    Written(SystemTime),
    /// This computer remembers that there was no such file, and does not see it yet (NFS, FUSE).
    NotVisibleYet,
}

impl ListedResponse {
    /// When it was last written, where that is known.
    pub fn date(self) -> Option<SystemTime> {
        match self {
            Self::Written(date) => Some(date),
            Self::NotVisibleYet => None,
        }
    }
}

impl SharedDir {
    /// The response files that are listed, of the jobs that `is_asked` for. One that is not among them is not there: a
    /// listing does not remember what was missing before.
    pub fn response_dates(
        &self,
        is_asked: impl Fn(JobId) -> bool,
    ) -> Result<BTreeMap<JobId, ListedResponse>, DirectoryError> {
        let folder = self.root()?.open(layout::RESPONSE_DIR)?;
        let names = folder.files(|name| layout::job_named(name).is_some_and(&is_asked))?;

        let mut responses = BTreeMap::new();
        for name in names {
            let Some(id) = layout::job_named(&name) else { continue };
            match folder.facts_of(&name)? {
                Some(facts) if facts.is_file() => {
                    responses.insert(id, ListedResponse::Written(facts.modified));
                }
                Some(_) => {}
                None => {
                    responses.insert(id, ListedResponse::NotVisibleYet);
                }
            }
        }
        Ok(responses)
    }

    /// Where the job's program is to write its response while it runs.
    pub fn running_path(&self, id: JobId) -> PathBuf {
        self.path(&layout::running(id))
    }

    /// The response that a program has written, before it is put in its place: from where it was told to write, or
    /// from where it knew that it should. `None` where neither folder lists one.
    pub fn open_running_or_response(&self, id: JobId) -> Result<Option<File>, DirectoryError> {
        let place = Place::open(&self.root()?, id)?;
        let opened = match place.open_running()? {
            Some(opened) => Some(opened),
            None => place.response.open_single(&place.name)?,
        };
        Ok(opened.map(|opened| opened.file))
    }

    /// Gives what the job's program has written the name of its response, durably and in one step. A program that has
    /// written there by itself needs no more than that this is made durable.
    pub fn place_response(&self, id: JobId) -> Result<(), DirectoryError> {
        let place = Place::open(&self.root()?, id)?;
        if let Some(opened) = place.open_running()? {
            return place.put(&opened);
        }

        let Some(opened) = place.response.open_single(&place.name)? else {
            return Err(DirectoryError::ResponseMissing(place.response.path(&place.name)));
        };
        durable::sync(&opened.file).map_err(|error| place.response.error(&place.name, error))?;
        place.response.sync()
    }
}

/// The two places of a job's response, held open for one operation.
struct Place {
    response: Folder,
    /// `None` where somebody has removed it.
    running: Option<Folder>,
    name: String,
}

impl Place {
    fn open(root: &Folder, id: JobId) -> Result<Self, DirectoryError> {
        let response = root.open(layout::RESPONSE_DIR)?;
        let running = root.open_if_there(layout::RUNNING_DIR)?;
        Ok(Self { response, running, name: name_of(&layout::response(id)).to_owned() })
    }

    fn open_running(&self) -> Result<Option<Opened>, DirectoryError> {
        match &self.running {
            Some(running) => running.open_single(&self.name),
            None => Ok(None),
        }
    }

    fn put(&self, opened: &Opened) -> Result<(), DirectoryError> {
        let running = self.running.as_ref().unwrap_or(&self.response);
        let at_running = |error| running.error(&self.name, error);
        // The agent may be another user, and the program's umask its own.
        Like::file_in(&self.response.facts()?).give_to(&opened.file).map_err(at_running)?;
        durable::sync(&opened.file).map_err(at_running)?;

        running.rename(&self.name, &self.response, &self.name).map_err(at_running)?;
        self.response.sync()
    }
}
