use std::str;

use serde_json::error::Category;
use serde_json::value::RawValue;

/// Why bytes are not one JSON value. Each reads on after "the body is not JSON:", and what helps is behind the semicolon.
///
/// A parser's own words for the first bytes of a file in another encoding help nobody.
#[derive(Debug, thiserror::Error)]
pub enum JsonFault {
    /// There are no bytes, or none but white space.
    #[error("it is empty; send a JSON value, at least {{}}")]
    Empty,
    /// It begins with the mark of UTF-8.
    #[error("it begins with a byte order mark; send UTF-8 without one")]
    ByteOrderMark,
    /// It is in UTF-16, with a mark or without.
    #[error("it is UTF-16; send UTF-8 without a byte order mark")]
    Utf16,
    /// It is packed.
    #[error("it is compressed with gzip; send it uncompressed")]
    Gzip,
    /// It has bytes that are not UTF-8.
    #[error("it is not UTF-8: byte 0x{value:02x} at position {at}{}; send UTF-8", may_be(*looks_like))]
    NotUtf8 {
        /// The byte.
        value: u8,
        /// Where it stands, from 1.
        at: usize,
        /// The encoding that it may be instead.
        looks_like: Option<&'static str>,
    },
    /// It is a page.
    #[error("it begins with <, as HTML does; send JSON")]
    Html,
    /// It has a word for what JSON has no number for.
    #[error("{word} at line {line} column {column} is not a JSON number; send null instead")]
    NotANumber {
        /// The word, as it stands there.
        word: String,
        /// Its line, from 1.
        line: usize,
        /// The byte of its line at which the parser noticed, from 1.
        column: usize,
    },
    /// It ends before it is complete.
    #[error("it ends in the middle, after byte {after}; send all of it")]
    CutOff {
        /// How many bytes there are.
        after: usize,
    },
    /// Anything else, in the parser's own words.
    #[error(transparent)]
    Syntax(serde_json::Error),
}

/// What Python and JavaScript write for numbers that JSON has not.
const NOT_NUMBERS: [&str; 5] = ["NaN", "nan", "Infinity", "inf", "Inf"];

/// Checks that these bytes are one JSON value, in UTF-8 and without a byte order mark.
pub fn check_json(body: &[u8]) -> Result<(), JsonFault> {
    let parsed: Result<&RawValue, _> = serde_json::from_slice(body);

    match parsed {
        Ok(_) => Ok(()),
        Err(error) => Err(fault_of(body, error)),
    }
}

fn fault_of(body: &[u8], error: serde_json::Error) -> JsonFault {
    if body.trim_ascii().is_empty() {
        return JsonFault::Empty;
    }
    if body.starts_with(b"\xef\xbb\xbf") {
        return JsonFault::ByteOrderMark;
    }
    if is_utf16(body) {
        return JsonFault::Utf16;
    }
    if body.starts_with(b"\x1f\x8b") {
        return JsonFault::Gzip;
    }
    if let Err(not_utf8) = str::from_utf8(body) {
        return not_utf8_at(body, not_utf8.valid_up_to());
    }
    // After the encoding: a page in cp932 is one in the wrong encoding too, and is named by its first byte all the same.
    if body.trim_ascii_start().starts_with(b"<") {
        return JsonFault::Html;
    }

    let (line, column) = (error.line(), error.column());
    if let Some(word) = word_at(body, line, column)
        && NOT_NUMBERS.contains(&word.trim_start_matches(['-', '+']))
    {
        return JsonFault::NotANumber { word: word.to_owned(), line, column };
    }

    match error.classify() {
        Category::Eof => JsonFault::CutOff { after: body.len() },
        Category::Io | Category::Syntax | Category::Data => JsonFault::Syntax(error),
    }
}

/// By its mark, or by the empty half of the ASCII character that JSON begins with.
fn is_utf16(body: &[u8]) -> bool {
    match body {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => true,
        [first, second, ..] => (*first == 0) != (*second == 0),
        _ => false,
    }
}

fn not_utf8_at(body: &[u8], index: usize) -> JsonFault {
    let looks_like = match body[index..] {
        [0xa1..=0xfe, 0xa1..=0xfe, ..] => Some("EUC-JP"),
        [0x81..=0x9f | 0xe0..=0xfc, 0x40..=0x7e | 0x80..=0xfc, ..] => Some("cp932 (Shift_JIS)"),
        [0xa0..=0xff, ..] => Some("latin-1"),
        _ => None,
    };

    JsonFault::NotUtf8 { value: body[index], at: index + 1, looks_like }
}

fn may_be(looks_like: Option<&str>) -> String {
    looks_like.map(|name| format!(", it may be {name}")).unwrap_or_default()
}

/// The word at the place that the parser names, with its sign. It may name any letter of it.
fn word_at(body: &[u8], line: usize, column: usize) -> Option<&str> {
    let line = body.split(|byte| *byte == b'\n').nth(line.checked_sub(1)?)?;
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+');
    let index = column.saturating_sub(1).min(line.len());

    let begins = index - line[..index].iter().rev().take_while(|byte| is_part(byte)).count();
    let length = line[begins..].iter().take_while(|byte| is_part(byte)).count();
    str::from_utf8(&line[begins..begins + length]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(body: &[u8]) -> String {
        check_json(body).unwrap_err().to_string()
    }

    #[test]
    fn a_json_value_is_one_whatever_it_is() {
        for body in ["{}", " null ", "1e999", r#""\ud800""#, r#"{"NaN": "<html>"}"#, "\"充電率\""] {
            assert!(check_json(body.as_bytes()).is_ok(), "{body}");
        }
    }

    #[test]
    fn what_is_not_json_is_named_as_what_it_is() {
        let utf16: Vec<u8> = "{\"a\": 1}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let utf16_be: Vec<u8> = "[1]".encode_utf16().flat_map(u16::to_be_bytes).collect();

        for (body, expected) in [
            (b"".as_slice(), "empty"),
            (b" \r\n", "empty"),
            (b"\xef\xbb\xbf{}", "byte order mark"),
            (b"\xef\xbb\xbf", "byte order mark"),
            (b"\xff\xfe{\0}\0", "UTF-16"),
            (b"\xfe\xff\0{\0}", "UTF-16"),
            (&utf16, "UTF-16"),
            (&utf16_be, "UTF-16"),
            (b"\x1f\x8b\x08\0\0", "gzip"),
            // What cp932, EUC-JP and latin-1 write for a kanji, a kanji and an umlaut.
            (b"{\"a\": \"\x8f[\x93d\"}", "byte 0x8f at position 8, it may be cp932"),
            (b"{\"a\": \"\xbd\xbc\"}", "EUC-JP"),
            (b"\"\xfc\"", "latin-1"),
            (b"<!DOCTYPE html><html></html>", "HTML"),
            (b"\n <html>", "HTML"),
            (b"NaN", "NaN at line 1"),
            (b"[1,\n -Infinity]", "-Infinity at line 2"),
            (b"{\"a\": Infinity}", "Infinity at line 1"),
            (b"[nan]", "nan at line 1"),
            (b"[-inf, 1]", "-inf at line 1"),
            (b"{\"a\": ", "ends in the middle, after byte 6"),
            (b"\"open", "ends in the middle"),
            (b"{'a': 1}", "key must be a string at line 1 column 2"),
            (b"{} {}", "trailing characters"),
        ] {
            let said = words(body);
            assert!(said.contains(expected), "{body:?}: {said}");
        }
    }
}
