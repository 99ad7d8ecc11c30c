//! Whether what a program wrote is one whole JSON document; and if not, what it is instead.
//!
//! For the worker, which says so at the program's end, and for the agent, which takes nothing else.
//! One pass, in memory that does not grow with the document.

use std::fmt;
use std::io::{self, BufReader, Read};
use std::mem;
use std::str;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::text::BYTE_ORDER_MARK;

/// How deep a document may be nested: the JSON reader remembers every level.
pub const NESTING_MAX: usize = 10_000;

const READ_BYTES: usize = 64 * 1024;
/// What is kept of the bytes that have passed, to say what stood before a fault.
const KEPT_BYTES: usize = 128;
/// What is kept of the beginning: by it people know CSV from a log.
const HEAD_BYTES: usize = 512;
/// How much of the text at a fault is quoted, in characters.
const QUOTED_CHARS: usize = 40;
/// The words that programs write for what is no number, in lower case.
const NAN_WORDS: [&str; 4] = ["nan", "inf", "infinity", "na"];
const PYTHON_WORDS: [&str; 3] = ["None", "True", "False"];

/// A place in a document. All counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The character in its line; the byte, in a line that is very long.
    pub column: u64,
    /// The byte.
    pub byte: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, byte } = self;
        write!(f, "line {line}, column {column} (byte {byte})")
    }
}

/// Why a document cannot be taken, and what its program can do about it. Each reads on after "the
/// response file cannot be taken:".
#[derive(Debug, thiserror::Error)]
pub enum DocumentFault {
    /// It has no bytes, or none but white space.
    #[error(
        "it is not valid JSON: it is empty; the program wrote nothing into it, the disk was full, or the file was \
         not closed"
    )]
    Empty,
    /// It begins with a UTF-8 byte order mark.
    #[error(
        "it is not valid JSON: it begins with a byte order mark (bytes EF BB BF), which JSON must not have; \
         Python: encoding=\"utf-8\" instead of \"utf-8-sig\"; PowerShell 7: -Encoding utf8NoBOM"
    )]
    ByteOrderMark,
    /// It is in UTF-16.
    #[error(
        "it is not UTF-8 but UTF-16, which is what > of PowerShell 5 writes; write it as UTF-8 without a byte \
         order mark"
    )]
    Utf16,
    /// It has bytes that are no UTF-8.
    #[error(
        "it is not UTF-8: byte 0x{value:02x} at {at}{}; write it as UTF-8 (Python: \
         open(path, \"w\", encoding=\"utf-8\"))", looks_like.map(|name| format!(", it may be {name}")).unwrap_or_default()
    )]
    NotUtf8 {
        /// The byte that is none.
        value: u8,
        /// Where it stands.
        at: Position,
        /// The encoding that it may be instead.
        looks_like: Option<&'static str>,
    },
    /// It is nested deeper than [`NESTING_MAX`].
    #[error("it is nested deeper than {NESTING_MAX} levels")]
    TooDeep,
    /// It has a word for what is no number.
    #[error(
        "it is not valid JSON: {word} at {at} is no JSON number; write null instead (Python: \
         json.dump(..., allow_nan=False) says so where it happens)"
    )]
    NotANumber {
        /// The word as it stands there.
        word: String,
        /// Where.
        at: Position,
    },
    /// It ends before it is complete.
    #[error(
        "it is not valid JSON: it ends in the middle, after byte {after_byte}; the program was ended while it \
         wrote, the disk was full, or the file was not closed"
    )]
    CutOff {
        /// How many bytes there are.
        after_byte: u64,
    },
    /// It is a table.
    #[error("it is not valid JSON: it looks like CSV ({beginning:?}); write the rows as a JSON list")]
    Csv {
        /// Its first characters.
        beginning: String,
    },
    /// It is what Python prints.
    #[error(
        "it is not valid JSON: {near:?} at {at} looks like what Python prints; use json.dump(value, file) instead \
         of str(value) or print(value)"
    )]
    PythonRepr {
        /// The text at this place.
        near: String,
        /// Where it stands.
        at: Position,
    },
    /// It is text.
    #[error("it is not valid JSON: it looks like plain text ({beginning:?})")]
    PlainText {
        /// Its first characters.
        beginning: String,
    },
    /// It is whole, and something follows.
    #[error(
        "it is not valid JSON: the document ends before {at}, but more follows: {near:?}; write one document \
         only, and nothing else into this file"
    )]
    TextAfterEnd {
        /// The text at this place.
        near: String,
        /// Where it begins.
        at: Position,
    },
    /// It is JSON but for this place.
    #[error("it is not valid JSON: {reason} at {at}, before {near:?}")]
    NotJson {
        /// What the JSON reader says.
        reason: String,
        /// The text at this place.
        near: String,
        /// Where it stands.
        at: Position,
    },
    /// The system did not let it be read: nothing is known of it.
    #[error("it cannot be read")]
    Unreadable(#[source] io::Error),
}

/// Reads all of it: one JSON document, UTF-8, nested at most [`NESTING_MAX`] levels deep.
///
/// ```
/// use bcrlapi_exchange::document::check;
///
/// assert!(check(&b"{\"soc\": 92.5}\n"[..]).is_ok());
///
/// let fault = check(&b"{\"soc\": NaN}"[..]).unwrap_err();
/// assert!(fault.to_string().contains("NaN at line 1, column 9 (byte 9)"), "{fault}");
/// ```
pub fn check(reader: impl Read) -> Result<(), DocumentFault> {
    let mut watched = Watched::new(reader);
    let mut json = serde_json::Deserializer::from_reader(BufReader::with_capacity(READ_BYTES, &mut watched));

    let value = IgnoredAny::deserialize(&mut json);
    let (error, is_complete) = match value {
        Ok(_) => (json.end().err(), true),
        Err(error) => (Some(error), false),
    };
    drop(json);

    match error {
        None => Ok(()),
        Some(error) => Err(watched.fault(&error, is_complete)),
    }
}

/// Ends what passes where a JSON reader that skips values would not: at what is not UTF-8, and
/// below too many levels. Remembers enough to say where a fault is and what stands there.
struct Watched<R> {
    inner: R,
    head: Vec<u8>,
    /// The bytes that passed last.
    window: Window,
    /// The beginning of a character whose rest has not come yet: 3 bytes at most.
    unfinished: Vec<u8>,
    nesting: Nesting,
    refused: Option<Refused>,
}

enum Refused {
    NotUtf8 { offset: u64 },
    TooDeep,
    Unreadable(io::Error),
}

impl<R: Read> Watched<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            head: Vec::new(),
            window: Window::default(),
            unfinished: Vec::new(),
            nesting: Nesting::default(),
            refused: None,
        }
    }

    fn look_at(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let room = HEAD_BYTES.saturating_sub(self.head.len());
        self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);

        let offset = self.window.end();
        self.window.pass(bytes);
        self.check_utf8(bytes, offset)?;
        self.nesting.follow(bytes);
        if self.nesting.depth > NESTING_MAX { Err(Refused::TooDeep) } else { Ok(()) }
    }

    fn check_utf8(&mut self, bytes: &[u8], offset: u64) -> Result<(), Refused> {
        let begins = offset - self.unfinished.len() as u64;
        self.unfinished.extend_from_slice(bytes);
        let valid = match str::from_utf8(&self.unfinished) {
            Ok(text) => text.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(error) => return Err(Refused::NotUtf8 { offset: begins + error.valid_up_to() as u64 }),
        };
        self.unfinished.drain(..valid);
        Ok(())
    }

    /// What is wrong, by what was refused, by the JSON reader's `error`, and by what stands there.
    fn fault(mut self, error: &serde_json::Error, is_complete: bool) -> DocumentFault {
        let refused = self.refused.take();
        if let Some(Refused::Unreadable(error)) = refused {
            return DocumentFault::Unreadable(error);
        }

        self.read_beyond_the_fault();
        if is_utf16(&self.head) {
            return DocumentFault::Utf16;
        }
        match refused {
            Some(Refused::NotUtf8 { offset }) => return self.not_utf8(offset),
            Some(Refused::TooDeep) => return DocumentFault::TooDeep,
            Some(Refused::Unreadable(_)) | None => {}
        }

        if self.head.starts_with(BYTE_ORDER_MARK) {
            return DocumentFault::ByteOrderMark;
        }
        let has_text = self.head.iter().any(|byte| !byte.is_ascii_whitespace());
        if !has_text && self.window.end() <= HEAD_BYTES as u64 {
            return DocumentFault::Empty;
        }
        if error.is_eof() {
            return DocumentFault::CutOff { after_byte: self.window.end() };
        }
        self.not_json(error, is_complete)
    }

    /// What stands at a fault goes on in what the JSON reader has not asked for.
    fn read_beyond_the_fault(&mut self) {
        let mut more = Vec::new();
        // What cannot be read here is missing in a quotation, and nowhere else.
        let _ = self.inner.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut more);

        let room = HEAD_BYTES.saturating_sub(self.head.len());
        self.head.extend_from_slice(&more[..more.len().min(room)]);
        self.window.bytes.extend_from_slice(&more);
    }

    fn not_utf8(self, offset: u64) -> DocumentFault {
        let at = self.window.position(offset);
        let bytes = self.window.from(offset);
        let value = bytes.first().copied().unwrap_or_default();
        DocumentFault::NotUtf8 { value, at, looks_like: encoding_of(bytes) }
    }

    fn not_json(self, error: &serde_json::Error, is_complete: bool) -> DocumentFault {
        let offset = self.window.offset_at(error.line() as u64, error.column() as u64);
        let beginning = quote(&self.head);
        let first = self.head.iter().copied().find(|byte| !byte.is_ascii_whitespace()).unwrap_or_default();
        let is_container = matches!(first, b'{' | b'[');

        let (word_offset, word) = self.window.word_at(offset);
        let plain = word.trim_start_matches(['-', '+']);
        if !is_complete && (is_container || word_offset == 0) {
            let at = self.window.position(word_offset);
            if NAN_WORDS.contains(&plain.to_ascii_lowercase().as_str()) {
                return DocumentFault::NotANumber { word, at };
            }
            if PYTHON_WORDS.contains(&plain) || (is_container && self.window.from(offset).starts_with(b"'")) {
                let from = if plain.is_empty() { offset } else { word_offset };
                return DocumentFault::PythonRepr { near: quote(self.window.from(from)), at };
            }
        }

        if !is_container && is_table(&self.head) {
            return DocumentFault::Csv { beginning };
        }
        let is_bare = !is_container && first != b'"';
        if is_bare {
            return DocumentFault::PlainText { beginning };
        }

        let at = self.window.position(offset);
        let near = quote(self.window.from(offset));
        if is_complete {
            return DocumentFault::TextAfterEnd { near, at };
        }

        let is_after_comma = self.window.last_before(offset) == Some(b',');
        let reason = match self.window.from(offset).first() {
            Some(b'}' | b']') if is_after_comma => "trailing comma".to_owned(),
            _ => reason_of(error),
        };
        DocumentFault::NotJson { reason, near, at }
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = match self.inner.read(buffer) {
            Ok(length) => length,
            // To be tried again, says the rule of this call.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                self.refused = Some(Refused::Unreadable(error));
                return Err(io::ErrorKind::Other.into());
            }
        };
        match self.look_at(&buffer[..length]) {
            Ok(()) => Ok(length),
            Err(refused) => {
                self.refused = Some(refused);
                Err(io::ErrorKind::InvalidData.into())
            }
        }
    }
}

/// The last bytes that have passed, and where in the document they stand. All offsets are from 0.
#[derive(Default)]
struct Window {
    bytes: Vec<u8>,
    /// The offset of the first of them.
    begins: u64,
    /// How many line breaks stand before them.
    breaks_before: u64,
    /// The offset of the line that the first of them is in.
    line_begins: u64,
}

impl Window {
    fn end(&self) -> u64 {
        self.begins + self.bytes.len() as u64
    }

    /// Takes in what follows, and forgets what stands long before it.
    fn pass(&mut self, bytes: &[u8]) {
        let surplus = self.bytes.len().saturating_sub(KEPT_BYTES);
        for (index, byte) in self.bytes[..surplus].iter().enumerate() {
            if *byte == b'\n' {
                self.breaks_before += 1;
                self.line_begins = self.begins + index as u64 + 1;
            }
        }
        self.bytes.drain(..surplus);
        self.begins += surplus as u64;
        self.bytes.extend_from_slice(bytes);
    }

    /// The index of what stands at this offset; the nearest, where it is not kept.
    fn index(&self, offset: u64) -> usize {
        let index = usize::try_from(offset.saturating_sub(self.begins)).unwrap_or(usize::MAX);
        index.min(self.bytes.len())
    }

    fn from(&self, offset: u64) -> &[u8] {
        &self.bytes[self.index(offset)..]
    }

    /// The last byte before this offset that is no white space.
    fn last_before(&self, offset: u64) -> Option<u8> {
        let before = &self.bytes[..self.index(offset)];
        before.iter().copied().rfind(|byte| !byte.is_ascii_whitespace())
    }

    /// The offset of what the JSON reader calls by line and column: both from 1, in bytes; 0 for
    /// the column of the line break before the line.
    fn offset_at(&self, line: u64, column: u64) -> u64 {
        let breaks = self.bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let mut lines = (self.breaks_before + 1..)
            .zip([self.line_begins].into_iter().chain(breaks.map(|(index, _)| self.begins + index as u64 + 1)));
        let begins = lines.find(|(number, _)| *number == line).map_or(self.line_begins, |(_, begins)| begins);
        (begins + column).saturating_sub(1)
    }

    fn position(&self, offset: u64) -> Position {
        let before = &self.bytes[..self.index(offset)];
        let breaks = before.split(|byte| *byte == b'\n').count() as u64 - 1;
        let last_break = before.iter().rposition(|byte| *byte == b'\n');
        let line_begins = last_break.map_or(self.line_begins, |index| self.begins + index as u64 + 1);

        let is_kept = line_begins >= self.begins;
        let characters = || {
            let line = &self.bytes[self.index(line_begins)..self.index(offset)];
            String::from_utf8_lossy(line).chars().count() as u64
        };
        let column = if is_kept { characters() } else { offset - line_begins };
        Position { line: self.breaks_before + breaks + 1, column: column + 1, byte: offset + 1 }
    }

    /// The word around this offset, with its sign, and where it begins.
    fn word_at(&self, offset: u64) -> (u64, String) {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'_');
        let index = self.index(offset);
        let before = self.bytes[..index].iter().rev().take_while(|byte| is_part(byte)).count();
        let begins = index - before;
        let word: Vec<u8> = self.bytes[begins..].iter().copied().take_while(is_part).take(QUOTED_CHARS).collect();
        (self.begins + begins as u64, String::from_utf8_lossy(&word).into_owned())
    }
}

/// The first characters, as they are quoted in an error.
fn quote(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * QUOTED_CHARS)]);
    let text = text.trim();
    let line = text.lines().next().unwrap_or_default();
    line.chars().take(QUOTED_CHARS).collect()
}

/// Whether it has the marks of UTF-16, or the zeros that ASCII has in it.
fn is_utf16(head: &[u8]) -> bool {
    let has_mark = head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff");
    let is_wide = match head {
        [first, second, third, fourth, ..] => {
            let zeros = [first, second, third, fourth].map(|byte| *byte == 0);
            zeros == [true, false, true, false] || zeros == [false, true, false, true]
        }
        _ => false,
    };
    has_mark || is_wide
}

/// Whether the first line has what parts the columns of a table, and does not read as a sentence.
fn is_table(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    let line = text.lines().next().unwrap_or_default();
    line.contains(['\t', ';']) || (line.contains(',') && !line.contains(", "))
}

/// The encoding of Japanese text, or of western text, in which these two bytes are a character.
fn encoding_of(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xa1..=0xfe, 0xa1..=0xfe, ..] => Some("EUC-JP"),
        [0x81..=0x9f | 0xe0..=0xfc, 0x40..=0x7e | 0x80..=0xfc, ..] => Some("cp932 (Shift_JIS)"),
        [0xa0..=0xff, ..] => Some("latin-1"),
        _ => None,
    }
}

/// The reader's words without its own line and column.
fn reason_of(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((reason, _)) => reason.to_owned(),
        None => text,
    }
}

/// How many brackets are open. Knows strings, and nothing else of JSON.
#[derive(Default)]
struct Nesting {
    depth: usize,
    is_in_string: bool,
    is_escaped: bool,
}

impl Nesting {
    /// Stops where it is too deep.
    fn follow(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let is_escaped = mem::take(&mut self.is_escaped);
            match byte {
                _ if is_escaped => {}
                b'\\' if self.is_in_string => self.is_escaped = true,
                b'"' => self.is_in_string = !self.is_in_string,
                _ if self.is_in_string => {}
                b'[' | b'{' => self.depth += 1,
                b']' | b'}' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            if self.depth > NESTING_MAX {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct ByteByByte<'a>(&'a [u8]);

    impl Read for ByteByByte<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let room = buffer.len().min(1);
            self.0.read(&mut buffer[..room])
        }
    }

    #[track_caller]
    fn said(content: &[u8]) -> String {
        let said = check(content).expect_err("it cannot be taken").to_string();
        // No fault hides at the border of two reads.
        assert_eq!(check(ByteByByte(content)).unwrap_err().to_string(), said);
        said
    }

    #[track_caller]
    fn assert_says(content: impl AsRef<[u8]>, words: &[&str]) {
        let said = said(content.as_ref());
        for word in words {
            assert!(said.contains(word), "{said:?} does not say {word:?}");
        }
    }

    #[test]
    fn one_whole_document_is_taken() {
        for content in ["{\"soc\": 92.5}\n", "[]", " 1e400 ", "\"充電率\"", "null", "\"\\ud800\""] {
            assert!(check(content.as_bytes()).is_ok(), "{content}");
        }
        let long = format!("\"{}\"", "充電率é".repeat(50_000));
        assert!(check(long.as_bytes()).is_ok(), "characters may be cut by the buffer");
    }

    #[test]
    fn what_is_no_number_is_named_where_it_stands() {
        assert_says("NaN", &["NaN at line 1, column 1 (byte 1)", "allow_nan=False"]);
        assert_says("{\"a\": 1,\n \"b\": NaN}", &["NaN at line 2, column 7 (byte 16)"]);
        assert_says("[1, -Infinity]", &["-Infinity at line 1, column 5 (byte 5)"]);
        assert_says("[Infinity]", &["Infinity at line 1, column 2"]);
        assert_says("[1.5, nan, 2]", &["nan at line 1, column 7"]);
        assert_says("[-nan]", &["-nan at"]);
        assert_says("[1, inf]", &["inf at"]);
        assert_says("[NA]", &["NA at"]);
        assert_says("{\"電池\": NaN}", &["NaN at line 1, column 8 (byte 12)"]);
    }

    #[test]
    fn a_fault_far_into_a_large_document_is_found() {
        let rows = "[1, 2],\n".repeat(100_000);
        assert_says(format!("[{rows}NaN]"), &["NaN at line 100001, column 1 (byte 800002)"]);
        let one_line = "1, ".repeat(100_000);
        assert_says(format!("[{one_line}NaN]"), &["NaN at line 1, column 300002 (byte 300002)"]);
    }

    #[test]
    fn half_a_document_and_none_are_told_apart() {
        assert_says("", &["empty"]);
        assert_says(" \n", &["empty"]);
        assert_says("{\"soc\": 9", &["ends in the middle, after byte 9", "disk was full"]);
        assert_says("\"abc", &["ends in the middle"]);
    }

    #[test]
    fn marks_and_encodings_are_named() {
        assert_says(b"\xef\xbb\xbf{\"a\": 1}", &["byte order mark"]);
        assert_says(b"\xff\xfe{\0}\0", &["UTF-16"]);
        assert_says(b"{\0\"\0a\0\"\0:\x001\0}\0", &["UTF-16"]);
        assert_says(b"{\"a\": \"\x8f[\x93d\"}", &["0x8f at line 1, column 8 (byte 8)", "cp932"]);
        assert_says(b"{\"a\": \"\xbd\xbc\"}", &["EUC-JP"]);
        assert_says(b"{\"a\": \"caf\xe9\"}", &["latin-1"]);
        assert_says(b"{}\xe5", &["more follows"]);
    }

    #[test]
    fn what_is_something_else_is_called_so() {
        assert_says("time,soc\n0,92.5\n", &["CSV", "time,soc"]);
        assert_says("1,2,3\n4,5,6\n", &["CSV"]);
        assert_says("2026-11-22\t92.5\n", &["CSV"]);
        assert_says("{'soc': 92.5}", &["'soc'", "json.dump"]);
        assert_says("{\"soc\": None}", &["None", "line 1, column 9", "Python"]);
        assert_says("{\"ok\": True}", &["True", "Python"]);
        assert_says("done, see the log\n", &["plain text", "done, see the log"]);
        assert_says("<html>", &["plain text"]);
        assert_says("{} {}", &["more follows", "line 1, column 4"]);
        assert_says("{\"a\": 1}\n{\"a\": 2}\n", &["more follows", "line 2, column 1"]);
        assert_says("{\"a\": 1,}", &["trailing comma", "(byte 9)"]);
        assert_says("[1 2]", &["line 1, column 4"]);
        assert_says("{\"a\": \"two\nlines\"}", &["control character"]);
    }

    #[test]
    fn nesting_has_a_limit_and_brackets_in_strings_are_none() {
        let nested = |levels| ["[".repeat(levels), "]".repeat(levels)].concat();
        assert!(check(nested(NESTING_MAX).as_bytes()).is_ok());
        assert_says(nested(NESTING_MAX + 1), &["nested deeper"]);
        let brackets = format!("[\"{}\\\"{}\"]", "[".repeat(NESTING_MAX), "{".repeat(NESTING_MAX));
        assert!(check(brackets.as_bytes()).is_ok());
    }

    #[test]
    fn what_the_system_refuses_is_no_fault_of_the_document() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the disk is broken"))
            }
        }
        let fault = check(Broken).unwrap_err();
        assert!(matches!(fault, DocumentFault::Unreadable(_)), "{fault}");
    }
}
