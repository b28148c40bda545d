//! The zip container.

use std::collections::BTreeMap;
use std::io::Cursor;

use zip::{CompressionMethod, ZipArchive};

use super::state;
use crate::Bytes;
use crate::pickle::{self, Problem};
use crate::safetensors::Contents;

const PICKLE: &str = "data.pkl";

pub(super) fn read(bytes: &Bytes) -> Result<Contents, Problem> {
    let entries = entries(bytes)?;
    let mut pickles = entries.keys().filter_map(|name| {
        let root = name.strip_suffix(PICKLE)?;
        (root.is_empty() || root.ends_with('/')).then_some(root)
    });
    let root = pickles.next().ok_or_else(|| {
        "its zip archive has no `data.pkl`, so torch.save did not write it".to_owned()
    })?;
    if let Some(other) = pickles.next() {
        return Err(format!("both `{root}{PICKLE}` and `{other}{PICKLE}` are in it").into());
    }
    let entry = |name: &str| -> Result<Bytes, String> {
        let name = format!("{root}{name}");
        let entry = entries.get(&name);
        entry.ok_or_else(|| format!("its zip archive has no `{name}`"))?.clone()
    };
    if let Ok(order) = entry("byteorder") {
        let order = order.trim_ascii();
        if order != b"little" {
            let order = String::from_utf8_lossy(&order[..order.len().min(16)]).into_owned();
            return Err(format!("its byte order is `{order}`, expected `little`").into());
        }
    }
    let program = entry(PICKLE)?;
    let (heap, top, _) = pickle::run(&program)?;
    let tensors =
        state::tensors(&heap, top, bytes.len(), |storage| entry(&format!("data/{}", storage.key)))?;
    Ok(Contents { tensors, metadata: BTreeMap::new() })
}

/// Returns where each entry lies, or why it cannot be used.
fn entries(bytes: &Bytes) -> Result<BTreeMap<String, Result<Bytes, String>>, String> {
    let damaged = |e| format!("its zip archive is damaged, perhaps truncated: {e}");
    let mut archive = ZipArchive::new(Cursor::new(&**bytes)).map_err(damaged)?;
    let mut entries = BTreeMap::new();
    for index in 0..archive.len() {
        let file = archive.by_index_raw(index).map_err(damaged)?;
        let name = file.name().map_err(damaged)?.into_owned();
        let (method, start, len) = (file.compression(), file.data_start(), file.size());
        let is_plain = method == CompressionMethod::Stored && !file.encrypted();
        let range = || {
            let start = usize::try_from(start?).ok()?;
            bytes.slice(start..start.checked_add(usize::try_from(len).ok()?)?)
        };
        let data = match (is_plain, range()) {
            (true, Some(data)) => Ok(data),
            (true, None) => Err(format!("`{name}` of its zip archive goes past the end")),
            (false, _) => Err(format!("`{name}` of its zip archive is not stored plainly")),
        };
        entries.insert(name, data);
    }
    Ok(entries)
}
