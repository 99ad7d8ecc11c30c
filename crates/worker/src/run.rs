use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use bcrlapi_directory::{DirectoryError, Fingerprint, SharedDir};
use bcrlapi_domain::JobId;
use bcrlapi_exchange::layout;

use crate::{Stop, WorkerError, program, queue};

/// The pause between two looks at a queue in which nothing waits. A look costs one `stat`.
const IDLE_PAUSE: Duration = Duration::from_millis(200);
/// The pause after the directory could not be read or written.
const TROUBLE_PAUSE: Duration = Duration::from_secs(2);

/// The worker's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The shared directory.
    pub shared: PathBuf,
    /// Whether to look once and go, instead of staying.
    pub once: bool,
    /// How many jobs may run at the same time.
    pub jobs: usize,
    /// The program and its first arguments; the request's and the response's file follow.
    pub command: Vec<String>,
}

impl Config {
    fn program(&self) -> String {
        self.command.first().cloned().unwrap_or_default()
    }
}

/// Serves the queue until it is asked to stop; with `once`, claims at most `jobs` jobs and runs them. Says how many it
/// has run.
pub fn run(config: &Config, stop: &Stop) -> Result<usize, WorkerError> {
    let directory = &SharedDir::open(&config.shared)?;
    // A slip in the command should cost no job.
    program::find(&config.program())
        .map_err(|reason| WorkerError::CannotStart { command: config.program(), reason })?;
    thread::scope(|scope| {
        let start = |_| scope.spawn(|| Slot { config, directory, stop }.serve());
        let slots: Vec<_> = (0..config.jobs).map(start).collect();
        slots.into_iter().map(|slot| slot.join().expect("a slot does not panic")).sum()
    })
}

/// One of the places where a job can run.
struct Slot<'a> {
    config: &'a Config,
    directory: &'a SharedDir,
    stop: &'a Stop,
}

impl Slot<'_> {
    fn serve(&self) -> Result<usize, WorkerError> {
        let mut jobs_run = 0;
        let mut idle_status = None;
        while !self.stop.is_asked() {
            match self.claim(&mut idle_status) {
                Ok(Some(id)) => {
                    self.run_job(id)?;
                    jobs_run += 1;
                }
                Ok(None) if !self.config.once => thread::sleep(IDLE_PAUSE),
                Ok(None) => {}
                Err(error) if !self.config.once => {
                    tracing::warn!(%error, "cannot look for jobs; trying again");
                    thread::sleep(TROUBLE_PAUSE);
                }
                Err(error) => return Err(error.into()),
            }
            if self.config.once {
                break;
            }
        }
        Ok(jobs_run)
    }

    /// Takes a job, if one waits. A queue in which nothing waited is not read again before it has changed.
    fn claim(&self, idle_status: &mut Option<Fingerprint>) -> Result<Option<JobId>, DirectoryError> {
        let status = self.directory.status_fingerprint()?;
        if status.is_none() || status == *idle_status {
            return Ok(None);
        }
        let claimed = queue::claim(self.directory)?;
        *idle_status = if claimed.is_none() { status } else { None };
        Ok(claimed)
    }

    fn run_job(&self, id: JobId) -> Result<(), WorkerError> {
        let request = self.directory.path(&layout::request(id));
        let response = self.directory.path(&layout::response(id));
        tracing::info!(uuid = %id, "started");
        let failure = match program::run(&self.config.command, &request, &response, self.stop) {
            Ok(None) if !response.is_file() => Some("the program wrote no response file".to_owned()),
            Ok(failure) => failure,
            Err(reason) => {
                let error = WorkerError::CannotStart { command: self.config.program(), reason };
                queue::finish(self.directory, id, Some(&error.to_string()), self.stop);
                self.stop.take_no_more();
                return Err(error);
            }
        };
        queue::finish(self.directory, id, failure.as_deref(), self.stop);
        match failure {
            Some(error) => tracing::warn!(uuid = %id, error, "failed"),
            None => tracing::info!(uuid = %id, "done"),
        }
        Ok(())
    }
}
