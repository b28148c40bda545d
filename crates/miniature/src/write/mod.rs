//! Writing a world: every picture, shard and annotation file.

mod benchmarks;
mod counting;
mod cv_bench;
mod files;
mod instruct;
mod rockets;
mod shards;
mod text;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::Error;
use files::{Files, put_json};

/// The version of what is made: another one gives other bytes for the same seed.
const VERSION: u32 = 5;

/// How much of everything is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// For tests: seconds.
    Tiny,
    /// For trying things out: minutes.
    Small,
    /// For training the model that is built into the program.
    Full,
}

impl Size {
    /// Returns the number of pictures of an instruction set.
    pub fn num_pictures(self) -> usize {
        match self {
            Self::Tiny => 24,
            Self::Small => 1_000,
            Self::Full => 20_000,
        }
    }

    /// Returns the number of pictures of a folder of one's own.
    pub fn num_own_pictures(self) -> usize {
        match self {
            Self::Tiny => 24,
            Self::Small => 400,
            Self::Full => 2_000,
        }
    }

    /// Returns the number of shards of a caption set, and of samples in each.
    pub fn shards(self) -> (usize, usize) {
        match self {
            Self::Tiny => (2, 12),
            Self::Small => (4, 500),
            Self::Full => (24, 500),
        }
    }

    /// Returns the number of pictures of a test.
    pub fn num_tests(self) -> usize {
        match self {
            Self::Tiny => 12,
            Self::Small => 100,
            Self::Full => 500,
        }
    }
}

/// What is written.
#[derive(Clone, Debug)]
pub struct WorldConfig {
    /// The folder.
    pub output: PathBuf,
    /// What decides everything.
    pub seed: u64,
    /// How much of it.
    pub size: Size,
    /// The width and height of a picture.
    pub image_size: usize,
    /// The folders that are written, such as `vqa`; all of them where none is named.
    pub only: Vec<String>,
}

/// Who watches, and may stop it.
pub trait Observer: Sync {
    /// So many things are to be made, pictures and files.
    fn begin(&self, total: usize);
    /// One of them is there, made now or before.
    fn advance(&self);
    /// Returns whether it is to stop.
    fn is_interrupted(&self) -> bool;
}

/// What a folder of a world holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The pictures.
    pub pictures: usize,
    /// The examples: captions, and questions to train on.
    pub examples: usize,
    /// The questions of the tests.
    pub tests: usize,
    /// The files that are not pictures, from the folder on.
    pub files: Vec<String>,
}

/// What is in `world.json`.
#[derive(Serialize)]
struct Manifest {
    version: u32,
    seed: u64,
    size: Size,
    image_size: usize,
}

/// Writes a world; what is there already is kept, so that an interrupted world can be gone on with.
///
/// # Errors
/// If a file cannot be written, the folder holds another world, or the observer says stop.
pub fn generate(config: &WorldConfig, observer: &dyn Observer) -> Result<Summary, Error> {
    let found = config.image_size;
    if !(32..=2048).contains(&found) {
        return Err(Error::ImageSize { found });
    }
    claim(config)?;
    let files = Files::new(config, observer);
    let mut jobs = shards::jobs(config);
    jobs.extend(instruct::jobs(config)?);
    jobs.extend(benchmarks::jobs(config));
    jobs.extend(cv_bench::jobs(config));
    jobs.push(text::job(config));
    jobs.extend(rockets::jobs(config));
    jobs.extend(counting::SETS.iter().flat_map(|set| counting::jobs(set, config)));
    let folder = |path: &Path| name(path).split('/').next().unwrap_or_default().to_owned();
    for wanted in &config.only {
        if !jobs.iter().any(|job| folder(&job.path) == *wanted) {
            let mut known: Vec<_> = jobs.iter().map(|job| folder(&job.path)).collect();
            known.sort();
            known.dedup();
            return Err(Error::NoFolder { found: wanted.clone(), known: known.join("`, `") });
        }
    }
    let is_apart =
        |name: &str| name == rockets::FOLDER || counting::SETS.iter().any(|set| set.folder == name);
    jobs.retain(|job| match (folder(&job.path), config.only.as_slice()) {
        (folder, []) => !is_apart(&folder),
        (folder, only) => only.contains(&folder),
    });
    observer.begin(jobs.len());
    let mut summary = files.run(&jobs)?;
    summary.files.sort();
    Ok(summary)
}

/// Says in the folder which world it holds, or checks that it is this one.
fn claim(config: &WorldConfig) -> Result<(), Error> {
    let WorldConfig { seed, size, image_size, .. } = *config;
    let manifest = Manifest { version: VERSION, seed, size, image_size };
    let path = config.output.join("world.json");
    let source = |source| Error::Json { name: "world.json".to_owned(), source };
    let expected = serde_json::to_string(&manifest).map_err(source)?;
    match std::fs::read_to_string(&path) {
        Ok(found) if found.trim_end() == expected => Ok(()),
        Ok(found) => {
            let (path, found) = (config.output.clone(), found.trim_end().to_owned());
            Err(Error::OtherWorld { path, expected, found })
        }
        Err(_) => put_json(&path, &manifest),
    }
}

/// Returns a path from the folder of a world on, with `/` everywhere.
fn name(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "/")
}
