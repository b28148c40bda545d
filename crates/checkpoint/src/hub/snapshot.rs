//! Which files make a model.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::HubError;

pub(super) const SINGLE: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";
const CONFIG: &str = "config.json";
/// One of these must be there.
const TOKENIZERS: [&str; 2] = ["tokenizer.json", "tokenizer.model"];
/// These are taken if they exist.
const EXTRAS: [&str; 6] = [
    "generation_config.json",
    "preprocessor_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
];
/// How many files an error lists.
const MAX_LISTED: usize = 12;

/// What a snapshot lacks first.
pub(super) struct Missing {
    pub(super) file: String,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Returns the configuration and tokenizer files among a repository's.
pub(super) fn small_files(files: &[String]) -> impl Iterator<Item = &str> {
    let wanted = [CONFIG].into_iter().chain(TOKENIZERS).chain(EXTRAS);
    wanted.filter(|wanted| files.iter().any(|file| file == wanted))
}

/// Returns the files that look like weights or configuration, for an error.
pub(super) fn of_models(files: Vec<String>) -> Vec<String> {
    let is_model = |file: &String| {
        let extension = Path::new(file).extension().and_then(|e| e.to_str());
        extension.is_some_and(|e| ["safetensors", "json", "bin", "pt", "gguf"].contains(&e))
    };
    files.into_iter().filter(is_model).take(MAX_LISTED).collect()
}

/// Returns the shards that an index names, all plain file names.
pub(super) fn shards(index: &Path) -> Result<BTreeSet<String>, HubError> {
    let malformed = |reason: String| HubError::Index { path: index.to_owned(), reason };
    let text = std::fs::read(index).map_err(|e| malformed(e.to_string()))?;
    let parsed: Index = serde_json::from_slice(&text).map_err(|e| malformed(e.to_string()))?;
    let shards: BTreeSet<String> = parsed.weight_map.into_values().collect();
    match shards.iter().find(|s| s.contains(['/', '\\']) || !s.ends_with(".safetensors")) {
        Some(odd) => Err(malformed(format!("shard `{odd}` is not a plain file name"))),
        None => Ok(shards),
    }
}

/// Checks that a snapshot has all that is needed to load it.
pub(super) fn check(directory: &Path) -> Result<(), Missing> {
    let has = |file: &str| directory.join(file).exists();
    let need = |file: &str| {
        if has(file) { Ok(()) } else { Err(Missing { file: file.to_owned() }) }
    };
    need(CONFIG)?;
    if !TOKENIZERS.iter().any(|file| has(file)) {
        need(TOKENIZERS[0])?;
    }
    if has(SINGLE) || !has(INDEX) {
        return need(SINGLE);
    }
    let shards = shards(&directory.join(INDEX)).map_err(|_| Missing { file: INDEX.to_owned() })?;
    shards.iter().try_for_each(|shard| need(shard))
}
