//! What every row of a seed starts with: a vision encoder, and if so wished a connector, that was
//! trained, and for the rest random numbers.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use checkpoint::{Bytes, Dtype};
use model::AkiConfig;
use serde_json::Value;

use crate::args::Table1Args;
use crate::environment::Environment;
use crate::load::{Model, SIDE_FILES};
use crate::report::Failure;
use crate::{files, init};

/// The tensors that are taken over.
const ENCODER: &str = "vision_encoder.";
/// Those that are random in any case.
const LAYERS: &str = "lang_model.model.layers.";

/// Writes the model of a seed, if it is not there yet.
///
/// # Errors
/// If the encoder's model is not there, or a file cannot be written.
pub(super) fn write(
    directory: &Path,
    seed: u64,
    args: &Table1Args,
    environment: &Environment,
) -> Result<()> {
    let path = directory.join("model.safetensors");
    if path.is_file() {
        return Ok(());
    }
    let model = Model::locate(&args.encoder, environment)?;
    let config = sized(&model.config()?, args)?;
    let weights = model.checkpoint()?;
    let tensors = config.tensor_shapes().into_iter().map(|(name, shape)| {
        let is_taken = name.starts_with(ENCODER) || args.connector && !name.starts_with(LAYERS);
        let tensor = if is_taken {
            let found = weights.tensor(&name);
            let found =
                found.with_context(|| format!("`{}` has no tensor `{name}`", args.encoder))?;
            // It may be in blocks, which a file to train from has not.
            let values = model::widened(found.clone()).to_f32_vec()?;
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            checkpoint::Tensor { dtype: Dtype::F32, shape, bytes: Bytes::from(bytes) }
        } else {
            init::random_tensor(&config, seed, (&name, shape))
        };
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
