//! Responses: who has written which, and their way from the program that runs to their name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Seek};
use std::path::PathBuf;
use std::time::SystemTime;

use bcrlapi_domain::JobId;
use bcrlapi_exchange::layout;

use crate::durable::{self, Like};
use crate::facts::Facts;
use crate::folder::{Folder, Opened};
use crate::shared::name_of;
use crate::{DirectoryError, SharedDir};

impl SharedDir {
    /// When the response files of these jobs were last written, by the clock of the file system; of
    /// those that are there.
    ///
    /// Where clients remember what was missing, only a listing of the folder tells what is there by
    /// now. One that is listed and cannot be seen yet, or that is damaged, counts as written in 1970:
    /// it is there, and will be seen to change, or not to be readable.
    pub fn response_dates(&self, jobs: &BTreeSet<JobId>) -> Result<BTreeMap<JobId, SystemTime>, DirectoryError> {
        if jobs.is_empty() {
            return Ok(BTreeMap::new());
        }
        let folder = self.root()?.open(layout::RESPONSE_DIR)?;
        let is_asked = |name: &str| layout::job_named(name).is_some_and(|id| jobs.contains(&id));
        let listed = if self.is_remote() { Some(folder.files(is_asked)?) } else { None };

        let mut dates = BTreeMap::new();
        match listed {
            Some(names) => {
                for name in names {
                    let Some(id) = layout::job_named(&name) else { continue };
                    let date = date_of(&folder, &name)?.unwrap_or(SystemTime::UNIX_EPOCH);
                    dates.insert(id, date);
                }
            }
            None => {
                for id in jobs {
                    let response = layout::response(*id);
                    let date = date_of(&folder, name_of(&response))?;
                    dates.extend(date.map(|date| (*id, date)));
                }
            }
        }
        Ok(dates)
    }

    /// Makes sure that the job's response, which is held open, is on the disk: a script does not,
    /// and a job that the cloud knows as done has to have its response here after a power cut too.
    /// Whatever has its name by now, it is this file that was read.
    pub fn sync_response(&self, id: JobId, held: &File) -> Result<(), DirectoryError> {
        let response = self.root()?.open(layout::RESPONSE_DIR)?;
        durable::sync(held).map_err(|error| response.error(name_of(&layout::response(id)), error))?;
        response.sync()
    }

    /// Where the job's program is to write its response while it runs.
    pub fn running_path(&self, id: JobId) -> PathBuf {
        self.path(&layout::running(id))
    }

    /// The response that a program has written, before it is put in its place: from where it was
    /// told to write, or from where it knew that it should. `None` where neither folder lists one.
    pub fn open_running_or_response(&self, id: JobId) -> Result<Option<File>, DirectoryError> {
        let place = Place::open(&self.root()?, id)?;
        let opened = match place.open_running()? {
            Some(opened) => Some(opened),
            None => place.response.open_single(&place.name)?,
        };
        Ok(opened.map(|opened| opened.file))
    }

    /// Gives what the job's program has written the name of its response, durably and in one step.
    /// A program that has written there by itself needs no more than that this is made durable.
    pub fn place_response(&self, id: JobId) -> Result<(), DirectoryError> {
        let place = Place::open(&self.root()?, id)?;
        if let Some(opened) = place.open_running()? {
            return place.put(&opened);
        }

        let Some(opened) = place.response.open_single(&place.name)? else {
            return Err(DirectoryError::ResponseMissing(place.response.path(&place.name)));
        };
        place.make_whole(&place.response, &opened)?;
        place.response.sync()
    }
}

/// When a file was last written; `None` where there is none. One that is listed and damaged is there,
/// and keeps nobody from looking at the others.
fn date_of(folder: &Folder, name: &str) -> Result<Option<SystemTime>, DirectoryError> {
    match folder.facts_of(name) {
        Ok(facts) => Ok(facts.filter(Facts::is_file).map(|facts| facts.modified)),
        // A disk that fails says so of names that are not there too.
        Err(error) if error.is_damage() => Ok(folder.lists(name)?.then_some(SystemTime::UNIX_EPOCH)),
        Err(error) => Err(error),
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
        self.make_whole(running, opened)?;
        let renamed = durable::rename(running, &opened.file, &self.name, &self.response, &self.name);
        match renamed {
            Err(error) if error.is_between_file_systems() => self.copy(running, opened)?,
            renamed => renamed?,
        }
        self.response.sync()
    }

    /// For where the two folders are two mounts.
    fn copy(&self, running: &Folder, opened: &Opened) -> Result<(), DirectoryError> {
        let staged = format!(".{}.staged", self.name);
        let mut source = &opened.file;
        let file = durable::stage(&self.response, &staged, |file| {
            source.rewind()?;
            io::copy(&mut source, file).map(drop)
        })?;
        durable::put_in_place(&self.response, &file, &staged, &self.name)?;
        running.remove(&self.name)
    }

    /// Makes sure that the response is on the disk, and that others may read it: the agent may be
    /// another user, and the program's umask its own.
    fn make_whole(&self, folder: &Folder, opened: &Opened) -> Result<(), DirectoryError> {
        let like = Like::file_in(&self.response.facts()?);
        like.give_to(&opened.file).map_err(|error| folder.error(&self.name, error))?;
        durable::sync(&opened.file).map_err(|error| folder.error(&self.name, error))
    }
}
