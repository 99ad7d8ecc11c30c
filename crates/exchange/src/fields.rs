//! A JSON object as its fields, in their order, each with its value as it was written: what nobody understands stays
//! as it is, and what nobody asks for is not taken apart.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Reads an object as a type that has just the fields that are usual; `None` if it is not as usual. For speed: whatever
/// is not as usual can be read as [`Fields`].
pub(crate) fn usual<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    // To serde, an array is a struct too.
    let is_object = json.trim_ascii_start().starts_with(b"{");
    if is_object { serde_json::from_slice(json).ok() } else { None }
}

/// The fields of an object.
#[derive(Debug, Default)]
pub(crate) struct Fields<'a>(Vec<(Text<'a>, &'a RawValue)>);

/// A text or a field's name. Half a surrogate pair, as Python writes it for a byte that is no UTF-8, is read as U+FFFD.
#[derive(Debug, Serialize)]
struct Text<'a>(Cow<'a, str>);

impl<'a> Fields<'a> {
    /// The fields of a JSON text; none where that is no object.
    pub(crate) fn of(json: &'a str) -> Self {
        serde_json::from_str(json).unwrap_or_default()
    }

    /// All of them, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (name.0.as_ref(), *value))
    }

    /// The field's value as it was written.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.position(name).map(|position| self.0[position].1)
    }

    /// Where the field is. Of two fields with one name, the last one counts. Where none has just this
    /// name, one counts that .NET and PowerShell write for it: `Status`.
    fn position(&self, name: &str) -> Option<usize> {
        let last = |is_meant: fn(&str, &str) -> bool| self.0.iter().rposition(|(other, _)| is_meant(&other.0, name));
        last(|other, name| other == name).or_else(|| last(str::eq_ignore_ascii_case))
    }

    /// The field's value; `None` where there is no such field, or it is of another type.
    pub(crate) fn get<T: Deserialize<'a>>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.raw(name)?.get()).ok()
    }

    /// The field's value, if it is a text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.get::<Text<'_>>(name).map(|text| text.0.into_owned())
    }

    /// Gives the field this value, at its place or at the end.
    pub(crate) fn set(&mut self, name: &'a str, value: &'a RawValue) {
        match self.position(name) {
            Some(position) => self.0[position].1 = value,
            None => self.0.push((Text(name.into()), value)),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Vec<(Text<'de>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                const TYPICAL_FIELDS: usize = 8;
                let mut fields = Vec::with_capacity(TYPICAL_FIELDS);
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Object).map(Self)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
                Ok(Text(String::from_utf8_lossy(bytes)))
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                Ok(Text(String::from_utf8_lossy(bytes).into_owned().into()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
