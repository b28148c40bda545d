//! A model of three vectors, data without files, and a watcher that can interrupt.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use checkpoint::{Bytes, Checkpoint, Dtype, Tensor};
use sequence::{AttentionPolicy, Layout, Role, TokenId};
use serde_json::{Value, json};
use train::data::{self, Sample, Share, Target};
use train::learner::{BatchLoss, GradientSink, ParameterSpec};
use train::parallel::{Alone, Collective};
use train::recipe::{Phase, Recipe};
use train::run::{Found, StepMetrics};
use train::trainer::{Batches, FedBatch, Feed, Job, Observer, Outcome, train};
use train::{Error, Learner};

/// Learns to map the first id of a sample to the second, badly.
#[derive(Debug)]
pub(crate) struct Toy {
    specs: Vec<ParameterSpec>,
    values: RefCell<BTreeMap<String, Vec<f32>>>,
    /// The loss becomes NaN at this call.
    pub(crate) breaks_at: Option<usize>,
    /// Saving fails once this many times it worked.
    pub(crate) saves: RefCell<usize>,
    calls: RefCell<usize>,
}

impl Toy {
    pub(crate) fn new() -> Self {
        let spec =
            |name: &str, len: usize| ParameterSpec { name: name.to_owned(), shape: vec![len] };
        let specs = vec![
            spec("lang_model.model.embed_tokens.weight", 16),
            spec("rare", 3),
            spec("scale", 16),
        ];
        let values = specs.iter().map(|spec| {
            let values = (0..spec.num_elements()).map(|i| (i as f32 * 0.37).sin()).collect();
            (spec.name.clone(), values)
        });
        let values = RefCell::new(values.collect());
        let saves = RefCell::new(usize::MAX);
        Self { specs, values, breaks_at: None, saves, calls: RefCell::default() }
    }

    /// Loads what [`Learner::save`] wrote.
    pub(crate) fn load(directory: &Path) -> Self {
        let checkpoint = Checkpoint::open(directory).expect("it is complete");
        let toy = Self::new();
        for (name, values) in toy.values.borrow_mut().iter_mut() {
            *values = checkpoint.tensor(name).expect("saved").to_f32_vec().expect("f32");
        }
        toy
    }

    pub(crate) fn bits(&self) -> Vec<u32> {
        self.values.borrow().values().flatten().map(|value| value.to_bits()).collect()
    }
}

impl Learner for Toy {
    fn parameters(&self) -> &[ParameterSpec] {
        &self.specs
    }

    fn set_attention(&mut self, _: AttentionPolicy) {}

    fn gradients(&self, batch: &[Sample], sink: &mut GradientSink<'_>) -> Result<BatchLoss, Error> {
        *self.calls.borrow_mut() += 1;
        let values = self.values.borrow();
        let [table, rare, scale] = [0, 1, 2].map(|at| &values[&self.specs[at].name]);
        let mut grads = [vec![0.0; 16], vec![0.0; 3], vec![0.0; 16]];
        let mut is_rare = false;
        let mut sum = 0.0;
        for sample in batch {
            let (from, to) = (sample.ids[0].0 as usize % 16, sample.ids[1].0 as f32 / 100.0);
            // Most batches give this parameter no gradient.
            let more = if from == 3 { rare[1] } else { 0.0 };
            let error = table[from] * scale[from] + more - to;
            sum += error * error;
            let share = 2.0 * error / batch.len() as f32;
            grads[0][from] += share * scale[from];
            grads[2][from] += share * table[from];
            if from == 3 {
                is_rare = true;
                grads[1][1] += share;
            }
        }
        // As in a backward pass, the last ones first.
        for (spec, grad) in self.specs.iter().zip(grads).rev() {
            if spec.name != "rare" || is_rare {
                sink(&spec.name, grad)?;
            }
        }
        let broken = self.breaks_at == Some(*self.calls.borrow());
        let mean = if broken { f32::NAN } else { sum / batch.len() as f32 };
        Ok(BatchLoss { mean, num_labels: batch.len() })
    }

    fn loss(&self, batch: &[Sample]) -> Result<BatchLoss, Error> {
        let before = *self.calls.borrow();
        let loss = self.gradients(batch, &mut |_, _| Ok(()));
        *self.calls.borrow_mut() = before;
        loss
    }

    fn change(&self, name: &str, change: &mut (dyn FnMut(&mut [f32]) + Send)) -> Result<(), Error> {
        let mut values = self.values.borrow_mut();
        change(values.get_mut(name).expect("a parameter"));
        Ok(())
    }

    fn save(&self, directory: &Path) -> Result<(), Error> {
        let tensor = |values: &Vec<f32>| Tensor {
            dtype: Dtype::F32,
            shape: vec![values.len()],
            bytes: Bytes::from(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>()),
        };
        let values = self.values.borrow();
        let tensors: Vec<_> = values.iter().map(|(name, v)| (name.as_str(), tensor(v))).collect();
        let tensors = tensors.iter().map(|(name, tensor)| (*name, tensor));
        checkpoint::save(directory, tensors, usize::MAX)?;
        let mut saves = self.saves.borrow_mut();
        if *saves == 0 {
            let path = directory.join("model.safetensors");
            return Err(checkpoint::Error::DiskFull { path, needed: 128 }.into());
        }
        *saves -= 1;
        Ok(())
    }
}

/// Samples by number; some cannot be used, others are for other processes.
pub(crate) struct Feeder {
    /// Every so many samples one is bad; none if it is 0.
    pub(crate) bad_every: u64,
    pub(crate) share: Share,
}

impl Default for Feeder {
    fn default() -> Self {
        Self { bad_every: 7, share: Share { index: 0, count: 1, block: 3 } }
    }
}

struct Numbers {
    next: u64,
    bad_every: u64,
    share: Share,
}

impl Batches for Numbers {
    fn next_batch(&mut self, len: usize) -> Result<FedBatch, data::Error> {
        let mut batch = FedBatch::default();
        while batch.samples.len() < len {
            let block = self.next / self.share.block as u64;
            self.next += 1;
            if block % self.share.count as u64 != self.share.index as u64 {
                continue;
            }
            if self.bad_every > 0 && self.next.is_multiple_of(self.bad_every) {
                batch.bad += 1;
                continue;
            }
            let id = |n: u64| TokenId((n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u32 % 100);
            batch.samples.push(Sample {
                key: format!("numbers/{}", self.next),
                ids: vec![id(self.next), id(self.next * 31)],
                layout: Layout::new().text(Role::User, 2),
                labels: vec![None, Some(1)],
                pixels: Vec::new(),
                target: Target::Text,
            });
        }
        batch.position = json!({ "next": self.next });
        Ok(batch)
    }
}

impl Feed for Feeder {
    fn open(
        &mut self,
        _: &Phase,
        index: usize,
        position: Option<&Value>,
    ) -> Result<Box<dyn Batches>, data::Error> {
        let start = index as u64 * 9000;
        let next = position.map_or(start, |p| p["next"].as_u64().expect("a number"));
        Ok(Box::new(Numbers { next, bad_every: self.bad_every, share: self.share }))
    }

    fn validation(&mut self, _: &Phase) -> Result<Vec<Vec<Sample>>, data::Error> {
        let mut numbers = Numbers { next: 1 << 32, bad_every: 7, share: Self::default().share };
        (0..3).map(|_| Ok(numbers.next_batch(4)?.samples)).collect()
    }
}

/// Interrupts after some steps, and remembers what it saw.
#[derive(Default)]
pub(crate) struct Watch {
    /// After how many steps.
    pub(crate) stop_at: Option<u64>,
    /// How often it was asked whether to stop.
    pub(crate) asked: u64,
    pub(crate) steps: Vec<StepMetrics>,
    pub(crate) saved: Vec<PathBuf>,
}

impl Observer for Watch {
    fn step(&mut self, metrics: &StepMetrics) {
        self.steps.push(metrics.clone());
    }

    fn saved(&mut self, path: &Path) {
        self.saved.push(path.to_owned());
    }

    fn is_interrupted(&mut self) -> bool {
        self.asked += 1;
        Some(self.asked) == self.stop_at
    }
}

/// A recipe of two phases of 10 and 8 steps.
pub(crate) const RECIPE: &str = r#"
[model]
init = "nothing"
[checkpoints]
every = 4
keep = 2
[batch]
micro_batch = 3
accumulation = 2
[[data]]
name = "kale"
[validation]
every = 5
batches = 1
data = [{ name = "kale" }]
[[phases]]
name = "first"
stage = { kind = "captions", attention = "causal", order = "text-image" }
schedule = { lr = 0.05, min_lr = 0.001, warmup_steps = 2, steps = 10 }
[[phases]]
name = "second"
stage = { kind = "instructions", attention = "mutual" }
schedule = { lr = 0.02, decay = "linear", steps = 8 }
optimizer = { weight_decay = 0.1 }
"#;

/// Trains the toy.
pub(crate) fn run(
    directory: &Path,
    toy: &mut Toy,
    watch: &mut Watch,
    from: Option<Found>,
) -> Result<Outcome, Error> {
    run_with((directory, &[], &mut Feeder::default()), toy, watch, from, &mut Alone)
}

/// Trains the toy with other settings, among others.
pub(crate) fn run_with(
    (directory, settings, feed): (&Path, &[String], &mut Feeder),
    toy: &mut Toy,
    watch: &mut Watch,
    from: Option<Found>,
    group: &mut dyn Collective,
) -> Result<Outcome, Error> {
    let recipe = Recipe::parse(RECIPE, "recipe.toml", settings)?;
    let (recipe, phases) = recipe.resolve()?;
    let job = Job {
        directory,
        recipe: &recipe,
        phases: &phases,
        learner: toy,
        feed,
        observer: watch,
        group,
    };
    train(job, from)
}
