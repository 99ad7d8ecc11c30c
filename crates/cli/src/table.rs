//! A result as CSV.

use anyhow::{Context, anyhow};
use indexmap::{IndexMap, IndexSet};
use serde_json::value::RawValue;

/// Objects whose values are kept as they are written: a number is no digit shorter in CSV than in JSON.
type Rows<'a> = Vec<IndexMap<String, &'a RawValue>>;

/// What a spreadsheet takes for the beginning of a formula, also in its wide form.
/// Source: OWASP, "CSV Injection".
const FORMULA_STARTS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// A list of objects, or the one such list in an object, as CSV with a line of names; nothing at all where the list is
/// empty, since then nobody knows its names. What is nested stays JSON.
pub(crate) fn to_csv(json: &[u8]) -> anyhow::Result<Vec<u8>> {
    let rows = rows_of(json)?;
    let columns: IndexSet<_> = rows.iter().flat_map(IndexMap::keys).collect();
    let mut csv = csv::Writer::from_writer(Vec::new());
    if columns.is_empty() {
        return Ok(Vec::new());
    }
    csv.write_record(columns.iter().map(|column| harmless((*column).clone())))?;
    for row in &rows {
        csv.write_record(columns.iter().map(|column| row.get(*column).map_or_else(String::new, |value| cell(value))))?;
    }
    csv.into_inner().context("cannot write CSV to memory")
}

fn rows_of(json: &[u8]) -> anyhow::Result<Rows<'_>> {
    let refused = |why: &str| anyhow!("the result cannot become CSV: {why}");
    if let Ok(items) = serde_json::from_slice::<Vec<&RawValue>>(json) {
        return rows(&items).map_err(|number| refused(&format!("item {number} of its list is no object")));
    }
    let members: IndexMap<String, &RawValue> = serde_json::from_slice(json).unwrap_or_default();
    let lists = members.values().filter_map(|member| serde_json::from_str::<Vec<&RawValue>>(member.get()).ok());
    // An empty list may be one of anything: it counts only where there is nothing else.
    let (empty, filled): (Vec<_>, Vec<_>) = lists.filter_map(|items| rows(&items).ok()).partition(Vec::is_empty);
    let mut tables = filled.into_iter().chain(empty.into_iter().take(1)).peekable();
    match (tables.next(), tables.next_if(|rows| !rows.is_empty())) {
        (Some(rows), None) => Ok(rows),
        (None, _) => Err(refused("it is no list of objects and has none")),
        (Some(_), Some(_)) => Err(refused("it has more than one list of objects")),
    }
}

/// The items, each of which must be an object; or the number of the first that is none.
fn rows<'a>(items: &[&'a RawValue]) -> Result<Rows<'a>, usize> {
    let row = |(index, item): (usize, &&'a RawValue)| serde_json::from_str(item.get()).map_err(|_| index + 1);
    items.iter().enumerate().map(row).collect()
}

fn cell(value: &RawValue) -> String {
    match value.get() {
        "null" => String::new(),
        json => serde_json::from_str(json).map_or_else(|_| json.to_owned(), harmless),
    }
}

/// Text with an apostrophe in front where a spreadsheet would run it. A number is none, also where it is sent as text.
fn harmless(text: String) -> String {
    let is_number = text.parse::<f64>().is_ok_and(f64::is_finite);
    if text.starts_with(FORMULA_STARTS) && !is_number { format!("'{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::to_csv;

    #[test]
    fn a_list_of_objects_becomes_rows_under_all_their_names() {
        let csv = |json: &str| String::from_utf8(to_csv(json.as_bytes()).unwrap()).unwrap();
        let json = r#"[{"b": 1.50, "a": "電池, \"A\""}, {"c": [1, 2], "a": null}, {"b": 12345678901234567890123}]"#;
        let expected = "b,a,c\n1.50,\"電池, \"\"A\"\"\",\n,,\"[1, 2]\"\n12345678901234567890123,,\n";
        assert_eq!(csv(json), expected);
        assert_eq!(csv(&format!(r#"{{"soc": 1, "samples": {json}, "series": [1]}}"#)), expected);
    }

    #[test]
    fn a_list_without_rows_or_names_is_an_empty_file() {
        for json in ["[]", "[{}, {}]", r#"{"samples": []}"#, r#"{"samples": [], "warnings": []}"#] {
            assert_eq!(to_csv(json.as_bytes()).unwrap(), b"", "{json}");
        }
        let json = br#"{"warnings": [], "samples": [{"a": 1}], "series": [1]}"#;
        assert_eq!(to_csv(json).unwrap(), b"a\n1\n", "an empty list is no second one");
    }

    #[test]
    fn what_a_spreadsheet_would_run_is_text_to_it_and_numbers_stay_numbers() {
        let json = r#"[{"=n": "=1+1", "b": "-2.5", "c": -2.5,
                 "d": "+cmd|' /C'!A0", "e": "@SUM(1)", "f": "＝1", "g": "\n=1", "h": "a=b"}]"#;
        let expected = "'=n,b,c,d,e,f,g,h\n'=1+1,-2.5,-2.5,'+cmd|' /C'!A0,'@SUM(1),'＝1,\"'\n=1\",a=b\n";
        assert_eq!(String::from_utf8(to_csv(json.as_bytes()).unwrap()).unwrap(), expected);
    }

    #[test]
    fn what_has_no_rows_or_two_kinds_of_them_is_refused() {
        for (json, why) in [
            ("1", "no list of objects"),
            (r#"{"a": 1}"#, "no list of objects"),
            (r#"{"a": [1]}"#, "no list of objects"),
            (r#"[{"a": 1}, 5]"#, "item 2 of its list is no object"),
            (r#"{"a": [{"b": 1}], "c": [{"d": 1}]}"#, "more than one list of objects"),
        ] {
            let error = to_csv(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(why), "{json}: {error}");
        }
    }
}
