//! What every row of a seed starts with: a vision encoder, and if so wished a connector, that was
//! trained, and for the rest random numbers.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use checkpoint::{Bytes, Dtype};
use model::AkiConfig;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::args::{ConnectorStart, Table1Args};
use crate::environment::Environment;
use crate::load::{Model, SIDE_FILES};
use crate::report::Failure;
use crate::{files, init};

/// The vision encoder's tensors.
const ENCODER: &str = "vision_encoder.";
/// The connector's.
const CONNECTOR: &str = "vision_tokenizer.";
/// What the vision tokens are before they read the picture: a row each.
const LATENTS: &str = "vision_tokenizer.latents";
/// What names them while the connector is trained.
const HEAD: &str = "lang_model.lm_head.";
/// Those that are random in any case.
const LAYERS: &str = "lang_model.model.layers.";

/// A model of which tensors are taken over.
pub(super) struct Source<'a> {
    /// What the user calls it.
    pub(super) name: &'a str,
    /// What is taken over beside its vision encoder.
    pub(super) more: ConnectorStart,
    /// Whether vision tokens are put into another order.
    pub(super) scatter: bool,
}

impl Source<'_> {
    fn has(&self, tensor: &str) -> bool {
        let more = match self.more {
            ConnectorStart::Trained => tensor.starts_with(CONNECTOR) || tensor.starts_with(HEAD),
            ConnectorStart::Kept => !tensor.starts_with(LAYERS),
            ConnectorStart::Random => false,
        };
        more || tensor.starts_with(ENCODER)
    }
}

/// Writes the model of a seed, if it is not there yet.
///
/// # Errors
/// If the model that it takes over is not there, or a file cannot be written.
pub(super) fn write(
    directory: &Path,
    seed: u64,
    source: &Source<'_>,
    (args, environment): (&Table1Args, &Environment),
) -> Result<()> {
    let path = directory.join("model.safetensors");
    if path.is_file() {
        return Ok(());
    }
    let model = Model::locate(source.name, environment)?;
    let config = sized(&model.config()?, args)?;
    let weights = model.checkpoint()?;
    let tensors = config.tensor_shapes().into_iter().map(|(name, shape)| {
        let mut tensor = if source.has(&name) {
            let found = weights.tensor(&name);
            let found =
                found.with_context(|| format!("`{}` has no tensor `{name}`", source.name))?;
            // It may be in blocks, which a file to train from has not.
            float(&model::widened(found.clone()).to_f32_vec()?, shape)
        } else {
            init::random_tensor(&config, seed, (&name, shape))
        };
        if source.scatter && name == LATENTS {
            let shape = tensor.shape.clone();
            tensor = float(&scattered(&tensor.to_f32_vec()?, shape[1], seed), shape);
        }
        Ok((name, tensor))
    });
    let tensors: Vec<(String, checkpoint::Tensor)> = tensors.collect::<Result<_>>()?;
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make directory `{}`", directory.display()))?;
    for (name, bytes) in model.embedded_files() {
        put(&directory.join(name), bytes)?;
    }
    if let Some(from) = model.dir() {
        let names: Vec<&str> =
            SIDE_FILES.into_iter().filter(|name| *name != "config.json").collect();
        files::copy(from, directory, &names)?;
    }
    put(&directory.join("config.json"), config.to_json().as_bytes())?;
    // Last: what is there is whole.
    let named = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
    Ok(checkpoint::save_file(&path, named)?)
}

/// Returns values as a tensor to train from.
fn float(values: &[f32], shape: Vec<usize>) -> checkpoint::Tensor {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    checkpoint::Tensor { dtype: Dtype::F32, shape, bytes: Bytes::from(bytes) }
}

/// Returns rows in a random order. Latents differ in nothing but their values, so their vision tokens
/// are the same in that order.
fn scattered(values: &[f32], width: usize, seed: u64) -> Vec<f32> {
    let mut rows: Vec<&[f32]> = values.chunks(width).collect();
    rows.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    rows.concat()
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write `{}`", path.display()))
}

/// Returns the configuration with the sizes that are asked for.
fn sized(config: &AkiConfig, args: &Table1Args) -> Result<AkiConfig> {
    let mut json: Value = serde_json::from_str(&config.to_json())?;
    for (value, place) in [
        (args.layers, "/text_config/num_hidden_layers"),
        (args.vision_tokens, "/num_vision_tokens"),
    ] {
        let Some(value) = value else { continue };
        let Some(known) = json.pointer_mut(place) else {
            return Err(Failure::new(format!("the configuration has no `{place}`")).into());
        };
        *known = value.into();
    }
    Ok(AkiConfig::from_json(&json.to_string())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scattered_latents_are_whole_rows_in_the_order_of_a_seed() {
        let values: Vec<f32> = (0..48 * 3).map(|value| value as f32).collect();
        let first = scattered(&values, 3, 1);
        assert_ne!(first, values);
        assert_eq!(first, scattered(&values, 3, 1));
        assert_ne!(first, scattered(&values, 3, 2));
        let mut rows: Vec<&[f32]> = first.chunks(3).collect();
        rows.sort_by(|a, b| a[0].total_cmp(&b[0]));
        assert_eq!(rows.concat(), values);
    }
}
