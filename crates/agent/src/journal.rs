//! What was seen to go forward and could not be told to the cloud, kept on the disk: so that a
//! damaged queue and an absent cloud together cannot turn time back.

use bcrlapi_directory::DirectoryError;
use bcrlapi_exchange::Entry;

use crate::AgentError;
use crate::agent::Agent;
use crate::execute::{Effect, blocking};

/// The name among the steps of writing the journal.
pub(crate) const JOURNAL: &str = "journal";

impl Agent {
    /// Takes in, once, what the agent before has seen. Where something stands in the journal's place
    /// that is none, goes on without: it helps to remember, and no lab should stand still for it.
    pub(crate) async fn read_journal(&mut self) -> Result<(), AgentError> {
        if self.has_read_journal {
            return Ok(());
        }
        let directory = self.directory.clone();
        let journal = match blocking(move || directory.read_journal()).await {
            Err(AgentError::Directory(error)) if is_no_journal(&error) => {
                tracing::error!(%error, "going on without what was seen before");
                Vec::new()
            }
            read => read?,
        };
        self.view.read_journal(&journal);
        self.has_read_journal = true;
        Ok(())
    }

    /// Writes down what was seen, is not told, and is not there already.
    pub(crate) async fn write_journal(&mut self) {
        // What is being uploaded just now is told in a moment, as long as the cloud answers.
        let is_being_told =
            |entry: &&Entry| !self.is_cloud_away && entry.id().is_some_and(|id| self.uploading.contains(&id));
        let to_journal = self.view.to_journal().into_iter();
        let entries: Vec<Entry> = to_journal.filter(|entry| !is_being_told(entry)).map(Entry::detached).collect();
        if entries.is_empty() || !self.may_try(JOURNAL) {
            return;
        }

        let directory = self.directory.clone();
        let lines = lines(entries.iter());
        let written = blocking(move || directory.append_journal(&lines)).await;
        if written.is_ok() {
            self.view.has_journaled(&entries);
        }
        self.conclude(JOURNAL, written.map(|()| Effect::Journaled));
    }

    /// Takes out of the journal what the cloud knows by now.
    pub(crate) async fn shorten_journal(&mut self) {
        let Some(needed) = self.view.new_journal() else { return };
        let entries: Vec<Entry> = needed.into_iter().map(Entry::detached).collect();
        if !self.may_try(JOURNAL) {
            return;
        }

        let directory = self.directory.clone();
        let lines = lines(entries.iter());
        let written = blocking(move || directory.replace_journal(&lines)).await;
        if written.is_ok() {
            self.view.journaled.clear();
            self.view.has_journaled(&entries);
        }
        self.conclude(JOURNAL, written.map(|()| Effect::Journaled));
    }
}

/// Whether this stays so until somebody puts it right.
fn is_no_journal(error: &DirectoryError) -> bool {
    matches!(error, DirectoryError::NotAFile(_) | DirectoryError::JournalTooLarge { .. }) || error.is_denied()
}

/// The entries as the journal has them.
fn lines<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<u8> {
    let mut lines = Vec::new();
    for entry in entries {
        lines.extend_from_slice(entry.line().as_bytes());
        lines.push(b'\n');
    }
    lines
}
