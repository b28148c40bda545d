//! The safetensors format: eight bytes of header length, a JSON header, the data.
//!
//! The parser is our own and not the `safetensors` crate's, because that one keeps the last of
//! duplicate names, does not say which tensor has a wrong size or range, nor how long a truncated
//! file should have been. The rules are those of the format: ranges in order of their offsets
//! cover the data exactly, without holes or overlaps.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use crate::{Bytes, Dtype, Error, Tensor};

/// The format's limit for the length of a header.
pub(crate) const MAX_HEADER_LEN: u64 = 100_000_000;
const METADATA: &str = "__metadata__";

/// Tensors and metadata of one file.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) tensors: BTreeMap<String, Tensor>,
    pub(crate) metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object with dtype, shape and data_offsets")]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

/// A map whose keys are all different.
pub(crate) struct Unique<V>(pub(crate) BTreeMap<String, V>);

struct UniqueVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Unique<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueVisitor(PhantomData))
    }
}

impl<'de, V: Deserialize<'de>> Visitor<'de> for UniqueVisitor<V> {
    type Value = Unique<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Unique<V>, A::Error> {
        let mut map = BTreeMap::new();
        while let Some(key) = access.next_key::<String>()? {
            let value = access.next_value().map_err(|e| named(&key, &e))?;
            if map.insert(key.clone(), value).is_some() {
                return Err(A::Error::custom(format!("`{key}` appears twice")));
            }
        }
        Ok(Unique(map))
    }
}

struct Header {
    entries: BTreeMap<String, Entry>,
    metadata: BTreeMap<String, String>,
}

struct HeaderVisitor;

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Header, A::Error> {
        let (mut entries, mut metadata) = (BTreeMap::new(), None);
        while let Some(key) = access.next_key::<String>()? {
            let twice = if key == METADATA {
                let map: Unique<String> = access.next_value().map_err(|e| named(&key, &e))?;
                metadata.replace(map.0).is_some()
            } else {
                let entry: Entry = access.next_value().map_err(|e| named(&key, &e))?;
                entries.insert(key.clone(), entry).is_some()
            };
            if twice {
                return Err(A::Error::custom(format!("`{key}` appears twice")));
            }
        }
        Ok(Header { entries, metadata: metadata.unwrap_or_default() })
    }
}

/// Says in which entry a value is wrong; the outer error adds the position.
fn named<E: serde::de::Error>(key: &str, error: &E) -> E {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    E::custom(format!("`{key}`: {text}"))
}

/// Reads a whole file's bytes; the data stays where it is.
pub(crate) fn parse(path: &Path, bytes: &Bytes) -> Result<Contents, Error> {
    parse_bytes(bytes).map_err(|reason| Error::Header { path: path.to_owned(), reason })
}

fn parse_bytes(bytes: &Bytes) -> Result<Contents, String> {
    let (json, data) = split(bytes)?;
    let Header { entries, metadata } =
        serde_json::from_slice(&json).map_err(|e| format!("its header is malformed: {e}"))?;
    let mut tensors = BTreeMap::new();
    let mut ranges = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        let (begin, end) = entry.data_offsets;
        let tensor = check(&name, entry, &data)?;
        ranges.push((begin, end, name.clone()));
        tensors.insert(name, tensor);
    }
    check_cover(ranges, data.len())?;
    Ok(Contents { tensors, metadata })
}

fn split(bytes: &Bytes) -> Result<(Bytes, Bytes), String> {
    let Some(prefix) = bytes.first_chunk::<8>() else {
        return Err(format!("it has {} bytes, expected at least 8", bytes.len()));
    };
    let len = u64::from_le_bytes(*prefix);
    let rest = bytes.len() - prefix.len();
    if len > MAX_HEADER_LEN {
        return Err(format!("its header has {len} bytes, over the limit of {MAX_HEADER_LEN}"));
    }
    let split = usize::try_from(len).ok().map(|len| 8 + len);
    let parts = split.and_then(|at| Some((bytes.slice(8..at)?, bytes.slice(at..bytes.len())?)));
    parts.ok_or_else(|| format!("its header has {len} bytes, but only {rest} bytes follow"))
}

fn check(name: &str, entry: Entry, data: &Bytes) -> Result<Tensor, String> {
    let Entry { dtype: dtype_name, shape, data_offsets: (begin, end) } = entry;
    let Some(dtype) = Dtype::from_name(&dtype_name) else {
        let known = Dtype::ALL.map(Dtype::name).join(", ");
        return Err(format!("tensor `{name}` has dtype `{dtype_name}`, expected one of {known}"));
    };
    let Some(expected) = dtype.num_bytes(&shape) else {
        return Err(format!("tensor `{name}` has shape {shape:?}, whose size overflows"));
    };
    if begin > end {
        return Err(format!("tensor `{name}` begins at byte {begin} and ends before, at {end}"));
    }
    if end - begin != expected {
        return Err(format!(
            "tensor `{name}` of {dtype} and shape {shape:?} needs {expected} bytes, its offsets \
             span {}",
            end - begin
        ));
    }
    let bytes = data.slice(begin..end).ok_or_else(|| {
        format!(
            "tensor `{name}` ends at byte {end} of the data, but the file has only {}; it is \
             probably truncated",
            data.len()
        )
    })?;
    Ok(Tensor { dtype, shape, bytes })
}

fn check_cover(mut ranges: Vec<(usize, usize, String)>, len: usize) -> Result<(), String> {
    ranges.sort_unstable();
    let mut covered = 0;
    let mut before = "";
    for (begin, end, name) in &ranges {
        if *begin < covered {
            return Err(format!(
                "tensor `{name}` begins at byte {begin} of the data and overlaps tensor \
                 `{before}`, which ends at {covered}"
            ));
        }
        if *begin > covered {
            return Err(format!(
                "bytes {covered} to {begin} of the data, before tensor `{name}`, belong to no tensor"
            ));
        }
        (covered, before) = (*end, name);
    }
    if covered < len {
        return Err(format!("bytes {covered} to {len} of the data belong to no tensor"));
    }
    Ok(())
}
