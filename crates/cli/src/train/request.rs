//! What the command line asks for: a resolved recipe and a directory.

use std::path::{Path, PathBuf};

use anyhow::Result;
use train::recipe::{Phase, Recipe};

use crate::args::TrainArgs;
use crate::report::Failure;

/// A run that is asked for.
#[derive(Debug)]
pub(crate) struct Request {
    /// The resolved recipe.
    pub(crate) recipe: Recipe,
    /// Its phases.
    pub(crate) phases: Vec<Phase>,
    /// The run's directory.
    pub(crate) directory: PathBuf,
}

impl Request {
    /// Reads the recipe and settles where the run is.
    ///
    /// # Errors
    /// If the recipe is not valid.
    pub(crate) fn parse(args: &TrainArgs) -> Result<Self> {
        let Some(path) = &args.recipe else {
            return Err(Failure::usage("no recipe was given").into());
        };
        let (path, directory) = places(path, args)?;
        let (recipe, phases) = Recipe::open(&path, &args.set)?.resolve()?;
        Ok(Self { recipe, phases, directory })
    }
}

/// Returns where the recipe is and where the run.
fn places(path: &Path, args: &TrainArgs) -> Result<(PathBuf, PathBuf)> {
    if path.is_dir() {
        if !args.resume {
            let failure =
                Failure::usage(format!("`{}` is a directory, expected a recipe", path.display()));
            return Err(failure.hint("--resume goes on with the run in a directory").into());
        }
        let directory = args.output.clone().unwrap_or_else(|| path.to_owned());
        return Ok((path.join("recipe.toml"), directory));
    }
    let name = path.file_stem().unwrap_or_else(|| "run".as_ref());
    let directory = args.output.clone().unwrap_or_else(|| Path::new("runs").join(name));
    Ok((path.to_owned(), directory))
}
