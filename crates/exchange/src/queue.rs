use std::collections::{BTreeMap, BTreeSet};

use bcrlapi_domain::{JobId, State};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::entry::on_one_line;
use crate::fields::{Fields, usual};
use crate::without_nan::without_nan;
use crate::{Entry, spaced_json};

// The layout that is written: the jobs a line each, then whatever else somebody has put there.
const BEFORE_JOBS: &str = "{\"jobs\": [";
const BEFORE_FIRST: &str = "\n  ";
const BEFORE_NEXT: &str = ",\n  ";
const AFTER_JOBS: &str = "\n]";
const END: &str = "}\n";
const TYPICAL_LINE_BYTES: usize = 144;

/// `request/status.json` as a value: the entries in their order, and everything else that somebody put there.
///
/// Reads what people and scripts write (any indentation and order of fields, CRLF, a byte order mark, fields nobody
/// knows, Python's `NaN`); writes one job a line. What it does not understand it keeps as it was written, `NaN` and the
/// infinities as null.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Queue {
    entries: Vec<Entry>,
    index: BTreeMap<JobId, usize>,
    /// Name and value, as JSON.
    other_fields: Vec<(String, String)>,
}

/// A queue in which nobody has put anything of their own. Reading just this takes half the time.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UsualQueue<'a> {
    #[serde(borrow)]
    jobs: Vec<&'a RawValue>,
}

/// The bytes are no queue. It may be that somebody is writing them just now.
#[derive(Debug, thiserror::Error)]
pub enum BrokenQueue {
    /// Not JSON, or not all of it.
    #[error("status.json is not valid JSON: {0}")]
    NotJson(serde_json::Error),
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

impl From<serde_json::Error> for BrokenQueue {
    fn from(error: serde_json::Error) -> Self {
        if error.is_data() { Self::NotAQueue } else { Self::NotJson(error) }
    }
}

impl Queue {
    /// The most bytes that are read or written: over three million jobs, more than a week of one every second has.
    pub const MAX_BYTES: u64 = 512 * 1024 * 1024;

    /// Reads the file's bytes. An object without `jobs` is an empty queue.
    pub fn parse(bytes: &[u8]) -> Result<Self, BrokenQueue> {
        const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
        let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
        Self::parse_json(bytes).or_else(|error| match without_nan(bytes) {
            Some(json) => Self::parse_json(&json),
            None => Err(error),
        })
    }

    fn parse_json(json: &[u8]) -> Result<Self, BrokenQueue> {
        if let Some(queue) = Self::parse_own_layout(json) {
            return Ok(queue);
        }
        match usual(json) {
            Some(UsualQueue { jobs }) => Ok(Self::of(&jobs)),
            None => Self::parse_fields(&serde_json::from_slice(json)?),
        }
    }

    /// Reads what [`Queue::render`] writes, as long as nobody has put anything of their own between the entries. For
    /// speed: where each entry ends is found while it is read, and not by a pass of its own.
    fn parse_own_layout(json: &[u8]) -> Option<Self> {
        let jobs = str::from_utf8(json).ok()?.strip_prefix(BEFORE_JOBS)?.strip_suffix(END)?.strip_suffix(AFTER_JOBS)?;
        let mut rest = jobs.strip_prefix(BEFORE_FIRST)?;
        let mut entries = Vec::with_capacity(json.len() / TYPICAL_LINE_BYTES);
        loop {
            let (entry, after) = Entry::read_first(rest)?;
            entries.push(entry);
            match after.strip_prefix(BEFORE_NEXT) {
                Some(next) => rest = next,
                None => return after.is_empty().then(|| Self::with(entries)),
            }
        }
    }

    fn parse_fields(fields: &Fields<'_>) -> Result<Self, BrokenQueue> {
        let jobs: Option<Vec<_>> = fields.raw("jobs").map_or(Ok(None), |jobs| serde_json::from_str(jobs.get()))?;
        let others = fields.iter().filter(|(name, _)| *name != "jobs");
        let other_fields =
            others.map(|(name, value)| (name.to_owned(), on_one_line(value.get()).into_owned())).collect();
        Ok(Self { other_fields, ..Self::of(&jobs.unwrap_or_default()) })
    }

    fn of(jobs: &[&RawValue]) -> Self {
        Self::with(jobs.iter().map(|json| Entry::read(json.get())).collect())
    }

    fn with(entries: Vec<Entry>) -> Self {
        let mut queue = Self { entries, ..Self::default() };
        queue.make_index();
        queue
    }

    /// Of two entries of one job, the first one counts.
    fn make_index(&mut self) {
        let positions = self.entries.iter().enumerate().rev();
        self.index = positions.filter_map(|(position, entry)| Some((entry.id()?, position))).collect();
    }

    /// The file's bytes: `{"jobs": [` and one job a line, so that people can read, grep and diff it.
    pub fn render(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity((self.entries.len() + 1) * TYPICAL_LINE_BYTES);
        out.extend_from_slice(BEFORE_JOBS.as_bytes());
        for (position, entry) in self.entries.iter().enumerate() {
            let before = if position == 0 { BEFORE_FIRST } else { BEFORE_NEXT };
            out.extend_from_slice(before.as_bytes());
            out.extend_from_slice(entry.line().as_bytes());
        }
        out.extend_from_slice(AFTER_JOBS.as_bytes());
        for (name, value) in &self.other_fields {
            out.extend_from_slice(b", ");
            spaced_json::write(&mut out, name);
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
        }
        out.extend_from_slice(END.as_bytes());
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

    /// The jobs of these that have no entry.
    pub(crate) fn lacking(&self, ids: &BTreeSet<JobId>) -> impl Iterator<Item = JobId> {
        // Both are in order: one pass over the two is much quicker than to look for each.
        let mut there = self.index.keys().peekable();
        ids.iter().copied().filter(move |id| {
            while there.next_if(|other| *other < id).is_some() {}
            there.peek() != Some(&id)
        })
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
        // Ids sort by the time they were made.
        self.index.keys().next().is_some_and(|oldest| oldest.is_expired(now))
    }

    /// Removes the entries whose job's week is over. Those that are no job's stay.
    pub fn remove_expired(&mut self, now: DateTime<Utc>) {
        self.retain(|entry| entry.id().is_none_or(|id| !id.is_expired(now)));
    }

    fn retain(&mut self, is_kept: impl Fn(&Entry) -> bool) {
        self.entries.retain(is_kept);
        self.make_index();
    }

    /// Takes over what the other queue knows more: entries that are further there, and entries that this one lacks, if
    /// they are done or `is_welcome`. Any other might give an old job a new turn. Says whether that changed anything. A
    /// state is a maximum, so neither order nor repetition matters.
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

    /// Takes out the entries of these jobs, as far as they still wait.
    pub fn withdraw(&mut self, is_withdrawn: impl Fn(JobId) -> bool) {
        let is_kept = |entry: &Entry| entry.state() != Some(State::Pending) || !entry.id().is_some_and(&is_withdrawn);
        self.retain(is_kept);
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
