//! A result as CSV, in bounded memory: it is read twice, for its columns and for its rows.

use std::fmt;
use std::io::{BufReader, Read, Seek, Write};

use anyhow::{Context, anyhow};
use indexmap::{IndexMap, IndexSet};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// What a spreadsheet takes for the beginning of a formula, also in its wide form.
/// Source: OWASP, "CSV Injection".
const FORMULA_STARTS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];
/// What one spreadsheet or another takes for the end of a cell, by the settings of its computer.
const SEPARATORS: [char; 6] = [',', ';', '|', '\t', '\r', '\n'];
/// With this at the beginning of a file, Excel takes the next character for the separator.
const SEPARATOR_LINE: &str = "sep=";
/// As many as Excel has.
const COLUMNS_MAX: usize = 16_384;

/// For whom the CSV is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CsvForm {
    /// For programs: UTF-8, LF.
    Plain,
    /// For Excel, which takes a file without a byte order mark for one in the computer's own encoding.
    Excel,
}

/// A row. Its values are kept as they are written: a number is no digit shorter in CSV than in JSON.
type Row = IndexMap<String, Box<RawValue>>;

/// Writes a list of objects, or the one such list in an object, with a line of names; nothing at all where the list is
/// empty, since then nobody knows its names. What is nested stays JSON.
pub(crate) fn write(source: &mut (impl Read + Seek), sink: &mut impl Write, form: CsvForm) -> anyhow::Result<()> {
    let mut survey = Survey::default();
    read(source, &mut survey)?;
    let table = survey.one_table()?;
    if table.columns.is_empty() {
        return Ok(());
    }

    let cannot = "cannot write the CSV";
    let mut rows = Rows { wanted: table.place, columns: &table.columns, sink, form, failure: None };
    rows.begin().context(cannot)?;
    let read_again = read(source, &mut rows);
    if let Some(error) = rows.failure {
        return Err(error).context(cannot);
    }
    read_again
}

/// Shows every list at the top, or one below it, to the reader.
fn read(source: &mut (impl Read + Seek), reader: &mut impl ListReader) -> anyhow::Result<()> {
    source.rewind().context("cannot read the result again")?;
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(source));
    let top = Value { reader, place: Place::Top };
    top.deserialize(&mut json).context("cannot convert to CSV; fetch it without --csv")
}

/// Where a list stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Top,
    /// In the member of this number of the object at the top.
    Member(usize),
}

/// Who reads the lists, item by item.
trait ListReader {
    fn list(&mut self, place: Place);
    /// Whether to go on.
    fn item(&mut self, place: Place, item: &RawValue) -> bool;
}

/// What is at the top, or in a member.
struct Value<'r, R> {
    reader: &'r mut R,
    place: Place,
}

impl<'de, R: ListReader> DeserializeSeed<'de> for Value<'_, R> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, R: ListReader> Visitor<'de> for Value<'_, R> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.reader.list(self.place);
        while let Some(item) = items.next_element::<Box<RawValue>>()? {
            if !self.reader.item(self.place, &item) {
                break;
            }
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        if self.place != Place::Top {
            while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        let mut number = 0;
        while members.next_key::<IgnoredAny>()?.is_some() {
            members.next_value_seed(Value { reader: &mut *self.reader, place: Place::Member(number) })?;
            number += 1;
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

/// The first reading: which lists there are, and of which columns.
#[derive(Default)]
struct Survey {
    lists: Vec<List>,
}

struct List {
    place: Place,
    columns: IndexSet<String>,
    items: usize,
    /// The first item that is no object, counted from 1.
    first_other: Option<usize>,
}

impl ListReader for Survey {
    fn list(&mut self, place: Place) {
        self.lists.push(List { place, columns: IndexSet::new(), items: 0, first_other: None });
    }

    fn item(&mut self, _: Place, item: &RawValue) -> bool {
        let Some(list) = self.lists.last_mut() else { return false };
        list.items += 1;
        let Some(row) = row_of(item) else {
            list.first_other = Some(list.items);
            return false;
        };
        list.columns.extend(row.into_keys());
        list.columns.len() <= COLUMNS_MAX
    }
}

impl Survey {
    /// The one list of objects that there is.
    fn one_table(self) -> anyhow::Result<List> {
        let refused = |why: &str| anyhow!("cannot convert to CSV: {why}");
        if let [List { place: Place::Top, first_other: Some(number), .. }] = self.lists.as_slice() {
            return Err(refused(&format!("item {number} of the list is not an object")));
        }

        let tables: Vec<_> = self.lists.into_iter().filter(|list| list.first_other.is_none()).collect();
        let filled = tables.iter().filter(|list| list.items > 0).count();
        if filled > 1 {
            return Err(refused("the result contains more than one list of objects"));
        }

        // An empty list may be one of anything: it counts only if there is nothing else.
        let table = tables.into_iter().max_by_key(|list| list.items);
        let table = table.ok_or_else(|| refused("the result is not, and does not contain, a list of objects"))?;
        if table.columns.len() > COLUMNS_MAX {
            return Err(refused(&format!(
                "the objects have more than {COLUMNS_MAX} different names, the most columns that Excel opens"
            )));
        }
        Ok(table)
    }
}

/// The second reading: the rows of the one list, as they come.
struct Rows<'a, W> {
    wanted: Place,
    columns: &'a IndexSet<String>,
    sink: &'a mut W,
    form: CsvForm,
    failure: Option<std::io::Error>,
}

impl<W: Write> ListReader for Rows<'_, W> {
    fn list(&mut self, _: Place) {}

    fn item(&mut self, place: Place, item: &RawValue) -> bool {
        if place != self.wanted {
            return false;
        }
        let row = row_of(item).unwrap_or_default();
        let cells = self.columns.iter().map(|column| row.get(column).map_or_else(String::new, |value| cell(value)));
        let line = cells.collect::<Vec<_>>().join(",");
        self.failure = self.line(&line).err();
        self.failure.is_none()
    }
}

impl<W: Write> Rows<'_, W> {
    fn begin(&mut self) -> std::io::Result<()> {
        if self.form == CsvForm::Excel {
            self.sink.write_all("\u{feff}".as_bytes())?;
        }
        let names: Vec<_> = self.columns.iter().map(|name| quoted(&harmless(name))).collect();
        self.line(&names.join(","))
    }

    fn line(&mut self, line: &str) -> std::io::Result<()> {
        self.sink.write_all(line.as_bytes())?;
        self.sink.write_all(if self.form == CsvForm::Excel { b"\r\n" } else { b"\n" })
    }
}

fn row_of(item: &RawValue) -> Option<Row> {
    Row::deserialize(item).ok()
}

fn cell(value: &RawValue) -> String {
    match value.get() {
        "null" => String::new(),
        json => match serde_json::from_str::<String>(json) {
            Ok(text) => quoted(&harmless(&text)),
            Err(_) => quoted(&harmless(json)),
        },
    }
}

/// Text with an apostrophe wherever a spreadsheet would begin to run it: at its beginning, and behind all that one
/// spreadsheet or another takes for the end of a cell. A number is none, also where it is sent as text.
fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for part in text.split_inclusive(SEPARATORS) {
        let is_number = part.trim_end_matches(SEPARATORS).parse::<f64>().is_ok_and(f64::is_finite);
        // What nobody sees in front of it, a spreadsheet may drop.
        let seen = part.trim_start_matches(|c: char| c == '\u{feff}' || c.is_whitespace() || c.is_control());
        let is_formula = part.starts_with(FORMULA_STARTS) || seen.starts_with(FORMULA_STARTS);
        if is_formula && !is_number {
            harmless.push('\'');
        }
        harmless.push_str(part);
    }

    if text.to_ascii_lowercase().starts_with(SEPARATOR_LINE) {
        harmless.insert(0, '\'');
    }
    harmless
}

/// A cell by RFC 4180. Not a library's, since that quotes for one separator, and this for all that spreadsheets use.
fn quoted(text: &str) -> String {
    if text.contains(SEPARATORS) || text.contains('"') {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn to_csv_as(json: &str, form: CsvForm) -> anyhow::Result<String> {
        let mut csv = Vec::new();
        write(&mut Cursor::new(json), &mut csv, form)?;
        Ok(String::from_utf8(csv)?)
    }

    fn to_csv(json: &str) -> anyhow::Result<String> {
        to_csv_as(json, CsvForm::Plain)
    }

    #[test]
    fn a_list_of_objects_becomes_rows_under_all_their_names() {
        let csv = |json: &str| to_csv(json).unwrap();
        let json = r#"[{"b": 1.50, "a": "電池, \"A\""}, {"c": [1, 2], "a": null}, {"b": 12345678901234567890123}]"#;
        let expected = "b,a,c\n1.50,\"電池, \"\"A\"\"\",\n,,\"[1, 2]\"\n12345678901234567890123,,\n";
        assert_eq!(csv(json), expected);
        assert_eq!(csv(&format!(r#"{{"soc": 1, "samples": {json}, "series": [1]}}"#)), expected);
    }

    #[test]
    fn a_list_without_rows_or_names_is_an_empty_file() {
        for json in ["[]", "[{}, {}]", r#"{"samples": []}"#, r#"{"samples": [], "warnings": []}"#] {
            assert_eq!(to_csv(json).unwrap(), "", "{json}");
        }
        let json = r#"{"warnings": [], "samples": [{"a": 1}], "series": [1]}"#;
        assert_eq!(to_csv(json).unwrap(), "a\n1\n", "an empty list is no second one");
    }

    #[test]
    fn what_a_spreadsheet_would_run_is_text_to_it_and_numbers_stay_numbers() {
        let json = r#"[{"=n": "=1+1", "b": "-2.5", "c": -2.5,
                 "d": "+cmd|' /C'!A0", "e": "@SUM(1)", "f": "＝1", "g": "\n=1", "h": "a=b"}]"#;
        let expected = "'=n,b,c,d,e,f,g,h\n'=1+1,-2.5,-2.5,\"'+cmd|' /C'!A0\",'@SUM(1),'＝1,\"'\n'=1\",a=b\n";
        assert_eq!(to_csv(json).unwrap(), expected);
    }

    #[test]
    fn what_has_no_rows_or_two_kinds_of_them_is_refused() {
        for (json, why) in [
            ("1", "not, and does not contain, a list of objects"),
            (r#"{"a": 1}"#, "does not contain, a list of objects"),
            (r#"{"a": [1]}"#, "does not contain, a list of objects"),
            (r#"[{"a": 1}, 5]"#, "item 2 of the list is not an object"),
            (r#"{"a": [{"b": 1}], "c": [{"d": 1}]}"#, "more than one list of objects"),
        ] {
            let error = to_csv(json).unwrap_err().to_string();
            assert!(error.contains(why), "{json}: {error}");
        }
    }

    #[test]
    fn no_separator_of_any_spreadsheet_makes_a_formula_of_a_part_of_a_text() {
        let csv = to_csv(r#"[{"a": "x;=1+1", "b": "x\t@SUM(1)", "c": "-1;+2", "d": [",=1"]}]"#).unwrap();
        assert_eq!(csv, "a,b,c,d\n\"x;'=1+1\",\"x\t'@SUM(1)\",\"-1;+2\",\"[\"\",'=1\"\"]\"\n");
        for separator in [',', ';', '\t'] {
            let cells = csv.lines().skip(1).flat_map(|line| line.split(separator));
            assert!(cells.clone().all(|cell| !cell.starts_with(['=', '@'])), "{:?}", cells.collect::<Vec<_>>());
        }
    }

    #[test]
    fn nothing_unseen_in_front_of_a_formula_hides_it() {
        let csv =
            to_csv("[{\"sep=|\": \"a|=1\", \"b\": \"\u{feff}=1\", \"c\": \"\u{a0} =1\", \"d\": \"a - b\"}]").unwrap();
        assert_eq!(csv, "\"'sep=|\",b,c,d\n\"a|'=1\",'\u{feff}=1,'\u{a0} =1,a - b\n");
    }

    #[test]
    fn excel_gets_a_byte_order_mark_and_windows_line_ends() {
        let csv = to_csv_as(r#"[{"電圧": 3.7}]"#, CsvForm::Excel).unwrap();
        assert_eq!(csv, "\u{feff}電圧\r\n3.7\r\n");
    }

    #[test]
    fn more_columns_than_a_spreadsheet_has_are_refused() {
        let members: Vec<_> = (0..=COLUMNS_MAX).map(|number| format!("\"c{number}\": 1")).collect();
        let error = to_csv(&format!("[{{{}}}]", members.join(", "))).unwrap_err().to_string();
        assert!(error.contains("more than 16384 different names"), "{error}");
    }
}
