/// The words that Python's json writes for numbers that JSON does not have.
const WORDS: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];

/// The same JSON with null in the place of each such word; `None` where there is none.
pub(crate) fn without_nan(json: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(json.len() + WORDS.len());
    let (mut rest, mut is_in_string, mut has_word) = (json, false, false);
    while let [byte, ..] = rest {
        let word = WORDS.iter().find(|word| !is_in_string && rest.starts_with(word));
        let is_escape = is_in_string && *byte == b'\\';
        is_in_string ^= *byte == b'"';
        let (taken, put) = match word {
            Some(word) => (word.len(), &b"null"[..]),
            None if is_escape => (2.min(rest.len()), &rest[..2.min(rest.len())]),
            None => (1, &rest[..1]),
        };
        out.extend_from_slice(put);
        rest = &rest[taken..];
        has_word |= word.is_some();
    }
    has_word.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_becomes(json: &str, expected: Option<&str>) {
        assert_eq!(without_nan(json.as_bytes()), expected.map(|json| json.as_bytes().to_vec()), "{json}");
    }

    #[test]
    fn words_become_null_and_text_stays() {
        assert_becomes(r#"{"a": NaN, "b": [Infinity,-Infinity]}"#, Some(r#"{"a": null, "b": [null,null]}"#));
        assert_becomes(r#"{"NaN": "\"Infinity\\", "x": NaN}"#, Some(r#"{"NaN": "\"Infinity\\", "x": null}"#));
    }

    #[test]
    fn without_a_word_there_is_nothing_to_do() {
        for json in ["", "{", r#"{"a": "NaN"}"#, r#""\"#, r#"{"a": nan, "b": -1}"#] {
            assert_becomes(json, None);
        }
    }
}
