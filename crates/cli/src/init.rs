//! `aki init`: a checkpoint with random weights in the published layout.

mod backbones;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use checkpoint::{Bytes, Dtype, ShardPlan, TensorSpec};
use half::{bf16, f16};
use model::AkiConfig;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use rayon::prelude::*;

use crate::args::InitArgs;
use crate::environment::Environment;
use crate::files;
use crate::load::SIDE_FILES;
use crate::{output, progress};
use backbones::Backbones;

/// Elements that one random generator makes; part of the format of a seed.
const BLOCK: usize = 1 << 18;
/// Blocks that are made before they are written: 32 MiB of f32.
const BATCH: usize = 32;

/// Bytes of a backbone that are written at once.
const PIECE: usize = 1 << 25;

/// What a tensor starts as.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Start {
    Ones,
    Zeros,
    /// Normal, with this standard deviation.
    Normal(f32),
}

impl Start {
    /// Vectors are biases or the scales of norms; everything else is a weight.
    fn of(name: &str, shape: &[usize], deviation: f32) -> Self {
        match shape.len() {
            0 | 1 if name.ends_with("bias") => Self::Zeros,
            0 | 1 => Self::Ones,
            _ if name.ends_with("latents") => Self::Normal(1.0),
            _ => Self::Normal(deviation),
        }
    }
}

/// Writes configuration and weights.
pub(crate) fn run(args: &InitArgs, environment: &Environment) -> Result<()> {
    let config = AkiConfig::preset(&args.preset)?;
    let (vision, text) = (args.vision.as_deref(), args.text.as_deref());
    let backbones = Backbones::open(vision, text, environment)?;
    files::prepare_output(&args.output, args.force)?;
    let dtype = args.dtype.dtype();
    let specs =
        config.tensor_shapes().into_iter().map(|(name, shape)| TensorSpec { name, dtype, shape });
    let plan = ShardPlan::new(specs, usize::try_from(args.max_shard_size)?)?;
    let bar = progress::bytes("writing weights", plan.num_bytes() as u64);
    let written = plan.write(&args.output, |spec, sink| -> Result<()> {
        if let Some(bytes) = backbones.bytes(spec)? {
            for piece in bytes.chunks(PIECE) {
                sink.put(piece)?;
                bar.inc(piece.len() as u64);
            }
            return Ok(());
        }
        let num_elements: usize = spec.shape.iter().product();
        let num_blocks = num_elements.div_ceil(BLOCK);
        let deviation = config.initializer_range(&spec.name);
        let start = Start::of(&spec.name, &spec.shape, deviation);
        for first in (0..num_blocks).step_by(BATCH) {
            let blocks: Vec<Vec<u8>> = (first..num_blocks.min(first + BATCH))
                .into_par_iter()
                .map(|block| {
                    let len = BLOCK.min(num_elements - block * BLOCK);
                    encode(&values(start, (args.seed, &spec.name, block), len), dtype)
                })
                .collect();
            for block in &blocks {
                sink.put(block)?;
                bar.inc(block.len() as u64);
            }
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    let path = args.output.join("config.json");
    fs::write(&path, config.to_json())
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    output::line(&format!(
        "wrote {} tensors, {}, in {} to {}",
        config.tensor_shapes().len(),
        files::size(plan.num_bytes() as u64),
        files::count(written.len(), "file"),
        args.output.display()
    ))?;
    tokenizer_files(args.tokenizer.as_deref(), &args.output)
}

/// Returns a tensor as it starts, in f32.
pub(crate) fn random_tensor(
    config: &AkiConfig,
    seed: u64,
    (name, shape): (&str, Vec<usize>),
) -> checkpoint::Tensor {
    let start = Start::of(name, &shape, config.initializer_range(name));
    let num_elements: usize = shape.iter().product();
    let bytes: Vec<u8> = (0..num_elements.div_ceil(BLOCK))
        .into_par_iter()
        .flat_map_iter(|block| {
            let len = BLOCK.min(num_elements - block * BLOCK);
            encode(&values(start, (seed, name, block), len), Dtype::F32)
        })
        .collect();
    checkpoint::Tensor { dtype: Dtype::F32, shape, bytes: Bytes::from(bytes) }
}

/// Copies the tokenizer, or says that there is none.
fn tokenizer_files(from: Option<&Path>, to: &Path) -> Result<()> {
    let Some(from) = from else {
        return output::line(
            "no tokenizer was written; --tokenizer DIR copies one, or put tokenizer.json beside \
             config.json",
        );
    };
    let names: Vec<_> =
        SIDE_FILES.into_iter().filter(|name| !name.contains("config.json")).collect();
    let names = [names.as_slice(), &["tokenizer_config.json"]].concat();
    let copied = files::copy(from, to, &names)?;
    output::line(&format!("copied {}", copied.join(", ")))
}

/// Returns the values of one block of a tensor. What a seed gives depends on the tensor's name and
/// the place in it alone, so blocks are made in any order, on any number of threads.
fn values(start: Start, (seed, name, block): (u64, &str, usize), len: usize) -> Vec<f32> {
    match start {
        Start::Ones => vec![1.0; len],
        Start::Zeros => vec![0.0; len],
        Start::Normal(deviation) => {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&seed.to_le_bytes());
            key[8..16].copy_from_slice(&fnv1a(name.as_bytes()).to_le_bytes());
            key[16..24].copy_from_slice(&(block as u64).to_le_bytes());
            let normal = ChaCha8Rng::from_seed(key).sample_iter::<f32, _>(StandardNormal);
            normal.take(len).map(|value| value * deviation).collect()
        }
    }
}

/// Returns the FNV-1a hash of bytes.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Returns values as the bytes of a float type.
fn encode(values: &[f32], dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::Bf16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
        Dtype::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_depends_on_seed_name_and_place() {
        let start = Start::Normal(0.02);
        let block = values(start, (0, "a", 0), 8);
        assert_eq!(block, values(start, (0, "a", 0), 8));
        assert_eq!(block[..4], values(start, (0, "a", 0), 4));
        assert_ne!(block, values(start, (1, "a", 0), 8));
        assert_ne!(block, values(start, (0, "b", 0), 8));
        assert_ne!(block, values(start, (0, "a", 1), 8));
    }

    #[test]
    fn weights_have_the_deviation_they_should_have() {
        let block = values(Start::Normal(0.02), (7, "weight", 3), 100_000);
        let mean = block.iter().sum::<f32>() / block.len() as f32;
        let variance = block.iter().map(|v| v * v).sum::<f32>() / block.len() as f32;
        assert!(mean.abs() < 3e-4, "{mean}");
        assert!((variance.sqrt() - 0.02).abs() < 2e-4, "{variance}");
    }

    #[test]
    fn tensors_start_by_what_they_are() {
        assert_eq!(Start::of("model.norm.weight", &[8], 0.02), Start::Ones);
        assert_eq!(Start::of("head.attention.in_proj_bias", &[8], 0.02), Start::Zeros);
        assert_eq!(Start::of("vision_tokenizer.latents", &[4, 8], 0.02), Start::Normal(1.0));
        assert_eq!(Start::of("lm_head.weight", &[4, 8], 0.02), Start::Normal(0.02));
    }
}
