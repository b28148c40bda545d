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
        [width, out_width]: [usize; 2],
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
        [width, out_width]: [usize; 2],
    ) -> Self {
        Self { weight, bias, out_width, width }
    }

    /// Applies the layer to the last dimension.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor, Error> {
        let mut shape = x.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = self.out_width;
        }
        match &self.weight {
            Storage::Mapped { bytes, dtype } => {
                let matrix = Storage::as_matrix(bytes, *dtype)?;
                let bias = self.bias.as_ref().map(Tensor::to_vec1::<f32>).transpose()?;
                Ok(ops::linear(x, matrix, bias.as_deref(), self.width, shape)?)
            }
            Storage::Dense(weight) => {
                let x = x.reshape(((), self.width))?;
                Ok(ops::plain::linear(&x, weight, self.bias.as_ref())?.reshape(shape)?)
            }
        }
    }

    /// Returns the type of the stored weights.
    pub(crate) fn dtype(&self) -> DType {
        to_candle(self.weight.dtype())
    }
}
