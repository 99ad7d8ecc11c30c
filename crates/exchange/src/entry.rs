use std::borrow::Cow;

use bcrlapi_domain::{ApiName, Job, JobId, Outcome, State, Status, limits};
use chrono::FixedOffset;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, Value, to_raw_value};

use crate::fields::{Fields, usual};
use crate::line::Line;
use crate::text::to_ascii;
use crate::words::{OutcomeWord, StatusWord};
use crate::{WorkerMark, lab_date, spaced_json};

/// One job's place in the queue: a line of JSON, in ASCII, with all its fields as they were found.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    line: Line,
    said: Said,
}

/// What an entry's line says of its job, read once: a plan asks for it again and again.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Said {
    id: Option<JobId>,
    state: Option<State>,
    has_unknown_word: bool,
}

/// What almost every entry says of its job. Reading just this takes a third of the time.
#[derive(Deserialize)]
struct UsualEntry<'a> {
    uuid: &'a str,
    status: &'a str,
    outcome: Option<&'a str>,
    error: Option<&'a str>,
}

/// The fields of an entry that the agent makes.
#[derive(Serialize)]
struct NewEntry<'a> {
    uuid: JobId,
    api: &'a ApiName,
    status: &'a str,
    request_date: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl Entry {
    /// The entry of a job that comes into the queue. `offset` is the lab's own, for `request_date`.
    pub fn new(job: &Job, offset: FixedOffset) -> Self {
        let line = spaced_json::line(&NewEntry {
            uuid: job.id,
            api: &job.api,
            status: job.state.status().as_str(),
            request_date: lab_date::render(job.id, offset),
            outcome: outcome_word(job.state),
            error: job.error.as_deref(),
        });
        let said = Said { id: Some(job.id), state: Some(job.state), has_unknown_word: false };
        Self { line: to_ascii(line.into()).into_owned().into(), said }
    }

    /// An entry of a line that has been read already.
    pub(crate) fn of(line: Line, said: Said) -> Self {
        Self { line, said }
    }

    /// The entry that somebody has written as one value of JSON.
    pub(crate) fn read(json: &str) -> Self {
        let said = Said::by(json);
        Self { line: to_ascii(on_one_line(json)).into_owned().into(), said }
    }

    /// The entries of a journal, one a line. Half a line, as a crash leaves it, is none.
    pub(crate) fn read_lines(journal: &[u8]) -> impl Iterator<Item = Self> {
        let lines = journal.split(|byte| *byte == b'\n').filter_map(|line| str::from_utf8(line).ok());
        lines.filter(|line| serde_json::from_str::<IgnoredAny>(line).is_ok()).map(Self::read)
    }

    /// The same entry on its own: it does not keep the queue in memory that it was read from.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self { line: self.line.detached(), said: self.said }
    }

    /// Which job it is for; none where the APP wrote something else.
    pub fn id(&self) -> Option<JobId> {
        self.said.id
    }

    /// How far the APP says the job is; `None` where it has no status. Words are read in any case
    /// and by synonym. A word that nobody knows is read as processing, since somebody has written
    /// it over `pending`; but as done where an outcome or an error stands beside it.
    pub fn state(&self) -> Option<State> {
        self.said.state
    }

    /// The status that the APP has written, if it is a word that nobody knows and that is read as
    /// processing: at most 40 characters, for the log.
    pub fn unknown_word(&self) -> Option<String> {
        const WORD_MAX_CHARS: usize = 40;
        if !self.said.has_unknown_word {
            return None;
        }
        let fields = Fields::of(self.line());
        let word = fields.text("status").or_else(|| Some(fields.raw("status")?.get().to_owned()))?;
        Some(word.chars().take(WORD_MAX_CHARS).collect())
    }

    /// The `error` of the job: at most [`limits::ERROR_MAX_CHARS`], the end of it. `None` where it
    /// says nothing.
    pub fn error(&self) -> Option<String> {
        reason_in(&Fields::of(self.line()), "error")
    }

    /// Why a job failed, as the APP says it: its `error`; where it gives none, its `reason` or its
    /// last `message`.
    pub fn reason(&self) -> Option<String> {
        let fields = Fields::of(self.line());
        ["error", "reason", "message"].into_iter().find_map(|name| reason_in(&fields, name))
    }

    /// How much of the job is done, 0 to 100. A text is read as well: `40`, `40 %`.
    pub fn progress(&self) -> Option<u8> {
        let fields = Fields::of(self.line());
        let percent = fields.get::<f64>("progress").or_else(|| percent_in(&fields.text("progress")?));
        let percent = percent.filter(|percent| *percent >= 0.0)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 0 and 100")]
        Some(percent.min(100.0) as u8)
    }

    /// What the APP says of the job: at most [`limits::MESSAGE_MAX_CHARS`], the beginning of it.
    pub fn message(&self) -> Option<String> {
        let text = text_or_json(&Fields::of(self.line()), "message")?;
        Some(text.chars().take(limits::MESSAGE_MAX_CHARS).collect())
    }

    /// The worker that has claimed the job; `None` where a script has, or nobody.
    pub fn worker(&self) -> Option<WorkerMark> {
        Fields::of(self.line()).get("worker")
    }

    /// The entry as one line of status.json.
    pub fn line(&self) -> &str {
        self.line.as_str()
    }

    /// Whether a worker has the job, which says itself when the program is over.
    pub fn is_held_by_worker(&self) -> bool {
        // A mark of another version is an object too; a lab's own field of this name is hardly one.
        Fields::of(self.line()).raw("worker").is_some_and(|mark| mark.get().starts_with('{'))
    }

    /// Whether the other is further. An entry without a status says nothing, and is behind whatever
    /// says something.
    pub(crate) fn is_behind(&self, other: &Self) -> bool {
        other.state().is_some_and(|other| self.is_behind_state(other))
    }

    /// Whether a program has wanted the job: it is not pending any more.
    pub(crate) fn has_started(&self) -> bool {
        self.said.has_started()
    }

    /// Whether this state is further.
    pub(crate) fn is_behind_state(&self, other: State) -> bool {
        self.state().is_none_or(|state| state.is_behind(other))
    }

    /// Says which worker has the job; all other fields stay.
    pub(crate) fn set_worker(&mut self, mark: &WorkerMark) {
        let mark = RawValue::from_string(spaced_json::line(mark)).expect("a mark is written to memory without fail");
        let mut fields = Fields::of(self.line());
        fields.set("worker", &mark);
        self.line = line_of(&fields);
    }

    pub(crate) fn set_progress(&mut self, percent: u8, message: &str) {
        let percent = to_raw_value(&percent).expect("a number is written to memory without fail");
        let message = to_raw_value(message).expect("a text is written to memory without fail");
        let mut fields = Fields::of(self.line());
        fields.set("progress", &percent);
        fields.set("message", &message);
        self.line = line_of(&fields);
    }

    /// Says this of the job from here on; all other fields stay.
    pub(crate) fn set(&mut self, state: State, error: Option<&str>) {
        let raw = |text: &str| to_raw_value(text).expect("a text is written to memory without fail");
        let status = raw(state.status().as_str());
        let (outcome, error) = (outcome_word(state).map(raw), error.map(raw));

        let mut fields = Fields::of(self.line());
        fields.set("status", &status);
        for (name, value) in [("outcome", &outcome), ("error", &error)] {
            if let Some(value) = value {
                fields.set(name, value);
            }
        }

        self.line = line_of(&fields);
        self.said = Said { state: Some(state), has_unknown_word: false, ..self.said };
    }
}

/// These fields as the line of an entry.
fn line_of(fields: &Fields<'_>) -> Line {
    to_ascii(spaced_json::line(fields).into()).into_owned().into()
}

impl Said {
    /// Whether it is an entry of a job's.
    pub(crate) fn is_of_a_job(&self) -> bool {
        self.id.is_some()
    }

    /// Whether a program has wanted the job.
    pub(crate) fn has_started(&self) -> bool {
        self.state.is_some_and(|state| state != State::Pending)
    }

    /// What an entry says that somebody has written.
    pub(crate) fn by(json: &str) -> Self {
        if let Some(usual) = usual(json.as_bytes()) {
            return Self::of(&usual);
        }
        let fields = Fields::of(json);
        let id = fields.text("uuid").and_then(|uuid| id_of(&uuid));
        let status = fields.raw("status").filter(|status| status.get() != "null");
        if status.is_none() {
            return Self { id, state: None, has_unknown_word: false };
        }
        // What is no text, like a number, is no word that anybody knows.
        let status = fields.text("status").unwrap_or_default();
        Self::from_words(id, &status, outcome_in(&fields), reason_in(&fields, "error").is_some())
    }

    /// What the entry says with which a text begins, and where it ends; `None` if the entry is not
    /// as usual.
    pub(crate) fn by_first(text: &str) -> Option<(Self, usize)> {
        let mut values = serde_json::Deserializer::from_str(text).into_iter();
        // To serde, an array is a struct too.
        let usual = values.next().filter(|_| text.starts_with('{'))?.ok()?;
        Some((Self::of(&usual), values.byte_offset()))
    }

    fn of(usual: &UsualEntry<'_>) -> Self {
        let has_reason = usual.error.is_some_and(|error| !error.trim().is_empty());
        let outcome = usual.outcome.map(OutcomeWord::read);
        Self::from_words(id_of(usual.uuid), usual.status, outcome, has_reason)
    }

    fn from_words(id: Option<JobId>, status: &str, outcome: Option<OutcomeWord>, has_reason: bool) -> Self {
        let word = StatusWord::read(status);
        let is_end = has_reason || matches!(outcome, Some(OutcomeWord::Failed | OutcomeWord::Succeeded));
        let state = match word {
            StatusWord::Known(Status::Pending) => State::Pending,
            StatusWord::Known(Status::Done) => State::Done(outcome_of(outcome, has_reason)),
            StatusWord::Unknown if is_end => State::Done(outcome_of(outcome, has_reason)),
            StatusWord::Known(Status::Processing) | StatusWord::Unknown => State::Processing,
            StatusWord::Failed => State::Done(Outcome::Failed),
        };
        // Where something beside the word says how the job ended, nobody needs to know the word.
        Self { id, state: Some(state), has_unknown_word: word == StatusWord::Unknown && !is_end }
    }
}

/// Only a failure is told apart here: how else a job can end is not for the APP to say. Who gives a
/// reason without an outcome has failed, so that the reason is not lost.
fn outcome_of(outcome: Option<OutcomeWord>, has_reason: bool) -> Outcome {
    match outcome {
        Some(OutcomeWord::Failed) => Outcome::Failed,
        Some(OutcomeWord::Unknown) | None if has_reason => Outcome::Failed,
        Some(_) | None => Outcome::Succeeded,
    }
}

/// The outcome, as a word or as what programs mean by true and false.
fn outcome_in(fields: &Fields<'_>) -> Option<OutcomeWord> {
    if let Some(word) = fields.text("outcome") {
        return Some(OutcomeWord::read(&word));
    }
    match fields.raw("outcome")?.get() {
        "null" => None,
        "0" => Some(OutcomeWord::Failed),
        other => Some(OutcomeWord::read(other)),
    }
}

/// The reason that a field gives: a text, or anything else as JSON; at most
/// [`limits::ERROR_MAX_CHARS`], the end of it. None of what programs write for nothing.
fn reason_in(fields: &Fields<'_>, name: &str) -> Option<String> {
    const NOTHING: [&str; 4] = ["0", "false", "[]", "{}"];
    let text = text_or_json(fields, name).filter(|text| !text.trim().is_empty())?;
    let is_text = fields.raw(name).is_some_and(|value| value.get().starts_with('"'));
    if !is_text && NOTHING.contains(&text.as_str()) {
        return None;
    }

    let surplus = text.chars().count().saturating_sub(limits::ERROR_MAX_CHARS);
    Some(text.chars().skip(surplus).collect())
}

/// A field's text; of any other value but null its JSON, in characters that people can read.
fn text_or_json(fields: &Fields<'_>, name: &str) -> Option<String> {
    if let Some(text) = fields.text(name) {
        return Some(text);
    }
    let json = fields.raw(name).filter(|value| value.get() != "null")?.get();
    let readable = serde_json::from_str::<Value>(json).map(|value| spaced_json::line(&value));
    Some(readable.unwrap_or_else(|_| json.to_owned()))
}

/// The number in a text such as `40 %`.
fn percent_in(text: &str) -> Option<f64> {
    text.trim().trim_end_matches(['%', '％']).trim_end().parse().ok()
}

/// Whose entry it is. Excel and some libraries write a uuid in capitals or in braces.
fn id_of(text: &str) -> Option<JobId> {
    let plain = || text.trim().trim_matches(['{', '}']).to_ascii_lowercase();
    text.parse().or_else(|_| plain().parse()).ok()
}

/// The word for how a job ended; a success needs none.
fn outcome_word(state: State) -> Option<&'static str> {
    state.outcome().filter(|outcome| *outcome != Outcome::Succeeded).map(Outcome::as_str)
}

/// JSON without line breaks, and without the indentation after them.
pub(crate) fn on_one_line(json: &str) -> Cow<'_, str> {
    if !json.contains('\n') {
        return json.into();
    }
    // A line break inside a text is written `\n`: every real one is between two values.
    let mut lines = json.lines().map(str::trim_start);
    let mut out = String::with_capacity(json.len());
    out.push_str(lines.next().unwrap_or_default());
    for line in lines {
        if out.ends_with(',') {
            out.push(' ');
        }
        out.push_str(line);
    }
    out.into()
}
