//! `aki preprocess`: an image to the pixel values that the model reads.

use anyhow::Result;
use checkpoint::{Bytes, Dtype, Tensor};

use crate::args::PreprocessArgs;
use crate::environment::Environment;
use crate::input;
use crate::load::{self, Model};

/// Writes `pixel_values` `[3, size, size]`.
pub(crate) fn run(args: &PreprocessArgs, environment: &Environment) -> Result<()> {
    let config = Model::locate(&args.model.model, environment)?.config()?;
    let mut preprocessor = load::preprocessor(&config);
    if let Some(size) = args.size {
        preprocessor.image_size = size as usize;
    }
    let values = preprocessor.preprocess(&input::image(&args.image)?);
    let shape = vec![3, preprocessor.image_size, preprocessor.image_size];
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let tensor = Tensor { dtype: Dtype::F32, shape, bytes: Bytes::from(bytes) };
    checkpoint::save_file(&args.output, [("pixel_values", &tensor)])?;
    Ok(())
}
