//! What can go wrong between here and the hub.

use std::path::PathBuf;

/// What can go wrong between here and the hub.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The name is not that of a model.
    #[error("`{repo}` is not a model of the hub, expected `owner/name`")]
    RepoId {
        /// What was given.
        repo: String,
    },
    /// The revision is not that of a model.
    #[error("`{revision}` is not a revision, expected a branch, tag or commit")]
    Revision {
        /// What was given.
        revision: String,
    },
    /// There is no such model, revision or file.
    #[error("there is no {}model `{repo}` with revision `{revision}` at {endpoint}", of_file(file))]
    NotFound {
        /// The model.
        repo: String,
        /// The revision.
        revision: String,
        /// The file, empty if the model itself is not there.
        file: String,
        /// The hub.
        endpoint: String,
    },
    /// The hub refuses access.
    #[error(
        "{endpoint} refuses access to model `{repo}` (status {status}): it is gated, private or does not exist, and {}",
        if *has_token { "the token may not read it" } else { "no token was given, set `HF_TOKEN`" }
    )]
    Denied {
        /// The model.
        repo: String,
        /// 401 or 403.
        status: u16,
        /// Whether a token was sent.
        has_token: bool,
        /// The hub.
        endpoint: String,
    },
    /// The hub answers with another error.
    #[error("{endpoint} answers with status {status} for model `{repo}`")]
    Status {
        /// The model.
        repo: String,
        /// The status.
        status: u16,
        /// The hub.
        endpoint: String,
    },
    /// The hub cannot be reached.
    #[error("cannot reach {endpoint} for model `{repo}`, which is not complete in the cache")]
    Unreachable {
        /// The model.
        repo: String,
        /// The hub.
        endpoint: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The cache lacks a file, and nothing may be downloaded.
    #[error(
        "`{file}` of model `{repo}` is not in the cache `{}`, and offline mode forbids to download it; run once without offline mode",
        cache_dir.display()
    )]
    Offline {
        /// The model.
        repo: String,
        /// The cache.
        cache_dir: PathBuf,
        /// The first file that is missing.
        file: String,
    },
    /// The model has no weights that can be read.
    #[error(
        "model `{repo}` has neither `model.safetensors` nor an index of shards, but {}",
        listed(found)
    )]
    NoCheckpoint {
        /// The model.
        repo: String,
        /// Its files that look like parts of a model.
        found: Vec<String>,
    },
    /// The hub names an impossible commit.
    #[error("the hub names `{commit}` as the commit of model `{repo}`, which is none")]
    Commit {
        /// The model.
        repo: String,
        /// The commit.
        commit: String,
    },
    /// A downloaded index of shards is malformed.
    #[error("`{}` is not a valid index of shards: {reason}", path.display())]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A downloaded file has the wrong length and was removed.
    #[error("`{file}` of model `{repo}` came with {found} bytes, expected {expected}")]
    Length {
        /// The model.
        repo: String,
        /// The file.
        file: String,
        /// The bytes announced.
        expected: u64,
        /// The bytes that came.
        found: u64,
    },
    /// A download failed.
    #[error("cannot download {}model `{repo}`", of_file(file))]
    Download {
        /// The model.
        repo: String,
        /// The file, empty for the list of files.
        file: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn of_file(file: &str) -> String {
    if file.is_empty() { String::new() } else { format!("file `{file}` in ") }
}

fn listed(found: &[String]) -> String {
    if found.is_empty() {
        return "no other file of a model".to_owned();
    }
    found.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
