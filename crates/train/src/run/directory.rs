//! Beginning a run's directory, and finding where a run goes on.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::Path;

use super::checkpoint::{Found, find, newest};
use crate::Error;
use crate::recipe::Recipe;

/// The resolved recipe of a run.
const RECIPE: &str = "recipe.toml";
/// What happened in every step.
pub(crate) const METRICS: &str = "metrics.jsonl";

/// Refuses a directory for a new run that holds something.
///
/// # Errors
/// If something is in the directory already.
pub fn vacant(directory: &Path) -> Result<(), Error> {
    if directory.is_dir() {
        let mut entries = fs::read_dir(directory).map_err(Error::read(directory))?;
        if entries.next().is_some() {
            return Err(Error::NotEmpty { path: directory.to_owned() });
        }
    }
    Ok(())
}

/// Keeps other processes from training in a run's directory while it lives.
#[derive(Debug)]
pub struct RunLock {
    _directory: Option<File>,
}

/// Makes the directory of a run, if it is not there, and writes its resolved recipe.
///
/// # Errors
/// If another process trains there, or it cannot be written.
pub fn begin(directory: &Path, recipe: &Recipe) -> Result<RunLock, Error> {
    fs::create_dir_all(directory).map_err(Error::write(directory))?;
    let lock = lock(directory)?;
    write_recipe(directory, recipe)?;
    Ok(lock)
}

/// The system takes the lock back whatever ends the process. Where directories cannot be locked,
/// nothing is.
fn lock(directory: &Path) -> Result<RunLock, Error> {
    let Ok(file) = File::open(directory) else { return Ok(RunLock { _directory: None }) };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Error::Busy { path: directory.to_owned() }),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(RunLock { _directory: Some(file) }),
    }
}

/// Returns the newest complete checkpoint of the run in a directory, which nothing is written to, and what is wrong with newer
/// ones; no checkpoint if the run was stopped before its first.
///
/// # Errors
/// If there is no run, or it learns by another recipe.
pub fn resume(directory: &Path, recipe: &Recipe) -> Result<(Option<Found>, Vec<Error>), Error> {
    if !directory.is_dir() {
        return Err(Error::NoCheckpoint { path: directory.to_owned() });
    }
    let path = directory.join(RECIPE);
    if path.is_file() {
        let of_run = Recipe::open(&path, &[])?;
        if let Some(key) = of_run.difference(recipe)? {
            return Err(Error::OtherRecipe { path: directory.to_owned(), key });
        }
    }
    let (found, broken) = newest(directory)?;
    if let Some(found) = &found {
        check(found, recipe)?;
    }
    Ok((found, broken))
}

/// Returns the checkpoint that a path means: itself, or the newest complete one of the run there.
///
/// # Errors
/// If it is neither.
pub fn checkpoint_at(path: &Path) -> Result<Found, Error> {
    match find(path) {
        Ok(found) => Ok(found),
        Err(error) if path.is_dir() => match newest(path)? {
            (Some(found), _) => Ok(found),
            (None, mut broken) => Err(broken.pop().unwrap_or(error)),
        },
        Err(error) => Err(error),
    }
}

/// Refuses to go on from a checkpoint of another recipe.
///
/// # Errors
/// If its recipe would learn differently.
pub fn check(found: &Found, recipe: &Recipe) -> Result<(), Error> {
    if found.state.recipe == recipe.fingerprint()? {
        return Ok(());
    }
    Err(Error::OtherRecipe { path: found.path.clone(), key: "fingerprint".to_owned() })
}

/// Refuses to go on from a checkpoint of another recipe than one of the same first phases.
///
/// # Errors
/// If what it has learned so far is not what this recipe would have learned.
pub fn check_first_phases(found: &Found, recipe: &Recipe) -> Result<(), Error> {
    let path = run_of(found).join(RECIPE);
    let mut theirs = Recipe::open(&path, &[])?.resolve()?.0;
    let mut ours = recipe.resolve()?.0;
    let num_begun = found.state.phase + usize::from(found.state.phase_step > 0);
    theirs.phases.truncate(num_begun);
    ours.phases.truncate(num_begun);
    match theirs.difference(&ours)? {
        Some(key) => Err(Error::OtherRecipe { path: found.path.clone(), key }),
        None => Ok(()),
    }
}

/// Lets a run begin with the steps of the run that a checkpoint is of, if it has none yet.
///
/// # Errors
/// If they cannot be copied.
pub fn inherit(directory: &Path, found: &Found) -> Result<(), Error> {
    let (from, to) = (run_of(found).join(METRICS), directory.join(METRICS));
    if from.is_file() && !to.exists() {
        fs::copy(&from, &to).map_err(Error::write(&to))?;
    }
    Ok(())
}

/// Returns the directory of the run that a checkpoint is of.
fn run_of(found: &Found) -> &Path {
    found.path.parent().unwrap_or(Path::new("."))
}

/// Replaces the recipe at once: a crash leaves the old one or the new one.
fn write_recipe(directory: &Path, recipe: &Recipe) -> Result<(), Error> {
    let path = directory.join(RECIPE);
    let text = recipe.to_toml()?;
    if fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    // Beside the directory, which must not look begun before its recipe is there.
    let mut name = directory.as_os_str().to_owned();
    name.push(".recipe.tmp");
    let unfinished = Path::new(&name);
    let written = File::create(unfinished)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(unfinished, &path));
    written.map_err(Error::write(&path))
}
