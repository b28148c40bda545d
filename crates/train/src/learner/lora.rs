//! Adapters: which layers have one, and a layer's weight with its adapter merged in.

use checkpoint::Tensor;
use model::Parameters;
use rayon::prelude::*;

use crate::Error;
use crate::pattern;
use crate::recipe::LoraRecipe;

/// What follows the name of a layer in those of its adapter's matrices.
const A: &str = ".lora_A.weight";
const B: &str = ".lora_B.weight";

impl LoraRecipe {
    /// Returns whether the layer of a name, without `.weight`, has an adapter.
    pub fn is_target(&self, layer: &str) -> bool {
        pattern::matches_any(&self.targets, layer)
    }

    /// Returns whether a tensor is the weight of a layer that has an adapter.
    pub fn is_adapted(&self, name: &str) -> bool {
        name.strip_suffix(".weight").is_some_and(|layer| self.is_target(layer))
    }
}

/// Returns whether a parameter is part of an adapter.
pub(super) fn is_adapter(name: &str) -> bool {
    name.ends_with(A) || name.ends_with(B)
}

/// Returns a weight `W + alpha / rank * B A`, in its own type; none if it has no adapter.
pub(super) fn merged(
    (name, weight): (&str, &Tensor),
    parameters: &Parameters,
    lora: &LoraRecipe,
) -> Result<Option<Tensor>, Error> {
    let Some(layer) = name.strip_suffix(".weight") else { return Ok(None) };
    let matrix = |end| parameters.get(&format!("{layer}{end}"));
    let (Some(a), Some(b)) = (matrix(A), matrix(B)) else { return Ok(None) };
    let (a, b) = (a.values(), b.values());
    let scale = (lora.alpha / lora.rank as f64) as f32;
    let width = a.len() / lora.rank;
    let mut values = weight.to_f32_vec()?;
    values.par_chunks_mut(width).zip(b.par_chunks(lora.rank)).for_each(|(row, factors)| {
        for (factor, direction) in factors.iter().zip(a.chunks(width)) {
            let factor = scale * factor;
            row.iter_mut().zip(direction).for_each(|(value, part)| *value += factor * part);
        }
    });
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let shape = weight.shape.clone();
    let merged = Tensor { dtype: checkpoint::Dtype::F32, shape, bytes: bytes.into() };
    Ok(Some(merged.to_dtype(weight.dtype)?))
}
