//! JSON as scripts, editors and power cuts leave it, where its meaning is plain, as JSON that every reader takes.
//!
//! What is read so: control characters and bad backslashes in texts, trailing commas, comments,
//! Python's words and quotes, and anything behind the document. What was cut off stays so.

use std::fmt::Write;

/// Words that JSON does not have, and what they mean.
const WORDS: [(&str, &str); 9] = [
    ("NaN", "null"),
    ("Infinity", "null"),
    ("-Infinity", "null"),
    ("nan", "null"),
    ("inf", "null"),
    ("-inf", "null"),
    ("None", "null"),
    ("True", "true"),
    ("False", "false"),
];

/// A document that was repaired.
#[derive(Debug, PartialEq)]
pub(crate) struct Repaired<'a> {
    /// It may still be no JSON.
    pub(crate) json: String,
    /// What stands behind it, as it was.
    pub(crate) behind: &'a str,
}

/// The document with which a text begins, in each way in which it may be meant, the likeliest
/// first. None where it does not come to its end.
pub(crate) fn repairs(text: &str) -> impl Iterator<Item = Repaired<'_>> {
    let repair = |ends_at_backslash| Repair { rest: text, json: String::new(), depth: 0, ends_at_backslash };
    let ways = [false, true].into_iter().filter(move |ends_at_backslash| !ends_at_backslash || text.contains("\\\""));
    ways.filter_map(move |ends_at_backslash| repair(ends_at_backslash).document())
}

struct Repair<'a> {
    rest: &'a str,
    json: String,
    depth: usize,
    /// Whether `\"` before a comma or a bracket ends the text, as in `"C:\data\",`.
    ends_at_backslash: bool,
}

impl<'a> Repair<'a> {
    fn document(mut self) -> Option<Repaired<'a>> {
        loop {
            let first = self.rest.chars().next()?;
            match first {
                '{' | '[' => {
                    self.depth += 1;
                    self.keep(1);
                }
                '}' | ']' => {
                    self.drop_comma();
                    self.keep(1);
                    self.depth = self.depth.checked_sub(1)?;
                    if self.depth == 0 {
                        return Some(Repaired { json: self.json, behind: self.rest });
                    }
                }
                '"' | '\'' => self.text(first)?,
                '#' => self.skip_line(),
                '/' if self.rest.starts_with("//") => self.skip_line(),
                _ => self.word(first),
            }
        }
    }

    fn keep(&mut self, length: usize) {
        let (kept, rest) = self.rest.split_at(length);
        self.json.push_str(kept);
        self.rest = rest;
    }

    fn replace(&mut self, length: usize, by: &str) {
        self.json.push_str(by);
        self.rest = &self.rest[length..];
    }

    fn skip_line(&mut self) {
        let length = self.rest.find('\n').unwrap_or(self.rest.len());
        self.replace(length, "");
    }

    fn drop_comma(&mut self) {
        let before = self.json.trim_end();
        if before.ends_with(',') {
            self.json.truncate(before.len() - 1);
        }
    }

    /// A number, a word, or what stands between two values.
    fn word(&mut self, first: char) {
        let ends = |character: char| character.is_whitespace() || ",:{}[]\"'#/".contains(character);
        let length = self.rest.find(ends).unwrap_or(self.rest.len()).max(first.len_utf8());
        match WORDS.iter().find(|(word, _)| *word == &self.rest[..length]) {
            Some((_, meaning)) => self.replace(length, meaning),
            None => self.keep(length),
        }
    }

    fn text(&mut self, quote: char) -> Option<()> {
        self.replace(1, "\"");
        loop {
            let is_special = |character: char| character < ' ' || ['"', '\\', quote].contains(&character);
            self.keep(self.rest.find(is_special)?);

            match self.rest.chars().next()? {
                end if end == quote => {
                    self.replace(1, "\"");
                    return Some(());
                }
                '"' => self.replace(1, "\\\""),
                '\\' => self.escape(),
                // Zeros are what a power cut leaves of a file: what stands on their two sides need
                // not belong together.
                '\0' => return None,
                control => {
                    write!(self.json, "\\u{:04x}", u32::from(control)).expect("a text is written without fail");
                    self.replace(1, "");
                }
            }
        }
    }

    fn escape(&mut self) {
        let after = &self.rest[1..];
        match after.chars().next() {
            Some('"') if self.ends_at_backslash && is_end_of_value(&after[1..]) => self.replace(1, "\\\\"),
            Some('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => self.keep(2),
            Some('\'') => self.replace(2, "'"),
            Some('u') if is_code_unit(&after[1..]) => self.keep(2),
            _ => self.replace(1, "\\\\"),
        }
    }
}

fn is_end_of_value(rest: &str) -> bool {
    rest.trim_start().starts_with([',', ':', '}', ']'])
}

fn is_code_unit(rest: &str) -> bool {
    const DIGITS: usize = 4;
    rest.bytes().take_while(u8::is_ascii_hexdigit).take(DIGITS).count() == DIGITS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &str) -> Option<Repaired<'_>> {
        repairs(text).next()
    }

    #[track_caller]
    fn assert_becomes(text: &str, expected: &str) {
        assert_eq!(first(text), Some(Repaired { json: expected.to_owned(), behind: "" }), "{text}");
    }

    #[test]
    fn what_is_good_stays_as_it_is() {
        for json in [
            "{}",
            r#"{"a": [1, -2.5e3, true, null], "NaN": "\"Infinity\\ // # ,] 'x' \u00e9\/"}"#,
            "{\r\n\t\"\u{8a08}\": {}\n}",
        ] {
            assert_becomes(json, json);
        }
    }

    #[test]
    fn words_of_python_are_read() {
        assert_becomes(r#"{"a": NaN, "b": [Infinity,-Infinity]}"#, r#"{"a": null, "b": [null,null]}"#);
        assert_becomes("{'a': None, 'b': [True,False]}", r#"{"a": null, "b": [true,false]}"#);
        assert_becomes(r#"{'say': 'a "b" \'c\' \n', "it's": 'x'}"#, r#"{"say": "a \"b\" 'c' \n", "it's": "x"}"#);
    }

    #[test]
    fn control_characters_and_backslashes_spoil_no_text() {
        assert_becomes("{\"a\": \"1\t2\n\u{1b}[0m\"}", r#"{"a": "1\u00092\u000a\u001b[0m"}"#);
        assert_becomes(r#"{"a": "C:\data\users\x\\y"}"#, r#"{"a": "C:\\data\\users\\x\\y"}"#);
    }

    #[test]
    fn a_backslash_before_the_closing_quote_is_the_second_thing_to_try() {
        let read: Vec<String> = repairs(r#"{"a": "C:\data\", "b": "x"}"#).map(|read| read.json).collect();
        assert_eq!(read, [r#"{"a": "C:\\data\\", "b": "x"}"#]);

        let good = r#"{"a": "\"x\", \"y\""}"#;
        assert_becomes(good, good);
    }

    #[test]
    fn commas_that_nothing_follows_and_comments_are_left_out() {
        assert_becomes("{\"a\": [1, 2,\n], \n}", "{\"a\": [1, 2]}");
        assert_becomes("// ours\n{\"a\": 1, # one\n \"b\": \"//\", // two\n}", "\n{\"a\": 1, \n \"b\": \"//\"}");
    }

    #[test]
    fn what_stands_behind_the_document_is_no_part_of_it() {
        for behind in ["\0\0\0", "\u{1a}", "\"}]}", "\n{\"a\": 1}"] {
            let text = format!("{{\"a\": [1]}}{behind}");
            assert_eq!(first(&text), Some(Repaired { json: "{\"a\": [1]}".to_owned(), behind }), "{text:?}");
        }
    }

    #[test]
    fn what_is_cut_off_or_has_a_hole_is_not_repaired() {
        let whole = r#"{"a": ["b\u0041", {"c": 'd'}], "e": 1}"#;
        for end in 0..whole.len() {
            assert_eq!(first(&whole[..end]), None, "{}", &whole[..end]);
        }
        assert_eq!(first("{\"a\": \"b\0\0c\"}"), None);
    }
}
