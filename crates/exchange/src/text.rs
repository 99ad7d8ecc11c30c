//! Bytes as text, whatever wrote them: a script on a Japanese Windows writes cp932, PowerShell 5.1
//! UTF-16.
//!
//! All that the protocol needs is ASCII. So bytes that are not UTF-8 may spoil the text that they
//! stand in, and nothing else.

use std::borrow::Cow;
use std::fmt::Write;
use std::str;
use std::string::FromUtf8Error;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, ISO_2022_JP, SHIFT_JIS, UTF_16BE, UTF_16LE};

/// The byte order mark of UTF-8, which some editors write at the beginning of a file.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The bytes as text if they are UTF-8, without a byte order mark; the bytes again if not.
pub(crate) fn utf8(mut bytes: Vec<u8>) -> Result<String, Vec<u8>> {
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    String::from_utf8(bytes).map_err(FromUtf8Error::into_bytes)
}

/// How ISO-2022-JP says that Japanese characters follow.
const TO_JAPANESE: &[u8] = b"\x1b$";

/// What the bytes may say in any encoding, the likeliest first. Which of them is right shows in
/// what can be read as a queue: in cp932 the second byte of a character may look like a quote or a
/// backslash.
pub(crate) fn otherwise(bytes: &[u8]) -> impl Iterator<Item = Cow<'_, str>> {
    let candidates = match utf16(bytes) {
        Some(encoding) => vec![encoding],
        None if is_iso_2022_jp(bytes) => vec![ISO_2022_JP],
        None if str::from_utf8(bytes).is_ok() => Vec::new(),
        None => vec![detected(bytes), SHIFT_JIS],
    };
    let decoded = candidates.into_iter().map(move |encoding| encoding.decode(bytes).0);
    decoded.chain([String::from_utf8_lossy(bytes)])
}

/// Which UTF-16 it is: by its mark, or by the empty half of an ASCII character at the beginning.
fn utf16(bytes: &[u8]) -> Option<&'static Encoding> {
    match bytes {
        [0xff, 0xfe, ..] => Some(UTF_16LE),
        [0xfe, 0xff, ..] => Some(UTF_16BE),
        [first, 0, ..] if *first != 0 => Some(UTF_16LE),
        [0, second, ..] if *second != 0 => Some(UTF_16BE),
        _ => None,
    }
}

/// In this encoding all bytes are ASCII, and those of a character may look like a quote.
fn is_iso_2022_jp(bytes: &[u8]) -> bool {
    bytes.is_ascii() && bytes.windows(TO_JAPANESE.len()).any(|window| window == TO_JAPANESE)
}

fn detected(bytes: &[u8]) -> &'static Encoding {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(bytes, true);
    detector.guess(None, Utf8Detection::Deny)
}

/// The same JSON in ASCII, each other character as `\uXXXX`: so it reads the same under every
/// locale. In JSON, such characters stand in texts only.
pub(crate) fn to_ascii(json: Cow<'_, str>) -> Cow<'_, str> {
    if json.is_ascii() {
        return json;
    }
    let mut ascii = String::with_capacity(json.len() * 2);
    for character in json.chars() {
        if character.is_ascii() {
            ascii.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            write!(ascii, "\\u{unit:04x}").expect("a text is written to memory without fail");
        }
    }
    ascii.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_become_escapes_that_mean_the_same() {
        let json = "{\"message\": \"計算中 😀\\n\"}";
        let ascii = to_ascii(json.into());
        assert_eq!(ascii, "{\"message\": \"\\u8a08\\u7b97\\u4e2d \\ud83d\\ude00\\n\"}");
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&ascii), read(json));
        assert!(matches!(to_ascii("{}".into()), Cow::Borrowed("{}")));
    }
}
