//! Finds out what a path holds, and opens it.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use serde::Deserialize;

use crate::safetensors::{self, Contents, Unique};
use crate::{Bytes, Error, gguf, torch};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
pub(crate) const GGUF: &str = "model.gguf";
/// How many files of a directory an error lists.
const MAX_LISTED: usize = 12;

#[derive(Deserialize)]
struct Index {
    weight_map: Unique<String>,
}

pub(crate) fn open(path: &Path) -> Result<Contents, Error> {
    if path.is_dir() { open_directory(path) } else { open_file(path) }
}

fn open_directory(directory: &Path) -> Result<Contents, Error> {
    // A single file wins over an index, as in the Python library.
    let candidates = [SINGLE, INDEX, GGUF].map(|name| directory.join(name));
    if let Some(path) = candidates.iter().find(|path| path.is_file()) {
        return open_file(path);
    }
    let read = |source| Error::read(directory, source);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(read)? {
        let name = entry.map_err(read)?.file_name().to_string_lossy().into_owned();
        let extension = Path::new(&name).extension().and_then(|e| e.to_str());
        let extensions = ["json", "safetensors", "pt", "pth", "bin", "gguf", "model"];
        if extension.is_some_and(|e| extensions.contains(&e)) {
            found.push(name);
        }
    }
    found.sort_unstable();
    found.truncate(MAX_LISTED);
    Err(Error::NoCheckpoint { path: directory.to_owned(), found })
}

fn open_file(path: &Path) -> Result<Contents, Error> {
    let bytes = map(path)?;
    if path.extension().is_some_and(|extension| extension == "json") {
        return open_shards(path, &bytes);
    }
    read(path, &bytes)
}

fn map(path: &Path) -> Result<Bytes, Error> {
    let read = |source| Error::read(path, source);
    let file = File::open(path).map_err(read)?;
    if file.metadata().map_err(read)?.len() == 0 {
        return Err(Error::Empty { path: path.to_owned() });
    }
    Bytes::map(&file).map_err(read)
}

/// Reads a file by its content; its name does not matter.
pub(crate) fn read(path: &Path, bytes: &Bytes) -> Result<Contents, Error> {
    let unsupported = |format| Err(Error::Unsupported { path: path.to_owned(), format });
    // As the length of a header the magic number of GGUF would be over its limit.
    if bytes.starts_with(gguf::MAGIC) {
        return gguf::parse(path, bytes);
    }
    // A header length may look like the other magic numbers, but only a header begins with a brace.
    if bytes.get(8) == Some(&b'{') {
        return safetensors::parse(path, bytes);
    }
    match torch::sniff(bytes) {
        Some(format) => torch::read(path, bytes, format),
        None if bytes.get(257..262) == Some(b"ustar") => {
            unsupported("a tar archive, perhaps a checkpoint of PyTorch before 0.2")
        }
        None => safetensors::parse(path, bytes),
    }
}

fn open_shards(path: &Path, bytes: &Bytes) -> Result<Contents, Error> {
    let malformed = |reason| Error::Index { path: path.to_owned(), reason };
    let index: Index = serde_json::from_slice(bytes).map_err(|e| malformed(e.to_string()))?;
    let directory = path.parent().unwrap_or(Path::new(""));
    let mut by_shard: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, shard) in index.weight_map.0 {
        by_shard.entry(shard).or_default().push(name);
    }
    let mut all = Contents { tensors: BTreeMap::new(), metadata: BTreeMap::new() };
    for (shard, names) in by_shard {
        // A shard lies beside its index; a path would reach anywhere.
        if shard.contains(['/', '\\']) || shard == ".." {
            return Err(malformed(format!("shard `{shard}` is not a plain file name")));
        }
        let bytes = map(&directory.join(&shard)).map_err(|error| match error {
            Error::Missing { .. } => {
                Error::MissingShard { index: path.to_owned(), shard: shard.clone() }
            }
            other => other,
        })?;
        let mut contents = safetensors::parse(&directory.join(&shard), &bytes)?;
        for name in names {
            let Some(tensor) = contents.tensors.remove(&name) else {
                return Err(Error::NotInShard { index: path.to_owned(), shard, name });
            };
            all.tensors.insert(name, tensor);
        }
        all.metadata.extend(contents.metadata);
    }
    Ok(all)
}
