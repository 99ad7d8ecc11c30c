//! The list of jobs in a queue of any layout.

use std::fmt;
use std::mem;
use std::sync::Arc;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::entry::{Said, on_one_line};
use crate::line::Line;
use crate::text::to_ascii;
use crate::{Entry, Queue};

/// Lines share texts of about this size: few allocations, and none that a single entry keeps alive
/// for long.
const CHUNK_BYTES: usize = 256 * 1024;

/// A queue in which nobody has put anything of their own. Reading just this takes half the time.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UsualQueue {
    pub(crate) jobs: Jobs,
}

/// The entries of a list, as far as they are not too many, and how many there are.
#[derive(Default)]
pub(crate) struct Jobs {
    pub(crate) entries: Vec<Entry>,
    pub(crate) count: usize,
    chunk: String,
    /// The entries whose lines are in the chunk: where each begins and ends, and what it says.
    in_chunk: Vec<(usize, usize, Said)>,
}

impl Jobs {
    /// Adds an entry as it was written, and what it says.
    pub(crate) fn push(&mut self, json: &str, said: Said) {
        let begin = self.chunk.len();
        self.chunk.push_str(&to_ascii(on_one_line(json)));
        self.in_chunk.push((begin, self.chunk.len(), said));
        self.count += 1;
        if self.chunk.len() >= CHUNK_BYTES {
            self.finish_chunk();
        }
    }

    /// Has all of the entries in the list. To be called once the last one was added.
    pub(crate) fn finish(mut self) -> Self {
        self.finish_chunk();
        self
    }

    fn finish_chunk(&mut self) {
        let text = Arc::new(mem::take(&mut self.chunk));
        let entry = |(begin, end, said)| Entry::of(Line::within(&text, begin, end), said);
        self.entries.extend(self.in_chunk.drain(..).map(entry));
    }
}

impl<'de> Deserialize<'de> for Jobs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Jobs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of jobs")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Jobs, A::Error> {
                let mut jobs = Jobs::default();
                while jobs.count < Queue::MAX_ENTRIES {
                    let Some(json) = list.next_element::<&RawValue>()? else { break };
                    jobs.push(json.get(), Said::by(json.get()));
                }
                // The rest is only counted: there is no memory for it.
                while list.next_element::<IgnoredAny>()?.is_some() {
                    jobs.count += 1;
                }
                Ok(jobs.finish())
            }
        }
        deserializer.deserialize_seq(List)
    }
}
