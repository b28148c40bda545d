//! Steps of training, of two decoders whose size others can be given too.

use anyhow::Result;
use checkpoint::{Bytes, Checkpoint, Dtype};
use model::{AkiConfig, Device};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sequence::{AttentionPolicy, Layout, Role, TokenId};
use serde_json::json;
use train::Learner;
use train::data::{Sample, Target};
use train::learner::{AkiFiles, AkiLearner, AkiTraining};
use train::optimizer::{AdamW, AdamWConfig};
use train::parallel::{Alone, Plan};
use train::recipe::{ComputeRecipe, ModelRecipe, Precision, Start};
use train::step::Accumulator;

use crate::args::DecoderSize;

use super::measure::{Row, peak_memory, reset_peak_memory, row, seconds};

const HEADS: usize = 8;
const VOCAB_SIZE: usize = 4096;
/// The texts of a step, and the tokens of a text.
const BATCH: (usize, usize) = (16, 192);

/// A phi3-shaped decoder. Its gated layer has as many weights as a plain one of four times the
/// width.
struct Decoder {
    size: DecoderSize,
    name: &'static str,
    width: usize,
    layers: usize,
    inner: usize,
}

const DECODERS: [Decoder; 2] = [
    Decoder { size: DecoderSize::Small, name: "7M", width: 256, layers: 6, inner: 688 },
    Decoder { size: DecoderSize::Large, name: "30M", width: 512, layers: 8, inner: 1376 },
];

/// Measures steps of one decoder or all, in both precisions.
pub(super) fn rows(size: Option<DecoderSize>, repeat: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for decoder in DECODERS.iter().filter(|it| size.is_none_or(|size| it.size == size)) {
        for precision in [Precision::F32, Precision::Bf16] {
            rows.push(step(decoder, precision, repeat)?);
        }
    }
    Ok(rows)
}

fn step(decoder: &Decoder, precision: Precision, repeat: usize) -> Result<Row> {
    let can_reset = reset_peak_memory();
    let mut learner = decoder.learner(precision)?;
    learner.set_attention(AttentionPolicy::Causal);
    let samples = samples();
    let plan = Plan::new(learner.parameters(), 1)?;
    let mut optimizer = AdamW::new(AdamWConfig::default());
    let mut group = Alone;
    let tokens = BATCH.0 * BATCH.1;
    let precision = format!("{precision:?}").to_lowercase();
    let name = format!("train {} {precision}", decoder.name);
    let row = row(name, (tokens, "tokens/s"), repeat, || {
        seconds(|| {
            let mut step = Accumulator::new(&plan, &group);
            step.add(&learner, &samples, &mut group)?;
            let report = step.reduce(&mut group)?;
            step.apply(&learner, &mut optimizer, (report.grad_norm, 1e-4), &mut group)?;
            Ok(())
        })
    })?;
    Ok(Row { peak_memory_bytes: peak_memory().filter(|_| can_reset), ..row })
}

impl Decoder {
    /// Makes the decoder with weights of no meaning, and a vision tower that is there in form only.
    fn learner(&self, precision: Precision) -> Result<AkiLearner> {
        let config = json!({
            "model_type": "aki",
            "initial_tokenizer_len": VOCAB_SIZE,
            "num_added_tokens": 0,
            "num_vision_tokens": 1,
            "vision_config": {
                "model_type": "siglip_vision_model",
                "image_size": 14,
                "patch_size": 14,
                "hidden_size": 8,
                "intermediate_size": 8,
                "num_hidden_layers": 1,
                "num_attention_heads": 1,
            },
            "text_config": {
                "model_type": "phi3",
                "vocab_size": VOCAB_SIZE,
                "hidden_size": self.width,
                "intermediate_size": self.inner,
                "num_hidden_layers": self.layers,
                "num_attention_heads": HEADS,
                "num_key_value_heads": HEADS,
                "max_position_embeddings": 4096,
                "rms_norm_eps": 1e-5,
                "rope_theta": 10_000.0,
                "tie_word_embeddings": false,
            },
        });
        let config = AkiConfig::from_json(&config.to_string())?;
        let weights = Checkpoint::from_tensors(
            config.tensor_shapes().into_iter().map(|(name, shape)| (name, tensor(shape))),
        );
        let model = ModelRecipe {
            init: String::new(),
            base: None,
            start: Start::Scratch,
            frozen: vec!["vision_*".to_owned()],
        };
        let compute = ComputeRecipe { precision, ..ComputeRecipe::default() };
        let files = AkiFiles { config, weights, beside: Vec::new() };
        Ok(AkiLearner::load(
            files,
            AkiTraining { model, compute, lora: None, seed: 0, device: Device::Cpu },
        )?)
    }
}

/// Makes a tensor up: ones for the scales of norms, small numbers of both signs otherwise.
fn tensor(shape: Vec<usize>) -> checkpoint::Tensor {
    let is_vector = shape.len() == 1;
    let mut random = ChaCha8Rng::seed_from_u64(shape.iter().sum::<usize>() as u64);
    let mut value = || if is_vector { 1.0 } else { random.random_range(-0.035..0.035) };
    let len: usize = shape.iter().product();
    let bytes: Vec<u8> = (0..len).flat_map(|_| f32::to_le_bytes(value())).collect();
    checkpoint::Tensor { dtype: Dtype::F32, shape, bytes: Bytes::from(bytes) }
}

/// Makes texts up, every token of which is to be predicted.
fn samples() -> Vec<Sample> {
    let (rows, len) = BATCH;
    let id = |at: usize| (at * 7919 % VOCAB_SIZE) as u32;
    let sample = |row: usize| Sample {
        key: format!("text {row}"),
        ids: (row * len..(row + 1) * len).map(|at| TokenId(id(at))).collect(),
        layout: Layout::new().text(Role::User, len),
        labels: (row * len..(row + 1) * len).map(|at| Some(id(at))).collect(),
        pixels: Vec::new(),
        target: Target::Text,
    };
    (0..rows).map(sample).collect()
}
