//! The model that is trained, with the files that belong to it.

use std::fs;

use anyhow::{Context, Result};
use model::{AkiConfig, Device};
use prompt::Tokenizer;
use train::learner::{AkiFiles, AkiLearner, AkiTraining};
use train::recipe::Recipe;
use train::run::Found;

use super::request::Request;
use crate::environment::Environment;
use crate::load::{Model, SIDE_FILES};
use crate::{output, progress};

/// Where a run takes its model from.
#[derive(Debug)]
pub(crate) struct Origin {
    model: Model,
    /// What has the tensors and files that the model lacks.
    base: Option<Model>,
}

impl Origin {
    /// Finds the model that a recipe starts with, or goes on with.
    ///
    /// # Errors
    /// If there is no such model.
    pub(crate) fn locate(
        recipe: &Recipe,
        from: Option<&Found>,
        environment: &Environment,
    ) -> Result<Self> {
        // The weights of a run with adapters have these merged in, so it starts with the same.
        if let Some(found) = from.filter(|_| recipe.lora.is_none()) {
            let (dir, weights) = (found.path.clone(), found.path.clone());
            return Ok(Self::new(Model::Files { dir, weights }));
        }
        let base = recipe.model.base.as_ref().map(|base| Model::locate(base, environment));
        let model = Model::locate(&recipe.model.init, environment)?;
        Ok(Self { model, base: base.transpose()? })
    }

    /// Returns a model that lacks nothing.
    pub(crate) fn new(model: Model) -> Self {
        Self { model, base: None }
    }

    /// Returns what has configuration and tokenizer.
    fn beside(&self) -> &Model {
        self.base.as_ref().unwrap_or(&self.model)
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// If there is none or it is not valid.
    pub(crate) fn config(&self) -> Result<AkiConfig> {
        self.beside().config()
    }

    /// Opens the tokenizer.
    ///
    /// # Errors
    /// If there is none or it is not valid.
    pub(crate) fn tokenizer(&self) -> Result<Tokenizer> {
        self.beside().tokenizer()
    }

    /// Reads the files that are trained and those beside them.
    ///
    /// # Errors
    /// If one is missing or not valid.
    pub(crate) fn files(&self) -> Result<AkiFiles> {
        let embedded = self.beside().embedded_files();
        let mut beside: Vec<_> =
            embedded.into_iter().map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).collect();
        if let Some(dir) = self.beside().dir() {
            for path in SIDE_FILES.map(|name| dir.join(name)) {
                if let (true, Some(name)) = (path.is_file(), path.file_name()) {
                    let bytes = fs::read(&path);
                    let bytes =
                        bytes.with_context(|| format!("cannot read `{}`", path.display()))?;
                    beside.push((name.to_string_lossy().into_owned(), bytes));
                }
            }
        }
        beside.retain(|(name, _)| name != "config.json");
        let mut weights = self.model.checkpoint()?;
        if let Some(base) = &self.base {
            weights = weights.over(base.checkpoint()?);
        }
        Ok(AkiFiles { config: self.config()?, weights, beside })
    }
}

/// Loads a model to be trained, in the process of this rank, and goes on from a checkpoint.
///
/// # Errors
/// If a file is missing or not valid.
pub(crate) fn load(
    (origin, from): (&Origin, Option<&Found>),
    request: &Request,
    (rank, device): (usize, Device),
) -> Result<AkiLearner> {
    let spinner = progress::spinner("loading the model");
    let recipe = &request.recipe;
    let training = AkiTraining { device, ..recipe.into() };
    let mut learner = AkiLearner::load(origin.files()?, training)?;
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
