//! A whole run as one TOML file: typed, complete, unknown keys refused.
//!
//! [`Recipe::open`] reads a file, [`Recipe::resolve`] makes it complete: every phase says everything
//! about itself. What it makes is written into the run's directory and is a recipe again.

mod read;

use std::path::PathBuf;

use sequence::AttentionPolicy;
use serde::{Deserialize, Serialize};

use crate::data::{BoxHandling, SegmentOrder};
use crate::optimizer::AdamWConfig;
use crate::pattern;
use crate::schedule::Schedule;

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Where every random choice starts.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// What is trained.
    pub model: ModelRecipe,
    /// How a step computes.
    #[serde(default)]
    pub compute: ComputeRecipe,
    /// When checkpoints are written, and how many are kept.
    #[serde(default)]
    pub checkpoints: CheckpointRecipe,
    /// What is learned, where there is one phase or all phases have it in common.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// How much a step sees, in common.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
    /// The learning rates, in common.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// The optimizer, in common.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<AdamWConfig>,
    /// Where the samples come from, in common.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<DataRecipe>,
    /// Small matrices that are trained in place of the weights they are added to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraRecipe>,
    /// Loss on samples that are not trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<ValidationRecipe>,
    /// Answers that are generated now and then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<SamplesRecipe>,
    /// What is done one after the other; each has an optimizer and a schedule of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<PhaseRecipe>,
}

fn default_seed() -> u64 {
    42
}

/// Which model is trained, and what of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRecipe {
    /// A directory, a file, a hub id, `miniature` or a run.
    pub init: String,
    /// The model that has what `init` lacks, where that is a file of trained tensors only: other
    /// tensors, the configuration and the tokenizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// What of it is taken up.
    #[serde(default)]
    pub start: Start,
    /// Which tensors stay as they are.
    #[serde(default = "default_frozen")]
    pub frozen: Vec<String>,
}

fn default_frozen() -> Vec<String> {
    vec!["vision_encoder.*".to_owned()]
}

impl Recipe {
    /// Returns whether a tensor of the model is trained: one that has no adapter.
    pub fn is_trained(&self, name: &str) -> bool {
        let is_adapted = self.lora.as_ref().is_some_and(|lora| lora.is_adapted(name));
        self.model.is_trained(name) && !is_adapted
    }
}

impl ModelRecipe {
    /// Returns whether a tensor is not frozen.
    pub fn is_trained(&self, name: &str) -> bool {
        !pattern::matches_any(&self.frozen, name)
    }
}

/// Small matrices that are trained in place of the weights they are added to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraRecipe {
    /// The inner width of the small matrices.
    pub rank: usize,
    /// What their product is multiplied with, times the rank.
    pub alpha: f64,
    /// Which weights they are added to.
    pub targets: Vec<String>,
}

/// What a run takes of the checkpoint that it starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// The weights.
    #[default]
    Scratch,
    /// The weights of a pre-training checkpoint.
    SftScratch,
    /// Weights, moments, schedule and position of a checkpoint of the same recipe.
    SftResume,
}

/// What a phase learns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The form of the text.
    pub kind: StageKind,
    /// Who may read whom.
    #[serde(with = "policy")]
    pub attention: AttentionPolicy,
    /// Whether the image comes before the text.
    #[serde(default)]
    pub order: SegmentOrder,
    /// The most tokens of a text; 128 for captions and 512 for instructions if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_text_tokens: Option<usize>,
    /// Whether pictures are seen in random views.
    #[serde(default = "yes")]
    pub augment: bool,
    /// What random views do to boxes.
    #[serde(default)]
    pub augment_boxes: BoxHandling,
}

fn yes() -> bool {
    true
}

impl Stage {
    /// Returns the most tokens of a text.
    pub fn max_text_tokens(&self) -> usize {
        self.max_text_tokens.unwrap_or(match self.kind {
            StageKind::Captions | StageKind::Regions | StageKind::TokenRegions => 128,
            StageKind::Instructions => 512,
        })
    }
}

/// The form of the text that a phase learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageKind {
    /// Pictures and what they show.
    Captions,
    /// Pictures and what each region of them shows: every patch names what it is a part of, with the
    /// decoder's layers left out. It is not one of the paper's stages: it is for a vision encoder
    /// that has no pretrained weights.
    Regions,
    /// The same for the vision tokens, each of which names what its part of the picture shows: for a
    /// connector that has no pretrained weights, behind an encoder that has.
    TokenRegions,
    /// Questions and answers.
    Instructions,
}

/// How much a step sees: `micro_batch * accumulation` samples in every process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// The samples of one pass.
    pub micro_batch: usize,
    /// The passes of one step.
    #[serde(default = "one")]
    pub accumulation: usize,
}

fn one() -> usize {
    1
}

/// Where samples come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRecipe {
    /// Which data set it is: `kale`, `ocr`, `grounding` or `captions` in shards, or one of the
    /// instruction sets.
    pub name: String,
    /// How often samples are taken from it, in proportion to the others.
    #[serde(default = "default_weight")]
    pub weight: f64,
    /// The `WebDataset` shards, with brace patterns: files or addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shards: Vec<String>,
    /// The annotation files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<PathBuf>,
    /// The folder of the pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<PathBuf>,
    /// How many questions about one picture, at most, are turns of one sample, as in the training
    /// data of `LLaVA`-1.5 (arXiv 2310.03744, section 3.3): a picture is then paid for once. 1, as
    /// in the paper, if left out.
    #[serde(default = "single", skip_serializing_if = "is_single")]
    pub turns: usize,
}

fn single() -> usize {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_single(turns: &usize) -> bool {
    *turns == 1
}

fn default_weight() -> f64 {
    1.0
}

/// One phase of a run; what it leaves out it has in common with the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhaseRecipe {
    /// What it is called in logs.
    pub name: String,
    /// What is learned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// How much a step sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
    /// The learning rates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// The optimizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<AdamWConfig>,
    /// Where the samples come from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<DataRecipe>,
}

/// The number type that linear layers compute in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 32 bits, of whose fractions an NVIDIA card multiplies the first ten: TF32. As f32 elsewhere.
    Tf32,
    /// Operands are rounded to bfloat16; the weights themselves stay f32.
    Bf16,
}

/// How a step computes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ComputeRecipe {
    /// The number type of linear layers.
    pub precision: Precision,
    /// Whether activations inside a block are computed again instead of kept.
    pub recompute: bool,
    /// How many threads make samples; a few by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loader_threads: Option<usize>,
    /// The folder that keeps the features of a frozen vision encoder, where pictures are not seen
    /// in random views; nowhere by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature_cache: Option<PathBuf>,
}

/// When checkpoints are written, and how many are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointRecipe {
    /// The steps between two; there is one at the end of every phase too.
    pub every: u64,
    /// How many are kept.
    pub keep: usize,
}

impl Default for CheckpointRecipe {
    fn default() -> Self {
        Self { every: 1000, keep: 3 }
    }
}

/// Loss on samples that are not trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationRecipe {
    /// The steps between two.
    pub every: u64,
    /// How many micro-batches are looked at, the same ones every time.
    pub batches: usize,
    /// Where the samples come from.
    pub data: Vec<DataRecipe>,
}

/// Answers that are generated now and then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplesRecipe {
    /// The steps between two.
    pub every: u64,
    /// The pictures.
    pub images: Vec<PathBuf>,
    /// What is asked about each of them.
    #[serde(default = "default_question")]
    pub question: String,
    /// The most tokens of an answer.
    #[serde(default = "default_answer")]
    pub max_new_tokens: usize,
}

fn default_question() -> String {
    "Describe the scene of this image.".to_owned()
}

fn default_answer() -> usize {
    64
}

/// A phase that says everything about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// What it is called in logs.
    pub name: String,
    /// What is learned.
    pub stage: Stage,
    /// How much a step sees.
    pub batch: Batch,
    /// The learning rates.
    pub schedule: Schedule,
    /// The optimizer.
    pub optimizer: AdamWConfig,
    /// Where the samples come from.
    pub data: Vec<DataRecipe>,
}

mod policy {
    use sequence::AttentionPolicy;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
    pub(super) fn serialize<S: Serializer>(
        policy: &AttentionPolicy,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(policy.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<AttentionPolicy, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
