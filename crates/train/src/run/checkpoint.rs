//! Checkpoints of a run: complete or not there.
//!
//! One is written beside its place, every file is brought to the disk, and only then it is renamed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use checkpoint::{Checkpoint, Dtype, ShardPlan, TensorSpec};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Error;
use crate::optimizer::{Moment, MomentSource, Moments};

const STATE: &str = "state.json";
const MOMENTS: &str = "optimizer.safetensors";
const UNFINISHED: &str = ".tmp";
const FIRST: &str = "first_moment.";
const SECOND: &str = "second_moment.";
/// How many values are turned into bytes at once.
const PIECE: usize = 1 << 16;

/// Where a run is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The steps done, over all phases.
    pub step: u64,
    /// The phase to go on with.
    pub phase: usize,
    /// The steps done in it.
    pub phase_step: u64,
    /// Where its data is in each process; nothing at the start of a phase.
    pub positions: Vec<Value>,
    /// The samples seen.
    pub samples: u64,
    /// The samples that could not be used.
    pub bad_samples: u64,
    /// The fingerprint of the recipe.
    pub recipe: String,
    /// How many steps the moments of each parameter have seen.
    pub moment_steps: BTreeMap<String, u64>,
    /// The size of every other file, by which a broken checkpoint is told.
    pub files: BTreeMap<String, u64>,
}

/// A complete checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its directory.
    pub path: PathBuf,
    /// What it says.
    pub state: State,
}

impl Found {
    /// Reads the optimizer's moments of the parameters that are kept here.
    ///
    /// # Errors
    /// If the file is broken.
    pub fn moments(
        &self,
        is_kept: &dyn Fn(&str) -> bool,
    ) -> Result<BTreeMap<String, Moments>, Error> {
        let path = self.path.join(MOMENTS);
        if self.state.moment_steps.is_empty() {
            return Ok(BTreeMap::new());
        }
        let file = Checkpoint::open(&path)?;
        let values = |name: String| -> Result<Vec<f32>, Error> {
            match file.tensor(&name) {
                Some(tensor) => Ok(tensor.to_f32_vec()?),
                None => Err(Error::Malformed {
                    path: path.clone(),
                    reason: format!("`{name}` is missing"),
                }),
            }
        };
        let kept = self.state.moment_steps.iter().filter(|(name, _)| is_kept(name));
        let moments = kept.map(|(name, steps)| {
            let first = values(format!("{FIRST}{name}"))?;
            let second = values(format!("{SECOND}{name}"))?;
            Ok((name.clone(), Moments { steps: *steps, first, second }))
        });
        moments.collect()
    }
}

/// Returns where the checkpoint of a step is.
pub(crate) fn place(run: &Path, step: u64) -> PathBuf {
    run.join(format!("checkpoint-{step:08}"))
}

/// Writes a checkpoint of a run; `write` puts the model and what belongs to it into a directory.
///
/// # Errors
/// If a file cannot be written; then what was written of it is removed.
pub fn save(
    run: &Path,
    state: &State,
    moments: &mut dyn MomentSource,
    write: &mut dyn FnMut(&Path) -> Result<(), Error>,
) -> Result<PathBuf, Error> {
    let path = place(run, state.step);
    let unfinished = run.join(format!("checkpoint-{:08}{UNFINISHED}", state.step));
    let result = fill(&unfinished, state, moments, write).and_then(|()| {
        if path.exists() {
            fs::remove_dir_all(&path).map_err(Error::write(&path))?;
        }
        fs::rename(&unfinished, &path).map_err(Error::write(&path))?;
        sync(run)
    });
    match result {
        Ok(()) => Ok(path),
        Err(error) => {
            // It frees the space, and the error is what matters.
            let _ = fs::remove_dir_all(&unfinished);
            Err(error)
        }
    }
}

fn fill(
    directory: &Path,
    state: &State,
    moments: &mut dyn MomentSource,
    write: &mut dyn FnMut(&Path) -> Result<(), Error>,
) -> Result<(), Error> {
    if directory.exists() {
        fs::remove_dir_all(directory).map_err(Error::write(directory))?;
    }
    fs::create_dir(directory).map_err(Error::write(directory))?;
    write(directory)?;
    write_moments(&directory.join(MOMENTS), moments)?;
    let mut state = State {
        moment_steps: moments.specs().into_iter().map(|(name, steps, _)| (name, steps)).collect(),
        ..state.clone()
    };
    state.files = sizes(directory)?;
    let path = directory.join(STATE);
    let invalid = |error| Error::write(&path)(std::io::Error::other(error));
    let text = serde_json::to_string_pretty(&state).map_err(invalid)?;
    fs::write(&path, text).map_err(Error::write(&path))?;
    for name in state.files.keys().map(String::as_str).chain([STATE]) {
        sync(&directory.join(name))?;
    }
    sync(directory)
}

fn write_moments(path: &Path, moments: &mut dyn MomentSource) -> Result<(), Error> {
    let mut specs = Vec::new();
    let mut sources: BTreeMap<String, (String, Moment)> = BTreeMap::new();
    for (name, _, len) in moments.specs() {
        for (prefix, moment) in [(FIRST, Moment::First), (SECOND, Moment::Second)] {
            let full = format!("{prefix}{name}");
            specs.push(TensorSpec { name: full.clone(), dtype: Dtype::F32, shape: vec![len] });
            sources.insert(full, (name.clone(), moment));
        }
    }
    let directory = path.parent().unwrap_or(Path::new("."));
    let staged = directory.join("staged-moments");
    fs::create_dir(&staged).map_err(Error::write(&staged))?;
    ShardPlan::new(specs, usize::MAX)?.write(&staged, |spec, sink| -> Result<(), Error> {
        let (name, moment) = &sources[&spec.name];
        for piece in moments.values(name, *moment)?.chunks(PIECE) {
            let bytes: Vec<u8> = piece.iter().flat_map(|value| value.to_le_bytes()).collect();
            sink.put(&bytes)?;
        }
        Ok(())
    })?;
    fs::rename(staged.join("model.safetensors"), path).map_err(Error::write(path))?;
    fs::remove_dir_all(&staged).map_err(Error::write(&staged))
}

fn sizes(directory: &Path) -> Result<BTreeMap<String, u64>, Error> {
    let mut sizes = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(Error::read(directory))? {
        let entry = entry.map_err(Error::read(directory))?;
        let size = entry.metadata().map_err(Error::read(&entry.path()))?.len();
        sizes.insert(entry.file_name().to_string_lossy().into_owned(), size);
    }
    Ok(sizes)
}

/// Waits until a file or a directory is on the disk.
fn sync(path: &Path) -> Result<(), Error> {
    let file = File::open(path).map_err(Error::write(path))?;
    file.sync_all().map_err(Error::write(path))
}

/// Reads the checkpoint that a directory holds.
///
/// # Errors
/// If it is not complete.
pub fn find(path: &Path) -> Result<Found, Error> {
    let file = path.join(STATE);
    let text = fs::read_to_string(&file).map_err(Error::read(&file))?;
    let malformed = |reason| Error::Malformed { path: file.clone(), reason };
    let state: State = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    for (name, expected) in &state.files {
        let part = path.join(name);
        let found = fs::metadata(&part).map_err(Error::read(&part))?.len();
        if found != *expected {
            let reason = format!("it has {found} bytes, expected {expected}");
            return Err(Error::Malformed { path: part, reason });
        }
    }
    Ok(Found { path: path.to_owned(), state })
}

/// Returns the newest complete checkpoint of a run, and what is wrong with newer ones.
///
/// # Errors
/// If the run's directory cannot be read.
pub fn newest(run: &Path) -> Result<(Option<Found>, Vec<Error>), Error> {
    let mut broken = Vec::new();
    for path in finished(run)?.into_iter().rev() {
        match find(&path) {
            Ok(found) => return Ok((Some(found), broken)),
            Err(error) => broken.push(error),
        }
    }
    Ok((None, broken))
}

/// Removes all but the `keep` newest checkpoints, and what was left unfinished.
///
/// # Errors
/// If something cannot be removed.
pub fn prune(run: &Path, keep: usize) -> Result<(), Error> {
    let mut old = finished(run)?;
    old.truncate(old.len().saturating_sub(keep));
    for path in old {
        // What is half removed must not look complete.
        let mut name = path.clone().into_os_string();
        name.push(UNFINISHED);
        fs::rename(&path, &name).map_err(Error::write(&path))?;
    }
    for entry in fs::read_dir(run).map_err(Error::read(run))? {
        let path = entry.map_err(Error::read(run))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("checkpoint-") && name.ends_with(UNFINISHED) {
            fs::remove_dir_all(&path).map_err(Error::write(&path))?;
        }
    }
    Ok(())
}

/// Returns the checkpoints by step.
fn finished(run: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(run).map_err(Error::read(run))? {
        let path = entry.map_err(Error::read(run))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let step = name.strip_prefix("checkpoint-").and_then(|step| step.parse::<u64>().ok());
        found.extend(step.map(|step| (step, path)));
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}
