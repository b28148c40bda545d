//! Files: made to the side and renamed, so that a file that is there is whole.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, RgbImage};
use rayon::prelude::*;
use serde::Serialize;

use super::{Observer, Summary, WorldConfig, name};
use crate::Error;

/// The quality of JPEG pictures.
const QUALITY: u8 = 92;

/// How the contents of a file are made.
pub(super) type Make<'a> = Box<dyn Fn() -> Result<Vec<u8>, Error> + Send + Sync + 'a>;

/// A file to be written.
pub(super) struct Job<'a> {
    /// Where it is in the folder of the world.
    pub(super) path: PathBuf,
    /// Its contents.
    pub(super) make: Make<'a>,
    /// What it adds to the summary.
    pub(super) counts: Counts,
}

/// What a file adds to the summary.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) pictures: usize,
    pub(super) examples: usize,
    pub(super) tests: usize,
    /// Whether it is named in the summary.
    pub(super) is_named: bool,
}

/// The folder of a world.
pub(super) struct Files<'a> {
    root: &'a Path,
    observer: &'a dyn Observer,
}

impl<'a> Files<'a> {
    pub(super) fn new(config: &'a WorldConfig, observer: &'a dyn Observer) -> Self {
        Self { root: &config.output, observer }
    }

    /// Writes the files that are not there yet, on all cores.
    pub(super) fn run(&self, jobs: &[Job<'_>]) -> Result<Summary, Error> {
        jobs.par_iter().try_for_each(|job| {
            let path = self.root.join(&job.path);
            if !path.is_file() {
                if self.observer.is_interrupted() {
                    return Err(Error::Interrupted);
                }
                put(&path, &(job.make)()?)?;
            }
            self.observer.advance();
            Ok(())
        })?;
        let mut summary = Summary::default();
        for Job { path, counts, .. } in jobs {
            summary.pictures += counts.pictures;
            summary.examples += counts.examples;
            summary.tests += counts.tests;
            if counts.is_named {
                summary.files.push(name(path));
            }
        }
        Ok(summary)
    }
}

/// Writes a file to the side and renames it.
pub(super) fn put(path: &Path, contents: &[u8]) -> Result<(), Error> {
    let error = |source| Error::File { path: path.to_owned(), source };
    let folder = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder).map_err(error)?;
    let mut side = path.as_os_str().to_owned();
    side.push(".part");
    let put = fs::write(&side, contents).and_then(|()| fs::rename(&side, path));
    put.map_err(|source| {
        // On a full disk the part would stand in the way of making room.
        let _ = fs::remove_file(&side);
        error(source)
    })
}

/// Writes a record as JSON.
pub(super) fn put_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    put(path, &json(path, value)?)
}

/// Encodes a record as JSON with a line break.
pub(super) fn json(path: &Path, value: &impl Serialize) -> Result<Vec<u8>, Error> {
    let source = |source| Error::Json { name: name(path), source };
    let mut text = serde_json::to_vec(value).map_err(source)?;
    text.push(b'\n');
    Ok(text)
}

/// Encodes a picture in the format of its name.
pub(super) fn encode(name: &str, picture: &RgbImage) -> Result<Vec<u8>, Error> {
    let error = |source| Error::Encode { name: name.to_owned(), source };
    let mut file = Vec::new();
    if Path::new(name).extension().is_some_and(|extension| extension == "png") {
        picture.write_to(&mut Cursor::new(&mut file), ImageFormat::Png).map_err(error)?;
    } else {
        JpegEncoder::new_with_quality(&mut file, QUALITY).encode_image(picture).map_err(error)?;
    }
    Ok(file)
}
