use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Arc;

use bcrlapi_domain::{JobId, State};
use chrono::{DateTime, Utc};
use serde_json::value::RawValue;

use crate::entry::{Said, on_one_line};
use crate::fields::{Fields, usual};
use crate::jobs::{Jobs, UsualQueue};
use crate::line::Line;
use crate::repair::{Repaired, repairs};
use crate::salvage::salvage;
use crate::text::{self, to_ascii};
use crate::{Entry, WorkerMark, spaced_json};

// The layout that is written: the jobs a line each, then whatever else somebody has put there.
const BEFORE_JOBS: &str = "{\"jobs\": [";
const BEFORE_FIRST: &str = "\n  ";
const BEFORE_NEXT: &str = ",\n  ";
const AFTER_JOBS: &str = "\n]";
const END: &str = "}\n";
const TYPICAL_LINE_BYTES: usize = 144;

/// `request/status.json` as a value: the entries in their order, and everything else that somebody put there.
///
/// Reads what people and scripts write (any indentation and order of fields, CRLF, a byte order
/// mark, other encodings, fields nobody knows), and JSON with small faults whose meaning is plain:
/// Python's `NaN`, control characters in texts, trailing commas, text behind the document. Writes
/// one job a line, in ASCII, which every locale reads. What it does not understand it keeps as it
/// was written, `NaN` and the infinities as null.
///
/// A queue of a million entries takes about 50 bytes for each beside its text, and shares the text
/// with its copies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Queue {
    entries: Vec<Entry>,
    /// The position of each job's furthest entry, in the order of the jobs' ids.
    index: Vec<u32>,
    /// Name and value, as JSON.
    other_fields: Vec<(String, String)>,
    /// Whether it was read from bytes that are no UTF-8 or no good JSON: another script may not be
    /// able to read them.
    is_hard_to_read: bool,
}

/// The bytes are no queue. It may be that somebody is writing them just now.
#[derive(Debug, thiserror::Error)]
pub enum BrokenQueue {
    /// Not JSON, or not all of it.
    #[error("status.json is not valid JSON: {reason}")]
    NotJson {
        /// What the JSON reader says.
        reason: serde_json::Error,
        /// What is whole in it.
        salvaged: Queue,
    },
    /// More than anybody should make it.
    #[error("status.json has {size_bytes} bytes; at most {} are read: remove entries that are done", Queue::MAX_BYTES)]
    TooLarge {
        /// How many.
        size_bytes: u64,
    },
    /// More entries than there is memory for.
    #[error("status.json has {entries} entries; at most {} are read: remove those that are done", Queue::MAX_ENTRIES)]
    TooMany {
        /// How many.
        entries: usize,
    },
    /// JSON of another shape.
    #[error("status.json is not of the form {{\"jobs\": [...]}}")]
    NotAQueue {
        /// What is whole in it.
        salvaged: Queue,
    },
}

impl BrokenQueue {
    /// Whether it may be a good queue that is only more than what is read: nobody may put that
    /// aside.
    pub fn is_only_large(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::TooMany { .. })
    }

    /// What is whole in it: the entries of jobs that have started.
    pub fn into_salvaged(self) -> Queue {
        match self {
            Self::NotJson { salvaged, .. } | Self::NotAQueue { salvaged } => salvaged,
            Self::TooLarge { .. } | Self::TooMany { .. } => Queue::default(),
        }
    }

    fn with(self, salvaged: Queue) -> Self {
        match self {
            Self::NotJson { reason, .. } => Self::NotJson { reason, salvaged },
            Self::NotAQueue { .. } => Self::NotAQueue { salvaged },
            Self::TooLarge { .. } | Self::TooMany { .. } => self,
        }
    }
}

impl From<serde_json::Error> for BrokenQueue {
    fn from(error: serde_json::Error) -> Self {
        let salvaged = Queue::default();
        if error.is_data() { Self::NotAQueue { salvaged } } else { Self::NotJson { reason: error, salvaged } }
    }
}

impl Queue {
    /// The most bytes that are read or written: 1.2 million jobs as the agent writes them, two
    /// every second for a week. With [`Queue::MAX_ENTRIES`] it bounds the memory of whoever reads
    /// it: the agent stays below 512 MB.
    pub const MAX_BYTES: u64 = 160 * 1024 * 1024;

    /// The most entries that are read.
    pub const MAX_ENTRIES: usize = 1_500_000;

    /// Reads the file's bytes. An object without `jobs` is an empty queue.
    pub fn parse(bytes: impl Into<Vec<u8>>) -> Result<Self, BrokenQueue> {
        let text = match text::utf8(bytes.into()) {
            Ok(text) => Arc::new(text),
            Err(bytes) => return Self::parse_otherwise(&bytes, None),
        };
        match Self::parse_json(&text) {
            Err(fault) if !fault.is_only_large() => Self::parse_otherwise(text.as_bytes(), Some(fault)),
            read => read,
        }
    }

    /// Reads bytes that are no UTF-8, or those with this fault.
    fn parse_otherwise(bytes: &[u8], fault: Option<BrokenQueue>) -> Result<Self, BrokenQueue> {
        let mut broken = fault.unwrap_or(BrokenQueue::NotAQueue { salvaged: Self::default() });

        // Good JSON first: in a wrong encoding, a text may look as if it were to be repaired.
        for text in text::otherwise(bytes) {
            // What is UTF-8 has been tried.
            let Cow::Owned(text) = text else { continue };
            match Self::parse_json(&Arc::new(text)) {
                Ok(queue) => return Ok(Self { is_hard_to_read: true, ..queue }),
                Err(fault) if fault.is_only_large() => return Err(fault),
                Err(fault) => broken = fault,
            }
        }
        for text in text::otherwise(bytes) {
            for repaired in repairs(&text) {
                match Self::parse_repaired(repaired) {
                    Err(fault) if !fault.is_only_large() => {}
                    read => return read,
                }
            }
        }

        let mut found = Jobs::default();
        text::otherwise(bytes).for_each(|text| salvage(&text, &mut found));
        Err(broken.with(Self::with(found.finish().entries).without_doubles()))
    }

    fn parse_repaired(Repaired { json, behind }: Repaired<'_>) -> Result<Self, BrokenQueue> {
        let json = Arc::new(json);
        let mut queue = Self::parse_json(&json)?;
        queue.is_hard_to_read = true;

        // A file that was written over a longer one, or something that was appended. Of the first
        // of two documents it must be certain that it is the queue.
        let has_more = !behind.trim_matches(is_padding).is_empty();
        if has_more && Fields::of(&json).raw("jobs").is_none() {
            return Err(BrokenQueue::NotAQueue { salvaged: Self::default() });
        }
        let mut found = Jobs::default();
        salvage(behind, &mut found);
        for entry in &found.finish().entries {
            queue.absorb(entry);
        }

        Ok(queue)
    }

    fn parse_json(text: &Arc<String>) -> Result<Self, BrokenQueue> {
        if let Some(queue) = Self::parse_own_layout(text) {
            return Ok(queue);
        }
        if let Some(UsualQueue { jobs }) = usual(text.as_bytes()) {
            return Self::of(jobs);
        }
        if !text.trim_start().starts_with('[') {
            return Self::parse_fields(&serde_json::from_str(text)?);
        }

        // A script that knows of nothing but jobs has left the rest out.
        let queue = Self::of(serde_json::from_str(text)?)?;
        if queue.index.is_empty() { Err(BrokenQueue::NotAQueue { salvaged: Self::default() }) } else { Ok(queue) }
    }

    /// Reads what [`Queue::render`] writes, as long as nobody has put anything of their own between the entries. For
    /// speed: where each entry ends is found while it is read, and not by a pass of its own.
    fn parse_own_layout(text: &Arc<String>) -> Option<Self> {
        if !text.is_ascii() {
            return None;
        }
        let jobs = text.strip_suffix(END)?.strip_suffix(AFTER_JOBS)?;
        let mut rest = jobs.strip_prefix(BEFORE_JOBS)?.strip_prefix(BEFORE_FIRST)?;
        let mut entries = Vec::with_capacity(text.len() / TYPICAL_LINE_BYTES);

        loop {
            let begin = jobs.len() - rest.len();
            let (said, length) = Said::by_first(rest)?;
            let (json, after) = rest.split_at(length);
            entries.push(if json.contains('\n') {
                Entry::read(json)
            } else {
                Entry::of(Line::within(text, begin, begin + length), said)
            });
            if entries.len() > Self::MAX_ENTRIES {
                return None;
            }

            match after.strip_prefix(BEFORE_NEXT) {
                Some(next) => rest = next,
                None => return after.is_empty().then(|| Self::with(entries)),
            }
        }
    }

    fn parse_fields(fields: &Fields<'_>) -> Result<Self, BrokenQueue> {
        let jobs: Option<Jobs> = fields.raw("jobs").map_or(Ok(None), |jobs| serde_json::from_str(jobs.get()))?;
        let others = fields.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("jobs"));
        let on_one_line = |value: &RawValue| to_ascii(on_one_line(value.get())).into_owned();
        let other_fields = others.map(|(name, value)| (name.to_owned(), on_one_line(value))).collect();
        Ok(Self { other_fields, ..Self::of(jobs.unwrap_or_default())? })
    }

    fn of(jobs: Jobs) -> Result<Self, BrokenQueue> {
        if jobs.count > Self::MAX_ENTRIES {
            return Err(BrokenQueue::TooMany { entries: jobs.count });
        }
        Ok(Self::with(jobs.entries))
    }

    fn with(entries: Vec<Entry>) -> Self {
        let mut queue = Self { entries, ..Self::default() };
        queue.make_index();
        queue
    }

    /// Of several entries of one job the furthest counts; of those that are as far, the first.
    fn make_index(&mut self) {
        let entry_at = |position: u32| &self.entries[position as usize];
        let positions = 0..u32::try_from(self.entries.len()).expect("there is a limit to the entries");
        let mut index: Vec<u32> = positions.filter(|position| entry_at(*position).id().is_some()).collect();

        // Most queues are in this order already. A stable sort keeps the first entry of a job
        // first.
        index.sort_by_key(|position| entry_at(*position).id());
        index.dedup_by(|other, furthest| {
            let (entry, furthest_entry) = (entry_at(*other), entry_at(*furthest));
            let is_of_same_job = entry.id() == furthest_entry.id();
            if is_of_same_job && furthest_entry.is_behind(entry) {
                *furthest = *other;
            }
            is_of_same_job
        });
        self.index = index;
    }

    /// The same queue with just the entry of each job that counts.
    fn without_doubles(self) -> Self {
        let mut counting = self.index.clone();
        counting.sort_unstable();
        Self::with(counting.iter().map(|position| self.entries[*position as usize].clone()).collect())
    }

    /// The file's bytes: `{"jobs": [` and one job a line, so that people can read, grep and diff it.
    pub fn render(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity((self.entries.len() + 1) * TYPICAL_LINE_BYTES);
        self.write_to(&mut out).expect("a queue is written to memory without fail");
        out
    }

    /// Writes what [`Queue::render`] gives, an entry at a time: a large queue is not in memory
    /// twice.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(BEFORE_JOBS.as_bytes())?;
        for (position, entry) in self.entries.iter().enumerate() {
            let before = if position == 0 { BEFORE_FIRST } else { BEFORE_NEXT };
            out.write_all(before.as_bytes())?;
            out.write_all(entry.line().as_bytes())?;
        }
        out.write_all(AFTER_JOBS.as_bytes())?;
        for (name, value) in &self.other_fields {
            let name = spaced_json::line(name);
            write!(out, ", {}: {value}", to_ascii(name.into()))?;
        }
        out.write_all(END.as_bytes())
    }

    /// How many bytes [`Queue::write_to`] writes at the most: the names of other fields count as if
    /// all was escaped.
    pub fn rendered_bytes(&self) -> u64 {
        let entries = self.entries.iter().map(|entry| entry.line().len() + BEFORE_NEXT.len()).sum::<usize>();
        let others = self.other_fields.iter().map(|(name, value)| name.len() * 6 + value.len() + 8).sum::<usize>();
        (entries + others + BEFORE_JOBS.len() + AFTER_JOBS.len() + END.len()) as u64
    }

    /// The queue as it will be read again once it is written.
    pub(crate) fn as_written(&self) -> Self {
        Self { is_hard_to_read: false, ..self.clone() }
    }

    /// Whether it is to be written anew, so that every script can read it.
    pub(crate) fn is_hard_to_read(&self) -> bool {
        self.is_hard_to_read
    }

    /// The entries, from the top.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The job's entry; the furthest one, should somebody have made several.
    pub fn entry(&self, id: JobId) -> Option<&Entry> {
        self.position(id).map(|position| &self.entries[position])
    }

    fn position(&self, id: JobId) -> Option<usize> {
        self.place_in_index(id).ok().map(|place| self.index[place] as usize)
    }

    /// Where the job is in the index, or where it would be.
    fn place_in_index(&self, id: JobId) -> Result<usize, usize> {
        self.index.binary_search_by_key(&Some(id), |position| self.entries[*position as usize].id())
    }

    /// The entry of each job, oldest job first; the furthest one, should somebody have made several.
    pub fn jobs(&self) -> impl Iterator<Item = (JobId, &Entry)> {
        self.index.iter().filter_map(|position| {
            let entry = &self.entries[*position as usize];
            Some((entry.id()?, entry))
        })
    }

    /// The jobs that have an entry, oldest first.
    fn ids(&self) -> impl Iterator<Item = JobId> {
        self.jobs().map(|(id, _)| id)
    }

    /// The jobs of these that have no entry.
    pub(crate) fn lacking(&self, ids: &BTreeSet<JobId>) -> impl Iterator<Item = JobId> {
        // Both are in order: one pass over the two is much quicker than to look for each.
        let mut there = self.ids().peekable();
        ids.iter().copied().filter(move |id| {
            while there.next_if(|other| other < id).is_some() {}
            there.peek() != Some(id)
        })
    }

    /// Appends an entry at the end of the queue.
    pub fn push(&mut self, entry: Entry) {
        let position = u32::try_from(self.entries.len()).expect("there is a limit to the entries");
        match entry.id().map(|id| self.place_in_index(id)) {
            Some(Err(place)) => self.index.insert(place, position),
            Some(Ok(place)) if self.entries[self.index[place] as usize].is_behind(&entry) => {
                self.index[place] = position;
            }
            Some(Ok(_)) | None => {}
        }
        self.entries.push(entry);
    }

    /// The first pending job from the top: the one the APP server's turn is for.
    pub fn first_pending(&self) -> Option<JobId> {
        (0..self.entries.len()).find_map(|position| self.pending_at(position))
    }

    /// The job that waits at this position. An entry beside one that is further counts for nothing.
    fn pending_at(&self, position: usize) -> Option<JobId> {
        let entry = &self.entries[position];
        let id = entry.id().filter(|_| entry.state() == Some(State::Pending))?;
        (self.position(id) == Some(position)).then_some(id)
    }

    /// Whether there is an entry whose job's week is over.
    pub fn has_expired(&self, now: DateTime<Utc>) -> bool {
        // Ids sort by the time they were made.
        self.ids().next().is_some_and(|oldest| oldest.is_expired(now))
    }

    /// Removes the entries whose job's week is over. Those that are no job's stay.
    pub fn remove_expired(&mut self, now: DateTime<Utc>) {
        self.retain(|entry| entry.id().is_none_or(|id| !id.is_expired(now)));
    }

    fn retain(&mut self, is_kept: impl Fn(&Entry) -> bool) {
        self.entries.retain(is_kept);
        self.make_index();
    }

    /// Whether the entry is further than that of its job here, or there is none here.
    pub(crate) fn is_behind(&self, entry: &Entry) -> bool {
        entry.id().is_some_and(|id| self.entry(id).is_none_or(|here| here.is_behind(entry)))
    }

    /// The entries that are further than those here, or whose jobs have none here: what the other
    /// queue knows more. An entry that waits says nothing that the cloud does not know.
    pub(crate) fn news_in<'a>(&self, other: &'a Self) -> impl Iterator<Item = &'a Entry> {
        other.jobs().map(|(_, entry)| entry).filter(|entry| entry.has_started() && self.is_behind(entry))
    }

    /// Whether the other queue says of no job that it is further than it is here, and knows none
    /// that has started and is not here. Then nothing is lost with it.
    pub fn knows_all_of(&self, other: &Self) -> bool {
        self.news_in(other).next().is_none()
    }

    /// Puts an entry that is further in the place of its job's, or at the end where there is none.
    /// A state is a maximum, so neither order nor repetition matters.
    pub(crate) fn absorb(&mut self, entry: &Entry) {
        let Some(id) = entry.id().filter(|_| self.is_behind(entry)) else { return };
        match self.position(id) {
            Some(position) => self.entries[position] = entry.clone(),
            None => self.push(entry.clone()),
        }
    }

    /// Takes out the entries of these jobs, as far as they still wait.
    pub fn withdraw(&mut self, is_withdrawn: impl Fn(JobId) -> bool) {
        let is_kept = |entry: &Entry| entry.state() != Some(State::Pending) || !entry.id().is_some_and(&is_withdrawn);
        self.retain(is_kept);
    }

    /// Gives the worker the first jobs from the top that wait, at most `limit`, but none that
    /// `is_known`: those it has had before. Says which.
    pub fn claim(&mut self, mark: &WorkerMark, limit: usize, is_known: impl Fn(JobId) -> bool) -> Vec<JobId> {
        let mut claimed = Vec::new();
        for position in 0..self.entries.len() {
            if claimed.len() == limit {
                break;
            }
            let Some(id) = self.pending_at(position).filter(|id| !is_known(*id)) else { continue };

            self.entries[position].set(State::Processing, None);
            self.entries[position].set_worker(mark);
            claimed.push(id);
        }
        claimed
    }

    /// Says again that the worker has the job, where somebody has written an older queue over that.
    /// Says whether that changed anything.
    pub fn claim_again(&mut self, id: JobId, mark: &WorkerMark) -> bool {
        let moves = self.advance(id, State::Processing, None);
        let Some(position) = self.position(id) else { return false };

        // An entry that was lost and made again has no mark: nobody could ever end the job.
        let entry = &mut self.entries[position];
        let lacks_mark = entry.state() == Some(State::Processing) && !entry.is_held_by_worker();
        if moves || lacks_mark {
            entry.set_worker(mark);
        }
        moves || lacks_mark
    }

    /// Says how far the program of a job is that runs; gives whether that changed anything.
    pub fn report(&mut self, id: JobId, percent: u8, message: &str) -> bool {
        let Some(position) = self.position(id) else { return false };
        let entry = &mut self.entries[position];
        let is_known = entry.progress() == Some(percent) && entry.message().as_deref() == Some(message);
        let is_news = entry.state() == Some(State::Processing) && !is_known;
        if is_news {
            entry.set_progress(percent, message);
        }
        is_news
    }

    /// The jobs that run under a worker, each with the mark of that worker.
    pub fn marked(&self) -> impl Iterator<Item = (JobId, WorkerMark)> {
        let running = self.jobs().filter(|(_, entry)| entry.state() == Some(State::Processing));
        running.filter_map(|(id, entry)| Some((id, entry.worker()?)))
    }

    /// How many jobs wait, and how many run.
    pub fn waiting_and_running(&self) -> (usize, usize) {
        let count = |state| self.jobs().filter(|(_, entry)| entry.state() == Some(state)).count();
        (count(State::Pending), count(State::Processing))
    }

    /// Moves the job's entry forward to `state`; says whether that changed anything. Never moves it back.
    pub fn advance(&mut self, id: JobId, state: State, error: Option<&str>) -> bool {
        let Some(position) = self.position(id) else { return false };
        let entry = &mut self.entries[position];
        let moves = entry.is_behind_state(state);
        if moves {
            entry.set(state, error);
        }
        moves
    }
}

/// What says nothing behind a document: white space, the zeros that a power cut leaves, and the
/// Ctrl-Z that ends a file under DOS.
fn is_padding(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\0' | '\x1a')
}
