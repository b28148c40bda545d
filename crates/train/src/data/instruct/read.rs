//! Annotation files, read record by record.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::marker::PhantomData;
use std::path::Path;

use serde::Deserialize;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess,
    Visitor,
};

use crate::data::Error;

/// Bytes that are read from a file at once.
const FILE_BUFFER: usize = 1 << 18;

/// A name that some files have as text and some as a number.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Id {
    Text(String),
    Number(u64),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
        }
    }
}

/// Passes on every record of a list: the whole file, or a field of it.
pub(super) fn list<T: DeserializeOwned>(
    path: &Path,
    field: Option<&'static str>,
    mut each: impl FnMut(T),
) -> Result<(), Error> {
    let records = List { each: &mut each, record: PhantomData };
    match field {
        None => parse(path, records),
        Some(name) => parse(path, Field { name, records }),
    }
}

/// Passes on every record of a map, with its key.
pub(super) fn map<T: DeserializeOwned>(
    path: &Path,
    mut each: impl FnMut(String, T),
) -> Result<(), Error> {
    parse(path, Map { each: &mut each, record: PhantomData })
}

/// Passes on every record of a file with one on each line, with the number of the line.
pub(super) fn lines<T: DeserializeOwned>(
    path: &Path,
    mut each: impl FnMut(usize, T),
) -> Result<(), Error> {
    let failed = |source| Error::ReadFile { path: path.to_owned(), source };
    let mut file = open(path)?;
    let mut line = Vec::new();
    for number in 1_usize.. {
        line.clear();
        if file.read_until(b'\n', &mut line).map_err(failed)? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let record = serde_json::from_slice(&line).map_err(|error| {
            let what = error.to_string();
            let what = what.split(" at line ").next().unwrap_or_default();
            let reason = format!("{what} at line {number} column {}", error.column());
            Error::UnusableFile { path: path.to_owned(), reason }
        })?;
        each(number, record);
    }
    Ok(())
}

/// Passes on every record of a file that is a list or has a record on each line, with where it is.
pub(super) fn records<T: DeserializeOwned>(
    path: &Path,
    mut each: impl FnMut(&str, T),
) -> Result<(), Error> {
    match first(path)? {
        Some(b'[') => {
            let mut number = 0;
            list(path, None, |record| {
                each(&format!("record {number}"), record);
                number += 1;
            })
        }
        Some(b'{') => lines(path, |number, record| each(&format!("line {number}"), record)),
        found => {
            let found = found.map_or("nothing".to_owned(), |byte| {
                format!("`{}`", char::from(byte).escape_default())
            });
            let reason = format!(
                "it starts with {found}, expected `[`, a list of records, or `{{`, a record on each line"
            );
            Err(Error::UnusableFile { path: path.to_owned(), reason })
        }
    }
}

/// Returns the first byte of a file that is no space.
fn first(path: &Path) -> Result<Option<u8>, Error> {
    for byte in open(path)?.bytes() {
        let byte = byte.map_err(|source| Error::ReadFile { path: path.to_owned(), source })?;
        if !byte.is_ascii_whitespace() {
            return Ok(Some(byte));
        }
    }
    Ok(None)
}

/// Opens a file; the mark that some editors put before UTF-8 is passed over.
fn open(path: &Path) -> Result<BufReader<File>, Error> {
    let failed = |source| Error::ReadFile { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mut file = BufReader::with_capacity(FILE_BUFFER, file);
    if file.fill_buf().map_err(failed)?.starts_with(b"\xEF\xBB\xBF") {
        file.consume(3);
    }
    Ok(file)
}

fn parse(path: &Path, seed: impl for<'de> DeserializeSeed<'de, Value = ()>) -> Result<(), Error> {
    let mut deserializer = serde_json::Deserializer::from_reader(open(path)?);
    seed.deserialize(&mut deserializer)
        .and_then(|()| deserializer.end())
        .map_err(|source| Error::ParseFile { path: path.to_owned(), source })
}

/// A list, whose records are passed on.
struct List<'a, T> {
    each: &'a mut dyn FnMut(T),
    record: PhantomData<T>,
}

/// A map, whose records are passed on.
struct Map<'a, T> {
    each: &'a mut dyn FnMut(String, T),
    record: PhantomData<T>,
}

/// A map, of which one field is a list.
struct Field<'a, T> {
    name: &'static str,
    records: List<'a, T>,
}

impl<'de, T: DeserializeOwned> DeserializeSeed<'de> for List<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: DeserializeOwned> Visitor<'de> for List<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut index = 0;
        let mut next = || {
            // The place in the file, which the text ends with, is understood and kept.
            let record = list.next_element();
            let record =
                record.map_err(|error| A::Error::custom(format!("record {index}: {error}")));
            index += 1;
            record
        };
        while let Some(record) = next()? {
            (self.each)(record);
        }
        Ok(())
    }
}

impl<'de, T: DeserializeOwned> DeserializeSeed<'de> for Map<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: DeserializeOwned> Visitor<'de> for Map<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of records")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let record = map.next_value();
            let record = record.map_err(|e| A::Error::custom(format!("record `{key}`: {e}")))?;
            (self.each)(key, record);
        }
        Ok(())
    }
}

impl<'de, T: DeserializeOwned> DeserializeSeed<'de> for Field<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: DeserializeOwned> Visitor<'de> for Field<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a map with a list `{}`", self.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut records = Some(self.records);
        while let Some(key) = map.next_key::<String>()? {
            match records.take_if(|_| key == self.name) {
                Some(records) => map.next_value_seed(records)?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if records.is_some() { Err(A::Error::missing_field(self.name)) } else { Ok(()) }
    }
}
