//! The model that is trained, with the files that belong to it.

use std::fs;

use anyhow::{Context, Result};
use train::learner::{AkiFiles, AkiLearner};
use train::run::Found;

use super::request::Request;
use crate::load::{Model, SIDE_FILES};
use crate::{output, progress};

/// Loads a model to be trained, in the process of this rank, and goes on from a checkpoint.
///
/// # Errors
/// If a file is missing or not valid.
pub(crate) fn load(
    (model, from): (&Model, Option<&Found>),
    request: &Request,
    rank: usize,
) -> Result<AkiLearner> {
    let spinner = progress::spinner("loading the model");
    let recipe = &request.recipe;
    let mut learner = AkiLearner::load(files(model)?, recipe.into())?;
    if let Some(found) = from.filter(|_| learner.has_adapters()) {
        learner.restore(&found.path)?;
    }
    spinner.finish_and_clear();
    if let Some(folder) = &recipe.compute.feature_cache {
        let is_augmented = request.phases.iter().all(|phase| phase.stage.augment);
        if is_augmented {
            output::note("`compute.feature_cache` has no effect: every phase has `augment`");
        } else if !learner.cache_features(folder, rank)? {
            output::note("`compute.feature_cache` has no effect: the vision encoder is trained");
        }
    }
    Ok(learner)
}

/// Reads the files of a model.
///
/// # Errors
/// If one is missing or not valid.
pub(crate) fn files(model: &Model) -> Result<AkiFiles> {
    let embedded = model.embedded_files();
    let mut beside: Vec<_> =
        embedded.into_iter().map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).collect();
    if let Some(dir) = model.dir() {
        for name in SIDE_FILES {
            let path = dir.join(name);
            if path.is_file() {
                let bytes = fs::read(&path);
                let bytes = bytes.with_context(|| format!("cannot read `{}`", path.display()))?;
                beside.push((name.to_owned(), bytes));
            }
        }
    }
    beside.retain(|(name, _)| name != "config.json");
    Ok(AkiFiles { config: model.config()?, weights: model.checkpoint()?, beside })
}
