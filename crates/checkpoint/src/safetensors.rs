//! The safetensors format.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;
use serde::Deserialize;

use crate::{Bytes, Dtype, Error, Tensor};

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

#[allow(unsafe_code, reason = "maps the file")]
pub(crate) fn open(path: &Path) -> Result<BTreeMap<String, Tensor>, Error> {
    let read = |source| Error::Read { path: path.to_owned(), source };
    let header = |reason: &str| Error::Header { path: path.to_owned(), reason: reason.to_owned() };
    let file = File::open(path).map_err(read)?;
    // SAFETY: the map is read-only; a checkpoint that somebody truncates while it is open is the
    // documented hazard of memory maps.
    let map = Arc::new(unsafe { Mmap::map(&file) }.map_err(read)?);
    let len = map.get(..8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
    let len = len.ok_or_else(|| header("shorter than 8 bytes"))? as usize;
    let json = map.get(8..8 + len).ok_or_else(|| header("header longer than the file"))?;
    let entries: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(json).map_err(|e| header(&e.to_string()))?;
    let mut tensors = BTreeMap::new();
    for (name, value) in entries.into_iter().filter(|(name, _)| name != "__metadata__") {
        let entry: Entry = serde_json::from_value(value).map_err(|e| header(&e.to_string()))?;
        let dtype = Dtype::ALL.into_iter().find(|d| d.name() == entry.dtype);
        let dtype = dtype.ok_or_else(|| header("unknown dtype"))?;
        let range = 8 + len + entry.data_offsets.0..8 + len + entry.data_offsets.1;
        let bytes = Bytes::mapped(Arc::clone(&map), range);
        tensors.insert(name, Tensor { dtype, shape: entry.shape, bytes });
    }
    Ok(tensors)
}
