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
use crate::parallel::{self, Collective, Plan, Scattered};
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

/// Watches a run. Of several processes the first one is told what happens, and all of them are
/// asked whether to stop.
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
    for phase in job.phases {
        phase.optimizer.check(job.learner.parameters())?;
    }
    let fingerprint = job.recipe.fingerprint()?;
    let mut state = State { recipe: fingerprint, ..State::default() };
    let mut last = None;
    let mut moments = None;
    let rank = job.group.rank();
    let plan = Plan::new(job.learner.parameters(), job.group.world())?;
    agree(job.group, &state.recipe, from.as_ref())?;
    if let Some(found) = from {
        let is_ours = |name: &str| plan.find(name).is_none_or(|at| plan.owner(at) == rank);
        moments = Some(found.moments(&is_ours)?);
        last = Some(found.path);
        state = State { recipe: state.recipe, ..found.state };
    }
    let position = if state.positions.len() == job.group.world() {
        state.positions.get(rank).cloned()
    } else {
        // Another number of processes divides what nobody has seen.
        data::furthest(&state.positions).cloned()
    };
    // One process writes for all of them.
    let log = if rank == 0 { Some(Log::open(job.directory, state.step)?) } else { None };
    let mut run = Running { job, plan, state, position, log, last };
    let total = run.job.phases.iter().map(|phase| phase.schedule.steps).sum();
    if run.log.is_some() {
        run.job.observer.started(run.state.step, total);
    }
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

/// Refuses processes that would not do the same.
fn agree(group: &mut dyn Collective, recipe: &str, from: Option<&Found>) -> Result<(), Error> {
    let step =
        from.map_or_else(|| "the beginning".to_owned(), |f| format!("step {}", f.state.step));
    let own = format!("{step} of recipe {recipe}");
    let rank = group.rank();
    for (other, found) in group.gather(own.clone().into_bytes().into())?.iter().enumerate() {
        let found = String::from_utf8_lossy(found);
        if found != own {
            let reason = format!(
                "process {rank} starts at {own}, process {other} at {found}; give every process \
                 the same recipe and run directory, on a file system that all of them see"
            );
            return Err(Error::Collective { reason });
        }
    }
    Ok(())
}

/// A run on its way.
struct Running<'a> {
    job: Job<'a>,
    plan: Plan,
    state: State,
    /// Where the data of this process is.
    position: Option<Value>,
    /// What is written, by process 0.
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

    /// Returns whether any process was asked to stop.
    fn is_interrupted(&mut self) -> Result<bool, Error> {
        let own = u64::from(self.job.observer.is_interrupted());
        Ok(parallel::sum(self.job.group, &[own])?[0] > 0)
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
        let group = &mut *self.job.group;
        let mut gradients = Accumulator::new(&self.plan, group);
        let (mut num_samples, mut num_positions, mut num_bad) = (0, 0, 0);
        for _ in 0..phase.batch.accumulation {
            let batch = data.next_batch(phase.batch.micro_batch).map_err(failed)?;
            num_samples += batch.samples.len() as u64;
            num_positions += batch.samples.iter().map(|s| s.layout.len() as u64).sum::<u64>();
            num_bad += batch.bad as u64;
            self.position = Some(batch.position);
            gradients.add(learner, &batch.samples, group)?;
        }
        let step = self.state.step + 1;
        let report = gradients.reduce(group)?;
        for (what, found) in [("loss", report.loss()), ("gradient norm", report.grad_norm)] {
            if !found.is_finite() {
                let last = self.last.clone();
                return Err(Error::NotFinite { what, step, found, last });
            }
        }
        let lr = phase.schedule.lr_at(self.state.phase_step);
        gradients.apply(learner, optimizer, (report.grad_norm, lr), group)?;
        let counts = parallel::sum(group, &[num_samples, num_positions, num_bad])?;
        self.state.step = step;
        self.state.phase_step += 1;
        self.state.samples += counts[0];
        self.state.bad_samples += counts[2];
        let seconds = start.elapsed().as_secs_f64().max(1e-9);
        let metrics = StepMetrics {
            step,
            phase: phase.name.clone(),
            training_loss: report.loss(),
            learning_rate: lr,
            gradient_norm: report.grad_norm,
            samples_per_second: counts[0] as f64 / seconds,
            tokens_per_second: counts[1] as f64 / seconds,
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

    /// Looks at what was held back, where it is time to.
    fn look(&mut self, phase: &Phase, held: &[Vec<Sample>], is_last: bool) -> Result<(), Error> {
        let step = self.state.step;
        let is_due = |every: u64| is_last || (every > 0 && step.is_multiple_of(every));
        let recipe = self.job.recipe;
        if let Some(validation) = &recipe.validation
            && is_due(validation.every)
            && !held.is_empty()
        {
            let loss = self.validate(held)?;
            if let Some(log) = &mut self.log {
                log.validation(step, loss)?;
                self.job.observer.validated(step, loss);
            }
        }
        if let Some(samples) = &recipe.samples
            && is_due(samples.every)
            && let Some(log) = &mut self.log
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

    /// Returns the loss of what was held back; each process looks at some of its batches.
    fn validate(&mut self, held: &[Vec<Sample>]) -> Result<f64, Error> {
        let (rank, world) = (self.job.group.rank(), self.job.group.world());
        let mut losses = vec![0; 2 * held.len()];
        for (at, batch) in held.iter().enumerate().filter(|(at, _)| at % world == rank) {
            let loss = self.job.learner.loss(batch)?;
            losses[2 * at] = u64::from(loss.mean.to_bits());
            losses[2 * at + 1] = loss.num_labels as u64;
        }
        // All others say 0 of a batch.
        let losses = parallel::sum(self.job.group, &losses)?;
        let (mut sum, mut num_labels) = (0.0, 0);
        for loss in losses.chunks_exact(2) {
            sum += f64::from(f32::from_bits(loss[0] as u32)) * loss[1] as f64;
            num_labels += loss[1];
        }
        Ok(sum / num_labels.max(1) as f64)
    }

    fn save(&mut self, optimizer: &AdamW) -> Result<(), Error> {
        let (step, directory) = (self.state.step, self.job.directory);
        self.state.positions = self.positions()?;
        let mut moments = Scattered::new(&self.plan, optimizer, self.job.group)?;
        let path = run::place(directory, step);
        if let Some(log) = &mut self.log {
            log.sync()?;
            let learner = &*self.job.learner;
            let write = &mut |path: &Path| learner.save(path);
            let last = self.last.clone();
            let failed = |source| Error::Save { step, last, source: Box::new(source) };
            run::save(directory, &self.state, &mut moments, write).map_err(failed)?;
            moments.end()?;
            log.picture()?;
            self.job.observer.saved(&path);
            run::prune(directory, self.job.recipe.checkpoints.keep)?;
        } else {
            moments.serve()?;
        }
        self.last = Some(path);
        self.job.group.barrier()
    }

    /// Returns where the data of each process is; nothing at the start of a phase.
    fn positions(&mut self) -> Result<Vec<Value>, Error> {
        let Some(position) = &self.position else { return Ok(Vec::new()) };
        let messages = self.job.group.gather(position.to_string().into_bytes().into())?;
        let read = |message: &bytes::Bytes| {
            serde_json::from_slice(message).map_err(|error| Error::Collective {
                reason: format!("a process sent a position that is none: {error}"),
            })
        };
        messages.iter().map(read).collect()
    }
}
