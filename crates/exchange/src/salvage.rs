//! What can still be read of a queue that is broken: a file that was cut in the middle, or one bad line.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::Queue;
use crate::entry::Said;
use crate::jobs::Jobs;
use crate::repair::repairs;

/// The longest entry that is looked for: twice as long as one with all of an error and a message
/// that the caller reads.
const ENTRY_MAX_BYTES: usize = 32 * 1024;
/// How many pieces are tried in vain. With the limit of an entry it bounds the time.
const FAULTS_MAX: usize = 10_000;

/// Finds the whole entries of jobs that have started, in any layout, and adds them to those that
/// were found. An entry that waits says nothing that the cloud does not know.
pub(crate) fn salvage(text: &str, found: &mut Jobs) {
    let mut rest = text;
    let mut faults = 0;

    while let Some(begin) = rest.find('{') {
        let is_value = ends_with_name(&rest[..begin]);
        rest = &rest[begin..];
        if is_value {
            rest = &rest[1..];
            continue;
        }

        match first_entry(rest) {
            Some((json, length, said)) => {
                if said.has_started() && found.count < Queue::MAX_ENTRIES {
                    found.push(&json, said);
                }
                rest = &rest[length..];
            }
            None => {
                faults += 1;
                rest = &rest[1..];
            }
        }
        if faults == FAULTS_MAX {
            break;
        }
    }
}

/// Whether the value of a field follows: it belongs to an entry, and is none.
fn ends_with_name(before: &str) -> bool {
    let name = before.trim_end().strip_suffix(':');
    name.is_some_and(|name| name.trim_end().ends_with(['"', '\'']))
}

/// The entry with which a text begins, how much of the text it is, and what it says.
fn first_entry(text: &str) -> Option<(Cow<'_, str>, usize, Said)> {
    let text = &text[..text.floor_char_boundary(ENTRY_MAX_BYTES)];
    let (json, length) = whole_object(text).or_else(|| repaired_object(text))?;
    let said = Said::by(&json);
    said.is_of_a_job().then_some((json, length, said))
}

fn whole_object(text: &str) -> Option<(Cow<'_, str>, usize)> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let json = values.next()?.ok()?.get();
    Some((json.into(), json.len()))
}

/// Not beyond its line: there may be a fault in the entry that makes the next one a part of it.
fn repaired_object(text: &str) -> Option<(Cow<'_, str>, usize)> {
    let is_json = |json: &str| serde_json::from_str::<IgnoredAny>(json).is_ok();
    let repaired = repairs(text).find(|repaired| is_json(&repaired.json))?;
    let length = text.len() - repaired.behind.len();
    (!text[..length].contains('\n')).then_some((repaired.json.into(), length))
}
