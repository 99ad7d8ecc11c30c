use bcrlapi_cloud::StoreError;
use bcrlapi_domain::Job;
use chrono::Utc;

use crate::AgentError;
use crate::agent::Agent;

impl Agent {
    /// Asks the cloud what waits for this lab; after a start, also what the lab has taken and not finished.
    pub(crate) async fn observe_cloud(&mut self) -> Result<(), AgentError> {
        if !self.is_primed {
            self.directory.adopt_displaced(&self.directory.lock()?)?;
            let taken = readable(self.store.taken_jobs().await?);
            tracing::info!(jobs = taken.len(), "going on with the jobs that this lab has taken");
            for job in taken {
                self.view.learn(job);
            }
            self.is_primed = true;
        }
        self.view.inbox = readable(self.store.inbox().await?);
        let now = Utc::now();
        self.view.jobs.retain(|id, _| !id.is_expired(now));
        Ok(())
    }

    /// Looks at the files; reads status.json only if it is another than the one the view holds.
    pub(crate) fn observe_directory(&mut self) -> Result<(), AgentError> {
        for (id, known) in &mut self.view.jobs {
            if !known.job.state.is_done() {
                known.has_request = self.directory.has_request(*id);
            }
        }
        let there = self.directory.status_fingerprint()?;
        if there.is_none() || there != self.status_read {
            let seen = self.directory.read_status()?;
            if let Err(broken) = &seen.queue {
                tracing::warn!(%broken, "cannot read status.json; somebody may be writing it just now");
            }
            self.view.see_status(seen.queue, Utc::now());
            self.status_read = seen.fingerprint;
            seen.fingerprint.into_iter().for_each(|content| self.taken_in.add(content));
        }
        self.observe_displaced()
    }

    /// Looks at the displaced queues; reads those that somebody has written to since their content was taken in.
    fn observe_displaced(&mut self) -> Result<(), AgentError> {
        let there = self.directory.displaced()?;
        self.view.displaced.retain(|inode, _| there.iter().any(|(other, _)| other == inode));
        for (inode, content) in there {
            let is_known = self.view.displaced.contains_key(&inode);
            if !self.taken_in.contains(content) {
                let seen = self.directory.read_displaced(inode)?;
                seen.fingerprint.into_iter().for_each(|content| self.taken_in.add(content));
                // One that is broken is being written just now, or never was whole: it has no news yet.
                self.view.see_displaced(inode, seen.queue.ok().flatten(), Utc::now());
            } else if !is_known {
                self.view.see_displaced(inode, None, Utc::now());
            }
        }
        Ok(())
    }
}

/// The jobs that can be read. A damaged row waits for the operator and holds up nobody else's job.
fn readable(jobs: Vec<Result<Job, StoreError>>) -> Vec<Job> {
    let warn = |error: &StoreError| tracing::error!(%error, "leaving out a job");
    jobs.into_iter().filter_map(|job| job.inspect_err(warn).ok()).collect()
}
