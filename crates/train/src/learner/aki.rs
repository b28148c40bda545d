//! The learner that is an AKI model.

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use candle_core::cuda::set_gemm_reduced_precision_f32;
use candle_core::{Device, Tensor};
use checkpoint::{Checkpoint, Dtype, ShardPlan, TensorSpec};
use kernels::parallel::{chunks, chunks_mut, for_each};
use model::training::{
    Images, Loss, Precision, RegionLabels, RegionsOf, StepOptions, Trained, TrainingSequence,
};
use model::{Aki, AkiConfig, LoadOptions, Lora, Parameter, Parameters};
use sequence::{AttentionPlan, AttentionPolicy};

use super::{BatchLoss, GradientSink, Learner, ParameterSpec};
use crate::data::{Sample, Target};
use crate::learner::features::EncodedImages;
use crate::learner::lora;
use crate::recipe::{self, ComputeRecipe, LoraRecipe, ModelRecipe, Recipe};
use crate::{Error, pattern};

/// The file of the adapters, which lie beside the weights that they are merged into.
const ADAPTERS: &str = "adapters.safetensors";
/// The most bytes of a file of weights.
const MAX_SHARD: usize = 5_000_000_000;
/// Values that are turned into bytes at once.
const PIECE: usize = 1 << 16;

/// A model and the files that belong to it.
#[derive(Debug)]
pub struct AkiFiles {
    /// The configuration.
    pub config: AkiConfig,
    /// The weights that training starts from.
    pub weights: Checkpoint,
    /// What is written beside the weights, such as the tokenizer: names and contents.
    pub beside: Vec<(String, Vec<u8>)>,
}

/// What of a recipe a learner depends on.
#[derive(Clone, Debug)]
pub struct AkiTraining {
    /// What is trained.
    pub model: ModelRecipe,
    /// How a step computes.
    pub compute: ComputeRecipe,
    /// The adapters.
    pub lora: Option<LoraRecipe>,
    /// Where the random start of the adapters comes from.
    pub seed: u64,
    /// The device that computes.
    pub device: Device,
}

impl From<&Recipe> for AkiTraining {
    fn from(recipe: &Recipe) -> Self {
        let Recipe { seed, model, compute, lora, .. } = recipe.clone();
        Self { model, compute, lora, seed, device: Device::Cpu }
    }
}

/// A model whose trained tensors are f32, and whose frozen ones lie in the mapped file.
#[derive(Debug)]
pub struct AkiLearner {
    aki: Aki,
    parameters: Parameters,
    specs: Vec<ParameterSpec>,
    files: AkiFiles,
    lora: Option<LoraRecipe>,
    policy: AttentionPolicy,
    options: StepOptions,
    images: Option<Mutex<EncodedImages>>,
}

impl AkiLearner {
    /// Loads a model to be trained.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape, or there is no layer for an adapter.
    pub fn load(files: AkiFiles, training: AkiTraining) -> Result<Self, Error> {
        let AkiTraining { model, compute, lora, seed, device } = training;
        let files = AkiFiles { weights: without_blocks(files.weights)?, ..files };
        let is_adapted = |name: &str| lora.as_ref().is_some_and(|lora| lora.is_adapted(name));
        let is_trained = |name: &str| model.is_trained(name) && !is_adapted(name);
        let is_target = |layer: &str| lora.as_ref().is_some_and(|lora| lora.is_target(layer));
        let adapters = lora.as_ref().map(|lora| Lora {
            rank: lora.rank,
            alpha: lora.alpha,
            seed,
            is_target: &is_target,
        });
        let trained = Trained { is_trained: &is_trained, lora: adapters };
        // Elsewhere than on the CPU products are of one type, and what is trained is f32.
        let dtype = (!device.is_cpu()).then_some(Dtype::F32);
        let options = LoadOptions { device, dtype, ..LoadOptions::default() };
        let (aki, parameters) =
            Aki::load_trainable(files.config.clone(), &files.weights, options, &trained)?;
        if let Some(lora) = &lora
            && !parameters.iter().any(|parameter| lora::is_adapter(parameter.name()))
        {
            return Err(Error::NoAdapter { targets: lora.targets.join(", ") });
        }
        let spec = |parameter: &Parameter| ParameterSpec {
            name: parameter.name().to_owned(),
            shape: parameter.shape().to_vec(),
        };
        let specs = parameters.iter().map(spec).collect();
        let options = StepOptions {
            recompute: compute.recompute,
            precision: match compute.precision {
                recipe::Precision::F32 | recipe::Precision::Tf32 => Precision::F32,
                recipe::Precision::Bf16 => Precision::Bf16,
            },
        };
        // For all products of the process, which trains one model.
        set_gemm_reduced_precision_f32(compute.precision == recipe::Precision::Tf32);
        let policy = AttentionPolicy::Causal;
        Ok(Self { aki, parameters, specs, files, lora, policy, options, images: None })
    }

    /// Returns whether the weights alone do not say how training goes on: a learner with adapters
    /// is loaded from what the run started with, and then [restored](Self::restore).
    pub fn has_adapters(&self) -> bool {
        self.lora.is_some()
    }

    /// Takes the values of everything that is trained from a checkpoint.
    ///
    /// # Errors
    /// If the checkpoint lacks something of it.
    pub fn restore(&mut self, directory: &Path) -> Result<(), Error> {
        let weights = Checkpoint::open(directory)?;
        let path = directory.join(ADAPTERS);
        let adapters = if self.lora.is_some() { Some(Checkpoint::open(&path)?) } else { None };
        for parameter in self.parameters.iter() {
            let name = parameter.name();
            let adapter = adapters.as_ref().and_then(|adapters| adapters.tensor(name));
            let Some(tensor) = adapter.or_else(|| weights.tensor(name)) else {
                let reason = format!("`{name}` is missing");
                return Err(Error::Malformed { path: directory.to_owned(), reason });
            };
            let values = tensor.to_f32_vec()?;
            let (expected, found) = (parameter.num_elements(), values.len());
            if found != expected {
                let (path, name) = (directory.to_owned(), name.to_owned());
                return Err(Error::Moments { path, name, expected, found });
            }
            parameter.change(&mut |current| current.copy_from_slice(&values));
        }
        Ok(())
    }

    /// Writes the adapters on their own.
    fn save_adapters(&self, path: &Path) -> Result<(), Error> {
        let adapters = self.parameters.iter().filter(|it| lora::is_adapter(it.name()));
        let tensor = |parameter: &Parameter| {
            let bytes: Vec<u8> = parameter.values().iter().flat_map(|v| v.to_le_bytes()).collect();
            let shape = parameter.shape().to_vec();
            checkpoint::Tensor { dtype: Dtype::F32, shape, bytes: bytes.into() }
        };
        let tensors: Vec<_> = adapters.map(|it| (it.name(), tensor(it))).collect();
        let tensors = tensors.iter().map(|(name, tensor)| (*name, tensor));
        Ok(checkpoint::save_file(path, tensors)?)
    }

    /// Keeps the vision encoder's output for every image in a folder, if the encoder is frozen;
    /// `rank` tells processes apart. Returns whether it is.
    ///
    /// # Errors
    /// If the folder cannot be used.
    pub fn cache_features(&mut self, folder: &Path, rank: usize) -> Result<bool, Error> {
        let is_vision = |spec: &ParameterSpec| pattern::matches("vision_encoder.*", &spec.name);
        let is_frozen = !self.specs.iter().any(is_vision);
        if is_frozen {
            let images = EncodedImages::open(&self.files, folder, rank)?;
            self.images = Some(Mutex::new(images));
        }
        Ok(is_frozen)
    }

    /// Calls `compute` with a micro-batch as the model takes it.
    fn with_batch(
        &self,
        batch: &[Sample],
        compute: impl FnOnce(&[TrainingSequence<'_>], Images<'_>) -> Result<Loss, Error>,
    ) -> Result<BatchLoss, Error> {
        if batch.iter().all(|sample| sample.num_labels() == 0) {
            return Ok(BatchLoss { mean: 0.0, num_labels: 0 });
        }
        let plans: Vec<AttentionPlan> =
            batch.iter().map(|sample| self.policy.plan(&sample.layout)).collect();
        let sequences: Vec<_> = batch
            .iter()
            .zip(&plans)
            .map(|(sample, plan)| TrainingSequence {
                ids: &sample.ids,
                layout: &sample.layout,
                plan,
                labels: &sample.labels,
            })
            .collect();
        self.with_images(batch, |images| compute(&sequences, images))
    }

    /// Calls `compute` with the images of a micro-batch.
    fn with_images(
        &self,
        batch: &[Sample],
        compute: impl FnOnce(Images<'_>) -> Result<Loss, Error>,
    ) -> Result<BatchLoss, Error> {
        let images: Vec<&[f32]> =
            batch.iter().flat_map(|sample| &sample.pixels).map(Vec::as_slice).collect();
        let loss = if let Some(encoded) = self.images.as_ref().filter(|_| !images.is_empty()) {
            let mut encoded = encoded.lock().unwrap_or_else(PoisonError::into_inner);
            let features = encoded.of(&self.aki, &images)?;
            compute(Images::Features(&features))?
        } else {
            compute(Images::Pixels(&stack(&images, &self.aki)?))?
        };
        Ok(BatchLoss { mean: loss.mean, num_labels: loss.num_labels })
    }
}

impl Learner for AkiLearner {
    fn parameters(&self) -> &[ParameterSpec] {
        &self.specs
    }

    fn set_attention(&mut self, policy: AttentionPolicy) {
        self.policy = policy;
    }

    fn gradients(&self, batch: &[Sample], sink: &mut GradientSink<'_>) -> Result<BatchLoss, Error> {
        let (aki, options) = (&self.aki, self.options);
        let mut failed = None;
        let mut take = |name: &str, gradient: Vec<f32>| {
            if failed.is_none() {
                failed = sink(name, gradient).err();
            }
            Ok(())
        };
        let loss = if let Some((of, labels)) = regions(batch) {
            let labels = RegionLabels { of, images: &labels };
            let images =
                |images: Images<'_>| Ok(aki.region_gradients(labels, images, options, &mut take)?);
            self.with_images(batch, images)?
        } else {
            self.with_batch(batch, |sequences, images| {
                Ok(aki.gradients(sequences, images, options, &mut take)?)
            })?
        };
        failed.map_or(Ok(loss), Err)
    }

    fn loss(&self, batch: &[Sample]) -> Result<BatchLoss, Error> {
        let (aki, options) = (&self.aki, self.options);
        if let Some((of, labels)) = regions(batch) {
            let labels = RegionLabels { of, images: &labels };
            return self.with_images(batch, |images| Ok(aki.region_loss(labels, images, options)?));
        }
        self.with_batch(batch, |sequences, images| Ok(aki.loss(sequences, images, options)?))
    }

    fn change(&self, name: &str, change: &mut (dyn FnMut(&mut [f32]) + Send)) -> Result<(), Error> {
        let parameter = self
            .parameters
            .get(name)
            .ok_or_else(|| Error::NoParameter { name: name.to_owned() })?;
        parameter.change(&mut |values| change(values));
        Ok(())
    }

    fn save(&self, directory: &Path) -> Result<(), Error> {
        let stored = &self.files.weights;
        let specs = stored.names().filter_map(|name| {
            let tensor = stored.tensor(name)?;
            let dtype = if self.parameters.get(name).is_some() { Dtype::F32 } else { tensor.dtype };
            Some(TensorSpec { name: name.to_owned(), dtype, shape: tensor.shape.clone() })
        });
        ShardPlan::new(specs, MAX_SHARD)?.write(directory, |spec, sink| -> Result<(), Error> {
            if let Some(parameter) = self.parameters.get(&spec.name) {
                for piece in parameter.values().chunks(PIECE) {
                    let bytes: Vec<u8> = piece.iter().flat_map(|v| v.to_le_bytes()).collect();
                    sink.put(&bytes)?;
                }
                return Ok(());
            }
            let Some(tensor) = stored.tensor(&spec.name) else { return Ok(()) };
            let merged = match &self.lora {
                Some(lora) => lora::merged((&spec.name, tensor), &self.parameters, lora)?,
                None => None,
            };
            Ok(sink.put(&merged.as_ref().unwrap_or(tensor).bytes)?)
        })?;
        if self.lora.is_some() {
            self.save_adapters(&directory.join(ADAPTERS))?;
        }
        let config = ("config.json", Cow::Owned(self.files.config.to_json().into_bytes()));
        let beside = self.files.beside.iter();
        let beside = beside.map(|(name, bytes)| (name.as_str(), Cow::Borrowed(bytes.as_slice())));
        for (name, bytes) in beside.chain([config]) {
            let path = directory.join(name);
            std::fs::write(&path, bytes).map_err(Error::write(&path))?;
        }
        Ok(())
    }

    fn model(&self) -> Option<&Aki> {
        Some(&self.aki)
    }
}

/// Returns weights with bfloat16 in place of blocks of few bits, which cannot be written as
/// safetensors: a run that is gone on with has to compute with what its checkpoint holds.
fn without_blocks(weights: Checkpoint) -> Result<Checkpoint, Error> {
    let mut widened = Vec::new();
    for name in weights.names() {
        let Some(tensor) = weights.tensor(name).filter(|it| it.dtype.block_len() > 1) else {
            continue;
        };
        let tensor = model::widened(tensor.clone()).to_dtype(Dtype::Bf16)?;
        widened.push((name.to_owned(), tensor));
    }
    if widened.is_empty() {
        return Ok(weights);
    }
    Ok(Checkpoint::from_tensors(widened).over(weights))
}

/// Returns the labels of all patches or vision tokens, if those are what a micro-batch is to learn;
/// a micro-batch is of one phase, whose samples are all of one kind.
fn regions(batch: &[Sample]) -> Option<(RegionsOf, Vec<&[Option<u32>]>)> {
    let of = match batch.first()?.target {
        Target::Text => return None,
        Target::Regions => RegionsOf::Patches,
        Target::TokenRegions => RegionsOf::VisionTokens,
    };
    Some((of, batch.iter().map(|sample| sample.labels.get(1..).unwrap_or_default()).collect()))
}

/// Returns pixel values as one tensor. `// [images, 3, size, size]`
pub(super) fn stack(images: &[&[f32]], aki: &Aki) -> Result<Tensor, Error> {
    let size = aki.config().image_size;
    let mut values = kernels::unwritten(images.iter().map(|image| image.len()).sum());
    for_each((chunks_mut(&mut values, 3 * size * size), chunks(images, 1)), 1, |_, (to, from)| {
        to.copy_from_slice(from[0]);
    });
    Ok(Tensor::from_vec(values, (images.len(), 3, size, size), aki.device())?)
}
