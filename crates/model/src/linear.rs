//! The linear layer over weights as they are stored.

use candle_core::{DType, Tensor};

use crate::weights::{Storage, Weights, to_candle};
use crate::{Error, ops};

/// `x weight^T + bias`.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    weight: Storage,
    bias: Option<Tensor>,
    out_width: usize,
    width: usize,
}

impl Linear {
    /// Loads `weight` and, if wanted, `bias` of a part of a checkpoint.
    pub(crate) fn load(
        weights: &Weights<'_>,
        width: usize,
        out_width: usize,
        has_bias: bool,
    ) -> Result<Self, Error> {
        let weight = weights.matrix("weight", &[out_width, width])?;
        let bias = has_bias.then(|| weights.tensor("bias", &[out_width])).transpose()?;
        Ok(Self { weight, bias, out_width, width })
    }

    /// Makes a layer of weights that are loaded already. `// [out_width, width]`
    pub(crate) fn new(
        weight: Storage,
        bias: Option<Tensor>,
        width: usize,
        out_width: usize,
    ) -> Self {
        Self { weight, bias, out_width, width }
    }

    /// Applies the layer to the last dimension.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor, Error> {
        match &self.weight {
            Storage::Mapped { bytes, dtype } => {
                let matrix = Storage::as_matrix(bytes, *dtype)?;
                let bias = self.bias.as_ref().map(|bias| bias.to_vec1::<f32>()).transpose()?;
                let mut shape = x.dims().to_vec();
                if let Some(last) = shape.last_mut() {
                    *last = self.out_width;
                }
                Ok(ops::linear(x, matrix, bias.as_deref(), self.width, shape)?)
            }
            Storage::Dense(weight) => {
                let rows = x.elem_count() / self.width;
                let mut shape = x.dims().to_vec();
                shape[x.rank() - 1] = self.out_width;
                let out = x.reshape((rows, self.width))?.matmul(&weight.t()?)?.reshape(shape)?;
                Ok(match &self.bias {
                    Some(bias) => out.broadcast_add(bias)?,
                    None => out,
                })
            }
        }
    }

    /// Returns the type of the stored weights.
    pub(crate) fn dtype(&self) -> DType {
        to_candle(self.weight.dtype())
    }
}
