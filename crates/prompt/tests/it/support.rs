//! Golden files and how to read them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use prompt::Tokenizer;
use sequence::TokenId;
use serde_json::Value;

/// The folders of golden vectors.
pub(crate) const SETS: [&str; 3] = ["base", "gqa", "longrope"];

/// Returns the path of a golden file.
pub(crate) fn golden(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../goldens")).join(path)
}

/// Returns the path of a fixture of this crate.
pub(crate) fn fixture(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures")).join(path)
}

/// Reads the tokenizer of a golden set.
pub(crate) fn tokenizer(set: &str) -> Tokenizer {
    Tokenizer::open(golden(set).join("model")).unwrap()
}

/// Reads a JSON file.
pub(crate) fn json(path: PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Returns the ids in a JSON array.
pub(crate) fn ids(value: &Value) -> Vec<TokenId> {
    value.as_array().unwrap().iter().map(|id| TokenId(id.as_u64().unwrap() as u32)).collect()
}

/// A tensor of a safetensors file: its shape and bytes.
pub(crate) struct Raw {
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl Raw {
    pub(crate) fn f32(&self) -> Vec<f32> {
        self.bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    pub(crate) fn i64(&self) -> Vec<i64> {
        self.bytes.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect()
    }
}

/// Reads a safetensors file.
pub(crate) fn safetensors(path: PathBuf) -> BTreeMap<String, Raw> {
    let file = std::fs::read(path).unwrap();
    let (len, rest) = file.split_at(8);
    let (header, data) = rest.split_at(u64::from_le_bytes(len.try_into().unwrap()) as usize);
    let header: BTreeMap<String, Value> = serde_json::from_slice(header).unwrap();
    let tensor = |value: &Value| {
        let numbers = |key: &str| -> Vec<usize> {
            value[key].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect()
        };
        let at = numbers("data_offsets");
        Raw { shape: numbers("shape"), bytes: data[at[0]..at[1]].to_vec() }
    };
    header
        .iter()
        .filter(|(name, _)| *name != "__metadata__")
        .map(|(name, value)| (name.clone(), tensor(value)))
        .collect()
}
