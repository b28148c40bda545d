//! Everything that a run writes beside its checkpoints.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::Answer;
use crate::Error;
use crate::run::{EventFile, METRICS, Metrics, StepMetrics, svg};

/// The files that grow while a run goes on.
pub(super) struct Log {
    directory: PathBuf,
    metrics: Metrics,
    samples: Metrics,
    events: EventFile,
    training: Vec<(u64, f64)>,
    validation: Vec<(u64, f64)>,
}

/// Returns the seconds since 1970.
pub(super) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

impl Log {
    /// Opens the files of a run that has done `step` steps.
    pub(super) fn open(directory: &Path, step: u64) -> Result<Self, Error> {
        let (metrics, lines) = Metrics::open(&directory.join(METRICS), step)?;
        let (samples, _) = Metrics::open(&directory.join("samples.jsonl"), step)?;
        let values = |key: &str| {
            let points =
                lines.iter().filter_map(|line| Some((line["step"].as_u64()?, line[key].as_f64()?)));
            points.collect()
        };
        Ok(Self {
            directory: directory.to_owned(),
            training: values("training_loss"),
            validation: values("validation_loss"),
            metrics,
            samples,
            events: EventFile::create(directory, now(), step + 1)?,
        })
    }

    pub(super) fn step(&mut self, metrics: &StepMetrics) -> Result<(), Error> {
        self.training.push((metrics.step, metrics.training_loss));
        self.metrics.append(metrics)?;
        self.events.scalars(metrics.time, metrics.step, &metrics.scalars())
    }

    pub(super) fn validation(&mut self, step: u64, loss: f64) -> Result<(), Error> {
        self.validation.push((step, loss));
        self.metrics.append(&json!({ "step": step, "validation_loss": loss, "time": now() }))?;
        self.events.scalars(now(), step, &[("validation_loss", loss)])
    }

    pub(super) fn answers(&mut self, step: u64, answers: &[Answer]) -> Result<(), Error> {
        for Answer { image, question, answer } in answers {
            self.samples.append(
                &json!({ "step": step, "image": image, "question": question, "answer": answer }),
            )?;
        }
        Ok(())
    }

    /// Waits until everything is on the disk.
    pub(super) fn sync(&mut self) -> Result<(), Error> {
        self.metrics.sync()?;
        self.samples.sync()
    }

    /// Draws the losses.
    pub(super) fn picture(&self) -> Result<(), Error> {
        let path = self.directory.join("loss.svg");
        let unfinished = path.with_extension("svg.tmp");
        // The old one stays if the disk is full.
        let drawn = std::fs::write(&unfinished, svg(&self.training, &self.validation))
            .and_then(|()| std::fs::rename(&unfinished, &path));
        if drawn.is_err() {
            // It frees the space, and the error is what matters.
            let _ = std::fs::remove_file(&unfinished);
        }
        drawn.map_err(Error::write(&path))
    }

    /// Returns the losses of all steps.
    pub(super) fn losses(&self) -> Vec<f64> {
        self.training.iter().map(|(_, loss)| *loss).collect()
    }
}
