//! What happened in every step, as lines of JSON.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Error;

/// What happened in one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// The steps done, this one included, over all phases.
    pub step: u64,
    /// The phase.
    pub phase: String,
    /// The mean loss.
    pub training_loss: f64,
    /// The learning rate.
    pub learning_rate: f64,
    /// The norm of all gradients, before clipping.
    pub gradient_norm: f64,
    /// Samples each second, in all processes.
    pub samples_per_second: f64,
    /// Positions each second, images' included, in all processes.
    pub tokens_per_second: f64,
    /// The samples that could not be used, since the run began.
    pub bad_samples: u64,
    /// The samples since the run began.
    pub samples: u64,
    /// When, in seconds since 1970.
    pub time: f64,
}

impl StepMetrics {
    /// Returns what is shown as curves.
    pub fn scalars(&self) -> [(&'static str, f64); 6] {
        [
            ("training_loss", self.training_loss),
            ("learning_rate", self.learning_rate),
            ("gradient_norm", self.gradient_norm),
            ("samples_per_second", self.samples_per_second),
            ("tokens_per_second", self.tokens_per_second),
            ("bad_samples", self.bad_samples as f64),
        ]
    }
}

/// A file of JSON lines, each with a `step`.
#[derive(Debug)]
pub struct Metrics {
    path: PathBuf,
    file: File,
}

impl Metrics {
    /// Opens a file, and forgets the lines of steps after `step`. Returns the lines that stay.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn open(path: &Path, step: u64) -> Result<(Self, Vec<Value>), Error> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Error::read(path)(error)),
        };
        let mut kept = Vec::new();
        let mut len = 0;
        // The last line may be half a line, if the machine lost power.
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let Ok(value) = serde_json::from_str::<Value>(line) else { break };
            if value["step"].as_u64().is_none_or(|found| found > step) {
                break;
            }
            len += line.len();
            kept.push(value);
        }
        let file =
            OpenOptions::new().create(true).append(true).open(path).map_err(Error::write(path))?;
        file.set_len(len as u64).map_err(Error::write(path))?;
        Ok((Self { path: path.to_owned(), file }, kept))
    }

    /// Appends a line.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn append(&mut self, value: &impl Serialize) -> Result<(), Error> {
        let invalid = |error| Error::write(&self.path)(std::io::Error::other(error));
        let mut line = serde_json::to_vec(value).map_err(invalid)?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(Error::write(&self.path))
    }

    /// Waits until everything is on the disk.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.file.sync_all().map_err(Error::write(&self.path))
    }
}
