//! From what the user calls a model to its files: the one loading path of all commands.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use checkpoint::Checkpoint;
use model::AkiConfig;
use prompt::{Preprocessor, Tokenizer};

use crate::environment::Environment;
use crate::hub;
use crate::report::Failure;

/// The name of the embedded model.
pub(crate) const EMBEDDED: &str = "miniature";

const EMBEDDED_CONFIG: &str = include_str!("../assets/miniature/config.json");
const EMBEDDED_TOKENIZER: &[u8] = include_bytes!("../assets/miniature/tokenizer.json");
const EMBEDDED_WEIGHTS: &[u8] = include_bytes!("../assets/miniature/model.gguf");

/// What the embedded model can and cannot do.
const EMBEDDED_CARD: &str = include_str!("../assets/miniature/README.md");

/// Files that belong to a checkpoint beside its weights.
pub(crate) const SIDE_FILES: [&str; 7] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "added_tokens.json",
    "special_tokens_map.json",
];

/// Where a model's files are; nothing is read before it is asked for.
#[derive(Clone, Debug)]
pub(crate) enum Model {
    /// In this program.
    Embedded,
    /// On disk: the directory of the configuration and the tokenizer, and the weights.
    Files { dir: PathBuf, weights: PathBuf },
}

impl Model {
    /// Finds the files of a model, downloading those of a hub id that are not there yet.
    ///
    /// # Errors
    /// If there is no such model, or the download fails.
    pub(crate) fn locate(name: &str, environment: &Environment) -> Result<Self> {
        if name == EMBEDDED {
            return Ok(Self::Embedded);
        }
        let path = Path::new(name);
        if path.is_dir() {
            let dir = newest_of_run(path).unwrap_or_else(|| path.to_owned());
            return Ok(Self::Files { weights: dir.clone(), dir });
        }
        if path.exists() {
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
            let dir = dir.unwrap_or(Path::new(".")).to_owned();
            return Ok(Self::Files { dir, weights: path.to_owned() });
        }
        if is_hub_id(name) {
            let dir = hub::download(name, environment)?;
            return Ok(Self::Files { weights: dir.clone(), dir });
        }
        let failure = Failure::new(format!("no such file or directory: `{name}`"));
        Err(failure
            .hint(
                "a model is a directory, a .safetensors, .pt or .gguf file, a hub id such as \
                 Sony/AKI-4B-phi-3.5-mini, or `miniature`, which is built in",
            )
            .into())
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// If there is none or it is not valid.
    pub(crate) fn config(&self) -> Result<AkiConfig> {
        let Self::Files { dir, .. } = self else {
            return AkiConfig::from_json(EMBEDDED_CONFIG).context("the embedded model is broken");
        };
        let path = dir.join("config.json");
        let json = fs::read_to_string(&path)
            .with_context(|| format!("cannot read `{}`", path.display()))
            .map_err(|error| self.wrong_directory(error))?;
        AkiConfig::from_json(&json).with_context(|| format!("cannot use `{}`", path.display()))
    }

    /// Opens the tokenizer.
    ///
    /// # Errors
    /// If there is none or it is not valid.
    pub(crate) fn tokenizer(&self) -> Result<Tokenizer> {
        match self {
            Self::Embedded => {
                Tokenizer::from_bytes(EMBEDDED_TOKENIZER).context("the embedded model is broken")
            }
            Self::Files { dir, .. } => {
                Tokenizer::open(dir).map_err(|error| self.wrong_directory(error.into()))
            }
        }
    }

    /// Opens the weights.
    ///
    /// # Errors
    /// If there are none or they are not valid.
    pub(crate) fn checkpoint(&self) -> Result<Checkpoint> {
        match self {
            Self::Embedded => {
                Checkpoint::from_bytes(EMBEDDED_WEIGHTS).context("the embedded model is broken")
            }
            Self::Files { weights, .. } => Ok(Checkpoint::open(weights)?),
        }
    }

    /// Returns the directory of the files beside the weights, none for the embedded model.
    pub(crate) fn dir(&self) -> Option<&Path> {
        match self {
            Self::Embedded => None,
            Self::Files { dir, .. } => Some(dir),
        }
    }

    /// Returns the small files of the embedded model by name, nothing for another.
    pub(crate) fn embedded_files(&self) -> Vec<(&'static str, &'static [u8])> {
        match self {
            Self::Embedded => vec![
                ("config.json", EMBEDDED_CONFIG.as_bytes()),
                ("tokenizer.json", EMBEDDED_TOKENIZER),
            ],
            Self::Files { .. } => Vec::new(),
        }
    }

    /// Returns what the model can and cannot do: the model card beside its files, if there is one.
    pub(crate) fn card(&self) -> Option<String> {
        match self {
            Self::Embedded => Some(EMBEDDED_CARD.to_owned()),
            Self::Files { dir, .. } => fs::read_to_string(dir.join("README.md")).ok(),
        }
    }

    /// Adds to an error about a missing file what the directory should hold.
    fn wrong_directory(&self, error: anyhow::Error) -> anyhow::Error {
        let Self::Files { dir, .. } = self else { return error };
        let failure =
            Failure::new(format!("`{}` is not a complete model directory", dir.display()));
        error.context(failure.hint(
            "a model directory holds config.json, the weights, and tokenizer.json or tokenizer.model",
        ))
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("miniature (built in)"),
            Self::Files { weights, .. } => write!(f, "{}", weights.display()),
        }
    }
}

/// Returns the preprocessor of a model.
pub(crate) fn preprocessor(config: &AkiConfig) -> Preprocessor {
    Preprocessor { image_size: config.image_size, mean: config.norm_mean, std: config.norm_std }
}

/// Returns the newest complete checkpoint, if a directory is that of a run.
fn newest_of_run(path: &Path) -> Option<PathBuf> {
    if path.join("config.json").exists() {
        return None;
    }
    train::run::newest(path).ok()?.0.map(|found| found.path)
}

/// Returns whether a name has the form `owner/name` of the hub.
fn is_hub_id(name: &str) -> bool {
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    name.split_once('/').is_some_and(|(owner, name)| is_part(owner) && is_part(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_id_has_one_slash_and_is_no_path() {
        assert!(is_hub_id("Sony/AKI-4B-phi-3.5-mini"));
        for path in ["./aki", "/models/aki", "models", "a/b/c", "../aki", "a/", "~/aki"] {
            assert!(!is_hub_id(path), "{path}");
        }
    }
}
