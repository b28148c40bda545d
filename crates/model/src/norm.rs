//! Norms with their weights.

use candle_core::Tensor;

use crate::Error;
use crate::tape::Tape;
use crate::weights::{Weight, Weights};

/// Layer normalisation.
#[derive(Clone, Debug)]
pub(crate) struct LayerNorm {
    weight: Weight,
    bias: Weight,
    eps: f64,
}

impl LayerNorm {
    pub(crate) fn load(weights: &Weights<'_>, width: usize, eps: f64) -> Result<Self, Error> {
        let weight = weights.tensor("weight", &[width])?;
        Ok(Self { weight, bias: weights.tensor("bias", &[width])?, eps })
    }

    pub(crate) fn forward(&self, tape: &Tape, x: &Tensor) -> Result<Tensor, Error> {
        tape.layer_norm(x, [&self.weight, &self.bias], self.eps)
    }
}

/// Root-mean-square normalisation.
#[derive(Clone, Debug)]
pub(crate) struct RmsNorm {
    weight: Weight,
    eps: f64,
}

impl RmsNorm {
    pub(crate) fn load(weights: &Weights<'_>, width: usize, eps: f64) -> Result<Self, Error> {
        Ok(Self { weight: weights.tensor("weight", &[width])?, eps })
    }

    pub(crate) fn forward(&self, tape: &Tape, x: &Tensor) -> Result<Tensor, Error> {
        tape.rms_norm(x, &self.weight, self.eps)
    }
}
