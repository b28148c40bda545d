//! The training steps of a golden set, whose numbers the reference implementation gave.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use checkpoint::{Checkpoint, Dtype};
use model::Device;
use prompt::{SpecialTokens, layout_of};
use sequence::{AttentionPolicy, SpanKind, TokenId};
use serde::{Deserialize, Serialize};
use train::Learner;
use train::data::{EncodedText, Sample};
use train::learner::{AkiLearner, AkiTraining};
use train::optimizer::{AdamW, AdamWConfig};
use train::parallel::{Alone, Plan};
use train::recipe::{ComputeRecipe, ModelRecipe, Start};
use train::schedule::{Decay, Schedule};
use train::step::Accumulator;

use super::learner::Origin;
use crate::load::Model;
use crate::output;
use crate::report::Failure;

/// What `train_curve.json` says of the steps.
#[derive(Debug, Deserialize)]
struct Description {
    lr: f64,
    min_lr: f64,
    warmup_steps: u64,
    total_steps: u64,
    weight_decay: f64,
    betas: [f64; 2],
    eps: f64,
    clip_norm: f64,
    accumulation: usize,
    micro_batch: usize,
    frozen: Patterns,
    no_weight_decay: Patterns,
}

/// One pattern of names, or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Patterns {
    One(String),
    Several(Vec<String>),
}

/// What a step gave, in the words of `train_curve.json`.
#[derive(Debug, Serialize)]
struct Point {
    step: u64,
    lr: f64,
    micro_losses: Vec<f32>,
    grad_norm_before_clip: f64,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    losses: Vec<f64>,
    grad_norms: Vec<f64>,
    learning_rates: Vec<f64>,
    curve: Vec<Point>,
}

impl From<Patterns> for Vec<String> {
    fn from(patterns: Patterns) -> Self {
        match patterns {
            Patterns::One(pattern) => vec![pattern],
            Patterns::Several(patterns) => patterns,
        }
    }
}

/// Trains the steps and prints what they gave.
pub(crate) fn run(directory: &Path, json: bool, device: Device) -> Result<()> {
    let path = directory.join("train_curve.json");
    let text = fs::read_to_string(&path);
    let text = text.with_context(|| format!("cannot read `{}`", path.display()))?;
    let description: Description = serde_json::from_str(&text)
        .with_context(|| format!("`{}` does not describe a training curve", path.display()))?;
    let model = directory.join("model");
    let model = Origin::new(Model::Files { dir: model.clone(), weights: model });
    let samples = samples(directory, &model)?;
    let curve = train(&description, (&model, device), &samples)?;
    let loss = |step: &Point| {
        let sum: f64 = step.micro_losses.iter().copied().map(f64::from).sum();
        sum / step.micro_losses.len().max(1) as f64
    };
    let report = Report {
        losses: curve.iter().map(loss).collect(),
        grad_norms: curve.iter().map(|step| step.grad_norm_before_clip).collect(),
        learning_rates: curve.iter().map(|step| step.lr).collect(),
        curve,
    };
    if json {
        return output::json(&report);
    }
    output::line("step  learning rate      loss  gradient norm")?;
    for (step, loss) in report.curve.iter().zip(&report.losses) {
        let Point { step, lr, grad_norm_before_clip: norm, .. } = step;
        output::line(&format!("{step:>4}  {lr:>13.3e}  {loss:>8.5}  {norm:>13.5}"))?;
    }
    Ok(())
}

fn train(
    description: &Description,
    (model, device): (&Origin, Device),
    samples: &[Sample],
) -> Result<Vec<Point>> {
    let recipe = ModelRecipe {
        init: String::new(),
        base: None,
        start: Start::Scratch,
        frozen: description.frozen.clone().into(),
    };
    let files = model.files()?;
    let compute = ComputeRecipe::default();
    let training = AkiTraining { model: recipe, compute, lora: None, seed: 0, device };
    let mut learner = AkiLearner::load(files, training)?;
    learner.set_attention(AttentionPolicy::ModalityMutual);
    let mut optimizer = AdamW::new(AdamWConfig {
        betas: description.betas,
        eps: description.eps,
        weight_decay: description.weight_decay,
        no_weight_decay: description.no_weight_decay.clone().into(),
        clip_norm: description.clip_norm,
        ..AdamWConfig::default()
    });
    let schedule = Schedule {
        decay: Decay::Cosine,
        lr: description.lr,
        min_lr: description.min_lr,
        warmup_steps: description.warmup_steps,
        steps: description.total_steps,
    };
    let plan = Plan::new(learner.parameters(), 1)?;
    let mut curve = Vec::new();
    for step in 0..description.total_steps {
        let mut gradients = Accumulator::new(&plan, &Alone);
        // Every step sees the same samples.
        let batches = samples.chunks(description.micro_batch.max(1)).cycle();
        for batch in batches.take(description.accumulation) {
            gradients.add(&learner, batch, &mut Alone)?;
        }
        let report = gradients.reduce(&mut Alone)?;
        let lr = schedule.lr_at(step);
        gradients.apply(&learner, &mut optimizer, (report.grad_norm, lr), &mut Alone)?;
        let grad_norm_before_clip = report.grad_norm;
        curve.push(Point { step, lr, micro_losses: report.micro_losses, grad_norm_before_clip });
    }
    Ok(curve)
}

/// Reads the samples of `train_batch.safetensors`, one for each row, padding left out.
fn samples(directory: &Path, model: &Origin) -> Result<Vec<Sample>> {
    let config = model.config()?;
    let special = SpecialTokens::find(&model.tokenizer()?)?;
    let path = directory.join("train_batch.safetensors");
    let file = Checkpoint::open(&path)?;
    let (input_ids, labels) = (integers(&file, "input_ids")?, integers(&file, "labels")?);
    let mask = integers(&file, "attention_mask")?;
    let pixels = tensor(&file, "pixel_values")?.to_f32_vec()?;
    let image = pixels.len() / input_ids.len().max(1);
    let mut samples = Vec::with_capacity(input_ids.len());
    for (row, ids) in input_ids.iter().enumerate() {
        let is_text = |at: &usize| mask[row].get(*at).is_some_and(|valid| *valid != 0);
        let places: Vec<usize> = (0..ids.len()).filter(is_text).collect();
        let ids = places.iter().map(|at| u32::try_from(ids[*at]).map(TokenId));
        let ids: Vec<_> = ids.collect::<Result<_, _>>().context("an id of `input_ids`")?;
        let label = |at: &usize| labels[row].get(*at).and_then(|id| u32::try_from(*id).ok());
        let of_ids: Vec<Option<u32>> = places.iter().map(label).collect();
        let layout = layout_of(&ids, None, &special, config.num_vision_tokens)?;
        let mut labels = Vec::with_capacity(layout.len());
        for slot in layout.slots() {
            match slot.kind {
                SpanKind::Image => labels.extend(slot.positions.map(|_| None)),
                _ => labels.extend_from_slice(&of_ids[slot.ids]),
            }
        }
        let own = pixels[row * image..(row + 1) * image].to_vec();
        let text = EncodedText { ids, layout, labels };
        samples.push(Sample::new(format!("row {row}"), text, vec![own]));
    }
    Ok(samples)
}

fn tensor<'f>(file: &'f Checkpoint, name: &str) -> Result<&'f checkpoint::Tensor> {
    let missing = || Failure::new(format!("`{}` has no `{name}`", file.path().display()));
    Ok(file.tensor(name).ok_or_else(missing)?)
}

/// Reads rows of integers.
fn integers(file: &Checkpoint, name: &str) -> Result<Vec<Vec<i64>>> {
    let tensor = tensor(file, name)?;
    let (&[_, width], Dtype::I64) = (tensor.shape.as_slice(), tensor.dtype) else {
        let (shape, dtype) = (&tensor.shape, tensor.dtype);
        let message = format!("`{name}` is {dtype:?} {shape:?}, expected I64 [rows, length]");
        return Err(Failure::new(message).into());
    };
    let values: Vec<_> =
        tensor.bytes.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect();
    Ok(values.chunks(width.max(1)).map(<[i64]>::to_vec).collect())
}
