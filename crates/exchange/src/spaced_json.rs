//! JSON on one line with a space after `:` and `,`, as Python's `json.dumps` writes it and as people like to read it.

use std::io;

use serde::Serialize;
use serde_json::ser::Formatter;

struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// Appends the value to `out`.
pub(crate) fn write<T: Serialize>(out: &mut Vec<u8>, value: &T) {
    let mut serializer = serde_json::Serializer::with_formatter(out, Spaced);
    value.serialize(&mut serializer).expect("a JSON value is written to memory without fail");
}

/// The value as one line.
pub(crate) fn line<T: Serialize>(value: &T) -> String {
    let mut line = Vec::new();
    write(&mut line, value);
    String::from_utf8(line).expect("JSON is UTF-8")
}
