//! Norms with their weights.

use candle_core::Tensor;

use crate::weights::Weights;
use crate::{Error, ops};

/// Layer normalisation.
#[derive(Clone, Debug)]
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    pub(crate) fn load(weights: &Weights<'_>, width: usize, eps: f64) -> Result<Self, Error> {
        let weight = weights.tensor("weight", &[width])?;
        Ok(Self { weight, bias: weights.tensor("bias", &[width])?, eps })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor, Error> {
        Ok(ops::layer_norm(x, &self.weight, &self.bias, self.eps)?)
    }
}

/// Root-mean-square normalisation.
#[derive(Clone, Debug)]
pub(crate) struct RmsNorm {
    weight: Tensor,
    eps: f64,
}

impl RmsNorm {
    pub(crate) fn load(weights: &Weights<'_>, width: usize, eps: f64) -> Result<Self, Error> {
        Ok(Self { weight: weights.tensor("weight", &[width])?, eps })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor, Error> {
        Ok(ops::rms_norm(x, &self.weight, self.eps)?)
    }
}
