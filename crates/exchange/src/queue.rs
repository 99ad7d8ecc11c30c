use std::collections::BTreeMap;

use bcrlapi_domain::{Job, JobId, Outcome, State, Status, limits};
use chrono::{DateTime, FixedOffset, Utc};
use serde_json::{Map, Value};

use crate::without_nan::without_nan;
use crate::{lab_date, spaced_json};

/// `request/status.json` as a value: the entries in their order, and everything else that somebody put there.
///
/// Reads what people and scripts write (any indentation and order of fields, CRLF, a byte order mark, fields
/// nobody knows, Python's `NaN`); writes one job a line. What it does not understand it keeps, numbers as the nearest
/// double, `NaN` and the infinities as null.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Queue {
    entries: Vec<Entry>,
    index: BTreeMap<JobId, usize>,
    other_fields: Map<String, Value>,
}

/// One job's place in the queue, with all its fields as they were found.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry(Value);

/// The bytes are no queue. It may be that somebody is writing them just now.
#[derive(Debug, thiserror::Error)]
pub enum BrokenQueue {
    /// Not JSON, or not all of it.
    #[error("status.json is not valid JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    /// More than anybody should make it.
    #[error("status.json has {size_bytes} bytes; at most {} are read", Queue::MAX_BYTES)]
    TooLarge {
        /// How many.
        size_bytes: u64,
    },
    /// JSON of another shape.
    #[error("status.json is not of the form {{\"jobs\": [...]}}")]
    NotAQueue,
}

impl Queue {
    /// The most bytes that are read or written: over three million jobs, more than a week of one every second has.
    pub const MAX_BYTES: u64 = 512 * 1024 * 1024;

    /// Reads the file's bytes. An object without `jobs` is an empty queue.
    pub fn parse(bytes: &[u8]) -> Result<Self, BrokenQueue> {
        const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
        let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
        let json = serde_json::from_slice(bytes).or_else(|error| match without_nan(bytes) {
            Some(bytes) => serde_json::from_slice(&bytes),
            None => Err(error),
        })?;
        let Value::Object(mut fields) = json else { return Err(BrokenQueue::NotAQueue) };
        let jobs = match fields.shift_remove("jobs") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(jobs)) => jobs,
            Some(_) => return Err(BrokenQueue::NotAQueue),
        };
        let mut file = Self { other_fields: fields, ..Self::default() };
        jobs.into_iter().map(Entry).for_each(|entry| file.push(entry));
        Ok(file)
    }

    /// The file's bytes: `{"jobs": [` and one job a line, so that people can read, grep and diff it.
    pub fn render(&self) -> Vec<u8> {
        const TYPICAL_LINE_BYTES: usize = 160;
        let mut out = Vec::with_capacity((self.entries.len() + 1) * TYPICAL_LINE_BYTES);
        out.extend_from_slice(b"{\"jobs\": [");
        for (position, entry) in self.entries.iter().enumerate() {
            out.extend_from_slice(if position == 0 { b"\n  " } else { b",\n  " });
            spaced_json::write(&mut out, &entry.0);
        }
        out.extend_from_slice(b"\n]");
        for (name, value) in &self.other_fields {
            out.extend_from_slice(b", ");
            spaced_json::write(&mut out, name);
            out.extend_from_slice(b": ");
            spaced_json::write(&mut out, value);
        }
        out.extend_from_slice(b"}\n");
        out
    }

    /// The entries, from the top.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The job's entry; the first one, should somebody have made two.
    pub fn entry(&self, id: JobId) -> Option<&Entry> {
        self.index.get(&id).map(|&position| &self.entries[position])
    }

    /// Appends an entry at the end of the queue.
    pub fn push(&mut self, entry: Entry) {
        if let Some(id) = entry.id() {
            self.index.entry(id).or_insert(self.entries.len());
        }
        self.entries.push(entry);
    }

    /// The first pending job from the top: the one the APP server's turn is for.
    pub fn first_pending(&self) -> Option<JobId> {
        let first_of_its_job = |(position, entry): (usize, &Entry)| {
            let id = entry.id()?;
            (self.index.get(&id) == Some(&position) && entry.state() == Some(State::Pending)).then_some(id)
        };
        self.entries.iter().enumerate().find_map(first_of_its_job)
    }

    /// Whether there is an entry whose job's week is over.
    pub fn has_expired(&self, now: DateTime<Utc>) -> bool {
        self.index.keys().any(|id| id.is_expired(now))
    }

    /// Removes the entries whose job's week is over. Those that are no job's stay.
    pub fn remove_expired(&mut self, now: DateTime<Utc>) {
        self.retain(|entry| entry.id().is_none_or(|id| !id.is_expired(now)));
    }

    fn retain(&mut self, is_kept: impl Fn(&Entry) -> bool) {
        let entries = std::mem::take(&mut self.entries);
        self.index.clear();
        entries.into_iter().filter(is_kept).for_each(|entry| self.push(entry));
    }

    /// Takes over what the other queue knows more: entries that are further there, and entries this one lacks, if they
    /// are done or `is_welcome`. Of any other job an old queue must not bring back a turn. Says
    /// whether that changed anything. A state is a maximum, so neither order nor repetition matters.
    pub fn absorb(&mut self, other: &Self, is_welcome: impl Fn(JobId, Option<State>) -> bool) -> bool {
        let mut has_changed = false;
        for entry in &other.entries {
            let Some(id) = entry.id() else { continue };
            match self.index.get(&id) {
                None if is_welcome(id, entry.state()) || entry.state().is_some_and(State::is_done) => {
                    self.push(entry.clone());
                }
                Some(&position) if self.entries[position].is_behind(entry) => self.entries[position] = entry.clone(),
                _ => continue,
            }
            has_changed = true;
        }
        has_changed
    }

    /// Takes out the entry of a job that still waits.
    pub fn withdraw(&mut self, id: JobId) {
        let waits = |entry: &Entry| entry.state() == Some(State::Pending);
        if self.entry(id).is_some_and(waits) {
            self.retain(|entry| entry.id() != Some(id) || !waits(entry));
        }
    }

    /// Moves the job's entry forward to `state`; says whether that changed anything. Never moves it back.
    pub fn advance(&mut self, id: JobId, state: State, error: Option<&str>) -> bool {
        let Some(&position) = self.index.get(&id) else { return false };
        let entry = &mut self.entries[position];
        let moves = entry.state().is_some_and(|current| current.is_behind(state));
        if moves {
            entry.set(state, error);
        }
        moves
    }
}

impl Entry {
    /// The entry of a job that comes into the queue. `offset` is the lab's own, for `request_date`.
    pub fn new(job: &Job, offset: FixedOffset) -> Self {
        let mut entry = Self(Value::Object(Map::from_iter([
            ("uuid".to_owned(), job.id.to_string().into()),
            ("api".to_owned(), job.api.to_string().into()),
            ("status".to_owned(), Status::Pending.as_str().into()),
            ("request_date".to_owned(), lab_date::render(job.id, offset).into()),
        ])));
        entry.set(job.state, job.error.as_deref());
        entry
    }

    /// Which job it is for; none where the APP wrote something else.
    pub fn id(&self) -> Option<JobId> {
        self.text("uuid")?.parse().ok()
    }

    /// How far the APP says the job is. `failed` is read as done and failed; of a word nobody knows nothing is said.
    pub fn state(&self) -> Option<State> {
        match self.text("status")? {
            "failed" => Some(State::Done(Outcome::Failed)),
            word => match word.parse().ok()? {
                Status::Pending => Some(State::Pending),
                Status::Processing => Some(State::Processing),
                Status::Done => Some(State::Done(self.outcome())),
            },
        }
    }

    /// Why the job failed, as the APP says it: at most [`limits::ERROR_MAX_CHARS`], the end of it.
    pub fn error(&self) -> Option<String> {
        let text = self.text("error")?;
        let surplus = text.chars().count().saturating_sub(limits::ERROR_MAX_CHARS);
        Some(text.chars().skip(surplus).collect())
    }

    /// How much of the job is done, 0 to 100.
    pub fn progress(&self) -> Option<u8> {
        let percent = self.0.get("progress")?.as_f64().filter(|percent| *percent >= 0.0)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 0 and 100")]
        Some(percent.min(100.0) as u8)
    }

    /// What the APP says of the job: at most [`limits::MESSAGE_MAX_CHARS`], the beginning of it.
    pub fn message(&self) -> Option<String> {
        Some(self.text("message")?.chars().take(limits::MESSAGE_MAX_CHARS).collect())
    }

    fn is_behind(&self, other: &Self) -> bool {
        self.state().zip(other.state()).is_some_and(|(state, other)| state.is_behind(other))
    }

    /// The entry as one line of status.json.
    pub fn to_line(&self) -> String {
        let mut line = Vec::new();
        spaced_json::write(&mut line, &self.0);
        String::from_utf8(line).expect("JSON is UTF-8")
    }

    /// Only a failure is told apart here: how else a job can end is not for the APP to say.
    fn outcome(&self) -> Outcome {
        match self.text("outcome") {
            Some("failed") => Outcome::Failed,
            _ => Outcome::Succeeded,
        }
    }

    fn set(&mut self, state: State, error: Option<&str>) {
        let Value::Object(fields) = &mut self.0 else { return };
        fields.insert("status".to_owned(), state.status().as_str().into());
        if let Some(outcome) = state.outcome().filter(|outcome| *outcome != Outcome::Succeeded) {
            fields.insert("outcome".to_owned(), outcome.as_str().into());
        }
        if let Some(error) = error {
            fields.insert("error".to_owned(), error.into());
        }
    }

    fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field)?.as_str()
    }
}
