//! The container of `PyTorch` before 1.6: magic number, version, system, objects and storage keys
//! as pickles, then each storage as a count and its numbers.

use std::collections::BTreeMap;

use super::state;
use crate::pickle::{self, Heap, Node, Problem, Value};
use crate::safetensors::Contents;
use crate::{Bytes, Dtype};

/// 0x1950a86a20f9469cfc6c, which every such file begins with.
const MAGIC: &[u8] = &[0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const VERSION: i64 = 1001;

pub(super) fn read(bytes: &Bytes) -> Result<Contents, Problem> {
    let (_, magic, mut at) = pickle::run(bytes)?;
    if !matches!(magic, Value::Long(MAGIC)) {
        return Err("it is a pickle, but torch.save did not write it".to_owned().into());
    }
    let (_, version, len) = pickle::run(&bytes[at..])?;
    at += len;
    if !matches!(version, Value::Int(VERSION)) {
        return Err(format!("its version is not {VERSION}").into());
    }
    let (system, description, len) = pickle::run(&bytes[at..])?;
    at += len;
    if is_big_endian(&system, description) {
        return Err("its byte order is `big`, expected `little`".to_owned().into());
    }
    let (heap, top, len) = pickle::run(&bytes[at..])?;
    at += len;
    let (keys, list, len) = pickle::run(&bytes[at..])?;
    at += len;
    let dtypes = heap.storages().map(|storage| (storage.key, storage.dtype)).collect();
    let places = places(bytes, &keys, list, (at, &dtypes))?;
    let tensors = state::tensors(&heap, top, bytes.len(), |storage| {
        let place = places.get(storage.key).cloned();
        place.ok_or_else(|| format!("storage `{}` is not in it", storage.key))
    })?;
    Ok(Contents { tensors, metadata: BTreeMap::new() })
}

fn is_big_endian<'a>(heap: &Heap<'a>, description: Value<'a>) -> bool {
    let Some(Node::Dict(items)) = heap.node(description) else { return false };
    items.iter().any(|item| matches!(item, (Value::Text("little_endian"), Value::Bool(false))))
}

fn places<'a>(
    bytes: &Bytes,
    keys: &Heap<'a>,
    list: Value<'a>,
    (mut at, dtypes): (usize, &BTreeMap<&str, Dtype>),
) -> Result<BTreeMap<&'a str, Bytes>, String> {
    let Some(Node::List(list)) = keys.node(list) else {
        return Err("its list of storages is missing".to_owned());
    };
    let mut places = BTreeMap::new();
    for &key in list {
        let Value::Text(key) = key else {
            return Err("the key of a storage is not a string".to_owned());
        };
        let dtype = dtypes.get(key);
        let dtype = dtype.ok_or_else(|| format!("storage `{key}` is of an unknown type"))?;
        let truncated = || format!("storage `{key}` goes past the end; the file is truncated");
        let len = bytes.get(at..).and_then(<[u8]>::first_chunk).map(|n| u64::from_le_bytes(*n));
        let len = len.and_then(|len| usize::try_from(len).ok()).ok_or_else(truncated)?;
        let start = at + 8;
        let end = len.checked_mul(dtype.size()).and_then(|len| start.checked_add(len));
        let end = end.ok_or_else(truncated)?;
        places.insert(key, bytes.slice(start..end).ok_or_else(truncated)?);
        at = end;
    }
    Ok(places)
}
