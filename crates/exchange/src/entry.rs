use std::borrow::Cow;
use std::sync::Arc;

use bcrlapi_domain::{ApiName, Job, JobId, Outcome, State, Status, limits};
use chrono::FixedOffset;
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;

use crate::fields::{Fields, usual};
use crate::{lab_date, spaced_json};

/// One job's place in the queue: a line of JSON with all its fields as they were found.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    // Shared: a plan makes a new queue of the old one's entries.
    line: Arc<str>,
    // What the line says of the job, read once: a plan asks for it again and again.
    id: Option<JobId>,
    state: Option<State>,
}

/// What almost every entry says of its job. Reading just this takes a third of the time.
#[derive(Deserialize)]
struct UsualEntry<'a> {
    uuid: &'a str,
    status: &'a str,
    outcome: Option<&'a str>,
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
        Self { line: line.into(), id: Some(job.id), state: Some(job.state) }
    }

    /// The entry that somebody has written.
    pub(crate) fn read(json: &str) -> Self {
        if let Some(usual) = usual(json.as_bytes()) {
            return Self::of(json, &usual);
        }
        let fields = Fields::of(json);
        let text = |name| fields.text(name);
        let state = text("status").and_then(|status| state_of(&status, text("outcome").as_deref()));
        Self { line: on_one_line(json).into(), id: text("uuid").and_then(|uuid| uuid.parse().ok()), state }
    }

    /// The entry with which a text begins, and the rest of the text; `None` if the entry is not as usual.
    pub(crate) fn read_first(text: &str) -> Option<(Self, &str)> {
        let mut values = serde_json::Deserializer::from_str(text).into_iter();
        // To serde, an array is a struct too.
        let usual = values.next().filter(|_| text.starts_with('{'))?.ok()?;
        let (json, rest) = text.split_at(values.byte_offset());
        Some((Self::of(json, &usual), rest))
    }

    fn of(json: &str, usual: &UsualEntry<'_>) -> Self {
        let state = state_of(usual.status, usual.outcome);
        Self { line: on_one_line(json).into(), id: usual.uuid.parse().ok(), state }
    }

    /// Which job it is for; none where the APP wrote something else.
    pub fn id(&self) -> Option<JobId> {
        self.id
    }

    /// How far the APP says the job is. `failed` is read as done and failed; of a word nobody knows nothing is said.
    pub fn state(&self) -> Option<State> {
        self.state
    }

    /// Why the job failed, as the APP says it: at most [`limits::ERROR_MAX_CHARS`], the end of it.
    pub fn error(&self) -> Option<String> {
        let text = Fields::of(&self.line).text("error")?;
        let surplus = text.chars().count().saturating_sub(limits::ERROR_MAX_CHARS);
        Some(text.chars().skip(surplus).collect())
    }

    /// How much of the job is done, 0 to 100.
    pub fn progress(&self) -> Option<u8> {
        let percent = Fields::of(&self.line).get::<f64>("progress").filter(|percent| *percent >= 0.0)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 0 and 100")]
        Some(percent.min(100.0) as u8)
    }

    /// What the APP says of the job: at most [`limits::MESSAGE_MAX_CHARS`], the beginning of it.
    pub fn message(&self) -> Option<String> {
        let text = Fields::of(&self.line).text("message")?;
        Some(text.chars().take(limits::MESSAGE_MAX_CHARS).collect())
    }

    /// The entry as one line of status.json.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Whether the other is further. A word that nobody knows is behind nothing but `done`.
    pub(crate) fn is_behind(&self, other: &Self) -> bool {
        let further = |other: State| self.state.map_or(other.is_done(), |state| state.is_behind(other));
        other.state.is_some_and(further)
    }

    /// Says this of the job from here on; all other fields stay.
    pub(crate) fn set(&mut self, state: State, error: Option<&str>) {
        let raw = |text: &str| to_raw_value(text).expect("a text is written to memory without fail");
        let status = raw(state.status().as_str());
        let (outcome, error) = (outcome_word(state).map(raw), error.map(raw));
        let mut fields = Fields::of(&self.line);
        fields.set("status", &status);
        for (name, value) in [("outcome", &outcome), ("error", &error)] {
            if let Some(value) = value {
                fields.set(name, value);
            }
        }
        let line = spaced_json::line(&fields).into();
        self.line = line;
        self.state = Some(state);
    }
}

/// The word for how a job ended; a success needs none.
fn outcome_word(state: State) -> Option<&'static str> {
    state.outcome().filter(|outcome| *outcome != Outcome::Succeeded).map(Outcome::as_str)
}

/// Only a failure is told apart here: how else a job can end is not for the APP to say.
fn state_of(status: &str, outcome: Option<&str>) -> Option<State> {
    let has_failed = outcome == Some(Outcome::Failed.as_str());
    match status {
        "failed" => Some(State::Done(Outcome::Failed)),
        word => match word.parse().ok()? {
            Status::Pending => Some(State::Pending),
            Status::Processing => Some(State::Processing),
            Status::Done => Some(State::Done(if has_failed { Outcome::Failed } else { Outcome::Succeeded })),
        },
    }
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
