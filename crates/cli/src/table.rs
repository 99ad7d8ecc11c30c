//! A result as CSV.

use anyhow::{Context, bail};
use indexmap::{IndexMap, IndexSet};
use serde_json::value::RawValue;

/// Objects whose values are kept as they are written: a number is no digit shorter in CSV than in JSON.
type Rows<'a> = Vec<IndexMap<String, &'a RawValue>>;

/// A list of objects, or the one such list in an object, as CSV with a line of names. What is nested stays JSON.
pub(crate) fn to_csv(json: &[u8]) -> anyhow::Result<Vec<u8>> {
    let rows = rows_of(json)?;
    let columns: IndexSet<_> = rows.iter().flat_map(IndexMap::keys).collect();
    let mut csv = csv::Writer::from_writer(Vec::new());
    if !columns.is_empty() {
        csv.write_record(&columns)?;
    }
    for row in &rows {
        csv.write_record(columns.iter().map(|column| row.get(*column).map_or_else(String::new, |value| cell(value))))?;
    }
    csv.into_inner().context("cannot write CSV to memory")
}

fn rows_of(json: &[u8]) -> anyhow::Result<Rows<'_>> {
    if let Ok(rows) = serde_json::from_slice(json) {
        return Ok(rows);
    }
    let members: IndexMap<String, &RawValue> = serde_json::from_slice(json).unwrap_or_default();
    let mut tables = members.values().filter_map(|member| serde_json::from_str(member.get()).ok());
    match (tables.next(), tables.next()) {
        (Some(rows), None) => Ok(rows),
        (None, _) => bail!("the result cannot become CSV: it is no list of objects and has none"),
        (Some(_), Some(_)) => bail!("the result cannot become CSV: it has more than one list of objects"),
    }
}

fn cell(value: &RawValue) -> String {
    match value.get() {
        "null" => String::new(),
        json => serde_json::from_str(json).unwrap_or_else(|_| json.to_owned()),
    }
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
        assert_eq!(csv("[]"), "");
    }

    #[test]
    fn what_has_no_rows_or_two_kinds_of_them_is_refused() {
        for json in ["1", "[1]", r#"{"a": 1}"#, r#"{"a": [{"b": 1}], "c": [{"d": 1}]}"#] {
            assert!(to_csv(json.as_bytes()).is_err(), "{json}");
        }
    }
}
