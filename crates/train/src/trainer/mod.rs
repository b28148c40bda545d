//! The loop: from phase to phase and step to step, with everything that is kept on the way.

mod log;

use std::path::{Path, PathBuf};
use std::time::Instant;

use model::Aki;
use sequence::AttentionPolicy;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::log::Log;
use crate::data::{self, Sample};
use crate::optimizer::AdamW;
use crate::parallel::Collective;
use crate::recipe::{Phase, Recipe, SamplesRecipe};
use crate::run::{self, Found, State, StepMetrics};
use crate::step::Accumulator;
use crate::{Error, Learner};

/// Samples of one micro-batch.
#[derive(Clone, Debug, Default)]
pub struct FedBatch {
    /// The samples.
    pub samples: Vec<Sample>,
    /// How many could not be used and were replaced.
    pub bad: usize,
    /// Where the data is after this batch.
    pub position: Value,
}

/// A stream of micro-batches.
pub trait Batches {
    /// Returns the next samples.
    ///
    /// # Errors
    /// If the data cannot be read on.
    fn next_batch(&mut self, len: usize) -> Result<FedBatch, data::Error>;
}

/// Opens the data of a run's phases.
pub trait Feed {
    /// Opens the data of a phase, at a position if there is one.
    ///
    /// # Errors
    /// If a file is missing or not what it should be.
    fn open(
        &mut self,
        phase: &Phase,
        index: usize,
        position: Option<&Value>,
    ) -> Result<Box<dyn Batches>, data::Error>;

    /// Returns the micro-batches that validation looks at, the same ones every time.
    ///
    /// # Errors
    /// If a file is missing or not what it should be.
    fn validation(&mut self, phase: &Phase) -> Result<Vec<Vec<Sample>>, data::Error> {
        let _ = phase;
        Ok(Vec::new())
    }
}

/// What the model answered on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The picture.
    pub image: PathBuf,
    /// What was asked.
    pub question: String,
    /// What it answered.
    pub answer: String,
}

/// Why an observer failed.
pub type ObserverError = Box<dyn std::error::Error + Send + Sync>;

/// Watches a run.
pub trait Observer {
    /// Is called when a run starts at a step of `total`.
    fn started(&mut self, step: u64, total: u64) {
        let _ = (step, total);
    }

    /// Is called after every step.
    fn step(&mut self, metrics: &StepMetrics) {
        let _ = metrics;
    }

    /// Is called after validation.
    fn validated(&mut self, step: u64, loss: f64) {
        let _ = (step, loss);
    }

    /// Is called when a checkpoint is complete.
    fn saved(&mut self, path: &Path) {
        let _ = path;
    }

    /// Returns whether the run should write a checkpoint and stop.
    fn is_interrupted(&mut self) -> bool {
        false
    }

    /// Lets the model answer.
    ///
    /// # Errors
    /// If it cannot.
    fn answers(
        &mut self,
        model: &Aki,
        policy: AttentionPolicy,
        what: &SamplesRecipe,
    ) -> Result<Vec<Answer>, ObserverError> {
        let _ = (model, policy, what);
        Ok(Vec::new())
    }
}

/// What a run works with.
pub struct Job<'a> {
    /// Where everything is written.
    pub directory: &'a Path,
    /// The resolved recipe.
    pub recipe: &'a Recipe,
    /// Its phases.
    pub phases: &'a [Phase],
    /// The model.
    pub learner: &'a mut dyn Learner,
    /// The data.
    pub feed: &'a mut dyn Feed,
    /// Who watches.
    pub observer: &'a mut dyn Observer,
    /// The processes that train together.
    pub group: &'a mut dyn Collective,
}

impl std::fmt::Debug for Job<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The steps done.
    pub step: u64,
    /// Whether all of them are.
    pub is_finished: bool,
    /// The newest checkpoint.
    pub checkpoint: Option<PathBuf>,
    /// The losses of all steps, those of earlier processes too.
    pub losses: Vec<f64>,
}

/// Trains, from the beginning or from a checkpoint that the learner was loaded from.
///
/// # Errors
/// If the data, the model or the disk fails, or the loss is not a number.
pub fn train(job: Job<'_>, from: Option<Found>) -> Result<Outcome, Error> {
    if job.learner.parameters().is_empty() {
        return Err(Error::NothingTrained { patterns: job.recipe.model.frozen.join(", ") });
    }
    let fingerprint = job.recipe.fingerprint()?;
    let mut state = State { recipe: fingerprint, ..State::default() };
    let mut last = None;
    let mut moments = None;
    if let Some(found) = from {
        moments = Some(found.moments()?);
        last = Some(found.path);
        state = State { recipe: state.recipe, ..found.state };
    }
    let (rank, world) = (job.group.rank(), job.group.world());
    let expected = state.positions.len();
    if expected > 0 && expected != world {
        return Err(Error::Processes { expected, found: world });
    }
    let position = state.positions.get(rank).cloned();
    let log = if rank == 0 { Some(Log::open(job.directory, state.step)?) } else { None };
    let mut run = Running { job, state, position, log, last };
    let total = run.job.phases.iter().map(|phase| phase.schedule.steps).sum();
    run.job.observer.started(run.state.step, total);
    while run.state.phase < run.job.phases.len() {
        let phase = run.job.phases[run.state.phase].clone();
        let mut optimizer = AdamW::new(phase.optimizer.clone());
        if let Some(moments) = moments.take() {
            run.check(&moments)?;
            optimizer.restore(moments);
        }
        if !run.phase(&phase, &mut optimizer)? {
            return Ok(run.outcome(false));
        }
    }
    if let Some(log) = &run.log {
        log.picture()?;
    }
    Ok(run.outcome(true))
}

/// A run on its way.
struct Running<'a> {
    job: Job<'a>,
    state: State,
    /// Where the data of this process is.
    position: Option<Value>,
    /// What is written, by one of the processes.
    log: Option<Log>,
    last: Option<PathBuf>,
}

impl Running<'_> {
    fn outcome(self, is_finished: bool) -> Outcome {
        Outcome {
            step: self.state.step,
            is_finished,
            checkpoint: self.last,
            losses: self.log.map_or_else(Vec::new, |log| log.losses()),
        }
    }

    /// Refuses moments of another model.
    fn check(
        &self,
        moments: &std::collections::BTreeMap<String, crate::optimizer::Moments>,
    ) -> Result<(), Error> {
        for parameter in self.job.learner.parameters() {
            let expected = parameter.num_elements();
            if let Some(found) = moments.get(&parameter.name).map(|moment| moment.first.len())
                && found != expected
            {
                let path = self.last.clone().unwrap_or_default();
                return Err(Error::Moments { path, name: parameter.name.clone(), expected, found });
            }
        }
        Ok(())
    }

    /// Does the rest of a phase; returns whether it was not interrupted.
    fn phase(&mut self, phase: &Phase, optimizer: &mut AdamW) -> Result<bool, Error> {
        let failed = |source| Error::Data { phase: phase.name.clone(), source };
        self.job.learner.set_attention(phase.stage.attention);
        let feed = &mut self.job.feed;
        let held = feed.validation(phase).map_err(failed)?;
        let position = self.position.as_ref();
        let mut data = feed.open(phase, self.state.phase, position).map_err(failed)?;
        let every = self.job.recipe.checkpoints.every;
        while self.state.phase_step < phase.schedule.steps {
            self.step(phase, optimizer, &mut *data)?;
            let is_last = self.state.phase_step == phase.schedule.steps;
            self.look(phase, &held, is_last)?;
            let is_interrupted = self.is_interrupted()?;
            if is_last {
                self.state.phase += 1;
                self.state.phase_step = 0;
                self.position = None;
                // The next phase has an optimizer of its own.
                self.save(&AdamW::new(optimizer.config().clone()))?;
                return Ok(!is_interrupted || self.state.phase == self.job.phases.len());
            }
            if is_interrupted || self.state.step.is_multiple_of(every) {
                self.save(optimizer)?;
            }
            if is_interrupted {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn step(
        &mut self,
        phase: &Phase,
        optimizer: &mut AdamW,
        data: &mut dyn Batches,
    ) -> Result<(), Error> {
        let start = Instant::now();
        let failed = |source| Error::Data { phase: phase.name.clone(), source };
        let learner = &*self.job.learner;
        let mut gradients = Accumulator::default();
        let (mut num_samples, mut num_positions) = (0, 0);
        for _ in 0..phase.batch.accumulation {
            let batch = data.next_batch(phase.batch.micro_batch).map_err(failed)?;
            num_samples += batch.samples.len() as u64;
            num_positions += batch.samples.iter().map(|sample| sample.layout.len()).sum::<usize>();
            self.state.bad_samples += batch.bad as u64;
            self.position = Some(batch.position);
            gradients.add(learner, &batch.samples)?;
        }
        let step = self.state.step + 1;
        let report = gradients.reduce(learner, self.job.group)?;
        for (what, found) in [("loss", report.loss()), ("gradient norm", report.grad_norm)] {
            if !found.is_finite() {
                let last = self.last.clone();
                return Err(Error::NotFinite { what, step, found, last });
            }
        }
        let lr = phase.schedule.lr_at(self.state.phase_step);
        gradients.apply(learner, optimizer, (report.grad_norm, lr))?;
        let world = self.job.group.world() as u64;
        self.state.step = step;
        self.state.phase_step += 1;
        self.state.samples += num_samples * world;
        let seconds = start.elapsed().as_secs_f64().max(1e-9);
        let metrics = StepMetrics {
            step,
            phase: phase.name.clone(),
            training_loss: report.loss(),
            learning_rate: lr,
            gradient_norm: report.grad_norm,
            samples_per_second: (num_samples * world) as f64 / seconds,
            tokens_per_second: (num_positions as u64 * world) as f64 / seconds,
            bad_samples: self.state.bad_samples,
            samples: self.state.samples,
            time: log::now(),
        };
        if let Some(log) = &mut self.log {
            log.step(&metrics)?;
            self.job.observer.step(&metrics);
        }
        Ok(())
    }

    /// Returns whether any of the processes is to stop.
    fn is_interrupted(&mut self) -> Result<bool, Error> {
        let mut votes = [f32::from(u8::from(self.job.observer.is_interrupted()))];
        self.job.group.all_reduce_sum(&mut votes)?;
        Ok(votes[0] > 0.0)
    }

    /// Looks at what was held back, where it is time to.
    fn look(&mut self, phase: &Phase, held: &[Vec<Sample>], is_last: bool) -> Result<(), Error> {
        let Some(log) = &mut self.log else { return Ok(()) };
        let step = self.state.step;
        let is_due = |every: u64| is_last || (every > 0 && step.is_multiple_of(every));
        let recipe = self.job.recipe;
        if let Some(validation) = &recipe.validation
            && is_due(validation.every)
            && !held.is_empty()
        {
            let (mut sum, mut num_labels) = (0.0, 0);
            for batch in held {
                let loss = self.job.learner.loss(batch)?;
                sum += f64::from(loss.mean) * loss.num_labels as f64;
                num_labels += loss.num_labels;
            }
            let loss = sum / num_labels.max(1) as f64;
            log.validation(step, loss)?;
            self.job.observer.validated(step, loss);
        }
        if let Some(samples) = &recipe.samples
            && is_due(samples.every)
            && let Some(model) = self.job.learner.model()
        {
            let failed = |source| Error::Observer { what: "generating samples", source };
            let observer = &mut self.job.observer;
            let answers =
                observer.answers(model, phase.stage.attention, samples).map_err(failed)?;
            log.answers(step, &answers)?;
        }
        Ok(())
    }

    fn save(&mut self, optimizer: &AdamW) -> Result<(), Error> {
        self.state.positions = match &self.position {
            Some(position) => gather(self.job.group, position)?,
            None => Vec::new(),
        };
        if let Some(log) = &mut self.log {
            log.sync()?;
            let directory = self.job.directory;
            let learner = &*self.job.learner;
            let write = &mut |path: &Path| learner.save(path);
            let step = self.state.step;
            let failed =
                |source| Error::Save { step, last: self.last.clone(), source: Box::new(source) };
            let path =
                run::save(directory, &self.state, optimizer.moments(), write).map_err(failed)?;
            log.picture()?;
            self.job.observer.saved(&path);
            self.last = Some(path);
            run::prune(directory, self.job.recipe.checkpoints.keep)?;
        }
        self.job.group.barrier()
    }
}

/// Returns the values of all processes, in their order.
fn gather(group: &mut dyn Collective, value: &Value) -> Result<Vec<Value>, Error> {
    let own = value.to_string().into_bytes();
    let mut values = Vec::with_capacity(group.world());
    for root in 0..group.world() {
        let is_own = group.rank() == root;
        let mut len = if is_own { (own.len() as u64).to_le_bytes() } else { [0; 8] };
        group.broadcast(&mut len, root)?;
        let len = usize::try_from(u64::from_le_bytes(len)).unwrap_or(usize::MAX);
        let mut bytes = if is_own { own.clone() } else { vec![0; len] };
        group.broadcast(&mut bytes, root)?;
        values.push(serde_json::from_slice(&bytes).map_err(|error| Error::Collective {
            reason: format!("process {root} sent a position that is none: {error}"),
        })?);
    }
    Ok(values)
}
