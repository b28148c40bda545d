//! The two-layer projector of LLaVA 1.5 (arXiv 2310.03744): a vision token for every patch.

use candle_core::Tensor;

use super::Connector;
use crate::linear::Linear;
use crate::weights::Weights;
use crate::{AkiConfig, Error, ops};

/// Linear, GELU, linear.
#[derive(Debug)]
pub(super) struct Mlp {
    first: Linear,
    second: Linear,
}

impl Mlp {
    pub(super) fn load(config: &AkiConfig, weights: &Weights<'_>) -> Result<Self, Error> {
        let (width, hidden) = (config.vision.hidden_size, config.text.hidden_size);
        Ok(Self {
            first: Linear::load(&weights.pp("0"), width, hidden, true)?,
            second: Linear::load(&weights.pp("2"), hidden, hidden, true)?,
        })
    }
}

impl Connector for Mlp {
    fn forward(&self, features: &Tensor) -> Result<Tensor, Error> {
        self.second.forward(&ops::gelu_erf(&self.first.forward(features)?)?)
    }
}

pub(super) fn tensor_shapes(config: &AkiConfig) -> Vec<(String, Vec<usize>)> {
    let (width, hidden) = (config.vision.hidden_size, config.text.hidden_size);
    [
        ("0.weight", vec![hidden, width]),
        ("0.bias", vec![hidden]),
        ("2.weight", vec![hidden, hidden]),
        ("2.bias", vec![hidden]),
    ]
    .map(|(name, shape)| (name.to_owned(), shape))
    .into()
}
