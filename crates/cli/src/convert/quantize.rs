//! Which tensors become blocks of few bits, and which blocks.

use std::collections::BTreeMap;

use anyhow::Result;
use checkpoint::{Dtype, MetadataValue, Tensor};
use kernels::{BlockFormat, Blocks};

use crate::args::QuantizeArg;
use crate::files;

/// Matrices of fewer rows are too small to matter.
const FEWEST_ROWS: usize = 16;
/// The decoder's layers, most of a model's bytes; the rest gets more bits.
const DECODER: &str = "lang_model.model.";
const HEAD: &str = "lang_model.lm_head.";

/// The types of a model's matrices.
pub(super) struct Mix {
    decoder: Dtype,
    /// How many tensors became which type because their rows are not whole blocks of the wanted one.
    instead: BTreeMap<&'static str, usize>,
    /// How many stay as they are because their rows are whole blocks of none.
    kept: usize,
}

impl Mix {
    pub(super) fn new(quantize: QuantizeArg) -> Self {
        let decoder = match quantize {
            QuantizeArg::Q8_0 => Dtype::Q8_0,
            QuantizeArg::Q4_0 => Dtype::Q4_0,
            QuantizeArg::Q4K => Dtype::Q4K,
        };
        Self { decoder, instead: BTreeMap::new(), kept: 0 }
    }

    /// Returns the type of blocks of a tensor, none if it stays as it is.
    pub(super) fn choose(&mut self, name: &str, shape: &[usize]) -> Option<Dtype> {
        let &[rows, width] = shape else { return None };
        // Tables of positions and latents are added, not multiplied with.
        let is_matrix = name.ends_with("weight") && !name.contains("position_embedding");
        if !is_matrix || rows < FEWEST_ROWS {
            return None;
        }
        let wanted = if name.starts_with(DECODER) {
            self.decoder
        } else if name.starts_with(HEAD) && self.decoder != Dtype::Q8_0 {
            Dtype::Q6K
        } else {
            Dtype::Q8_0
        };
        let smaller = if wanted == Dtype::Q4K { Dtype::Q4_0 } else { Dtype::Q8_0 };
        let fits = |dtype: &Dtype| width.is_multiple_of(dtype.block_len());
        let found = [wanted, smaller].into_iter().find(fits);
        match found {
            Some(found) if found == wanted => {}
            Some(found) => *self.instead.entry(found.name()).or_default() += 1,
            None => self.kept += 1,
        }
        found
    }

    /// Returns what was not as wanted.
    pub(super) fn report(&self) -> Vec<String> {
        let instead = self.instead.iter().map(|(name, number)| {
            let tensors = files::count(*number, "tensor");
            format!("{tensors} became {name}: the rows are no whole blocks of 256 elements")
        });
        let kept = (self.kept > 0).then(|| {
            let tensors = files::count(self.kept, "tensor");
            format!("{tensors} kept their type: the rows are no whole blocks of 32 elements")
        });
        instead.chain(kept).collect()
    }
}

/// Returns a file's metadata.
pub(super) fn metadata(quantize: Option<QuantizeArg>) -> BTreeMap<String, MetadataValue> {
    let mut metadata = BTreeMap::new();
    let mut put = |key: &str, value| metadata.insert(format!("general.{key}"), value);
    put("architecture", MetadataValue::Text("aki".to_owned()));
    // The format's numbers for what most of a file is in.
    let file_type = match quantize {
        None => return metadata,
        Some(QuantizeArg::Q4_0) => 2,
        Some(QuantizeArg::Q8_0) => 7,
        Some(QuantizeArg::Q4K) => 15,
    };
    put("file_type", MetadataValue::U32(file_type));
    put("quantization_version", MetadataValue::U32(2));
    metadata
}

/// Returns a tensor's bytes in another type.
///
/// # Errors
/// If one of the types is none of floats.
pub(super) fn converted(tensor: &Tensor, dtype: Dtype) -> Result<Vec<u8>> {
    let values = match format(tensor.dtype) {
        Some(format) => {
            let blocks = Blocks { format, bytes: &tensor.bytes };
            let mut values = vec![0.0; blocks.len()];
            kernels::dequantize(blocks, &mut values);
            values
        }
        None if format(dtype).is_some() => tensor.to_f32_vec()?,
        None => return Ok(tensor.to_dtype(dtype)?.bytes.to_vec()),
    };
    if let Some(format) = format(dtype) {
        let mut bytes = vec![0; format.num_bytes(values.len())];
        kernels::quantize(format, &values, &mut bytes);
        return Ok(bytes);
    }
    let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
    let widened = Tensor { dtype: Dtype::F32, shape: tensor.shape.clone(), bytes: bytes.into() };
    Ok(widened.to_dtype(dtype)?.bytes.to_vec())
}

fn format(dtype: Dtype) -> Option<BlockFormat> {
    match dtype {
        Dtype::Q8_0 => Some(BlockFormat::Q8_0),
        Dtype::Q4_0 => Some(BlockFormat::Q4_0),
        Dtype::Q4K => Some(BlockFormat::Q4K),
        Dtype::Q6K => Some(BlockFormat::Q6K),
        _ => None,
    }
}
