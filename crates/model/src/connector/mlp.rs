//! The two-layer projector of `LLaVA` 1.5 (arXiv 2310.03744): a vision token for every patch.

use std::sync::Arc;

use candle_core::Tensor;
use serde_json::{Value, json};

use super::{Connector, Settings};
use crate::linear::Linear;
use crate::tape::Tape;
use crate::weights::Weights;
use crate::{AkiConfig, Error, NoTap, SiglipConfig, Tap};

/// There is nothing to set: the widths are those of the two models.
#[derive(Debug)]
pub(super) struct MlpConfig;

/// Linear, GELU, linear.
#[derive(Debug)]
struct Mlp {
    first: Linear,
    second: Linear,
}

impl MlpConfig {
    #[allow(clippy::unnecessary_wraps, reason = "as every connector's")]
    pub(super) fn parse(_section: &Value) -> Result<Arc<dyn Settings>, Error> {
        Ok(Arc::new(Self))
    }
}

impl Settings for MlpConfig {
    fn to_json(&self) -> Value {
        json!({})
    }

    fn fixed_num_tokens(&self, vision: &SiglipConfig) -> Option<usize> {
        Some(vision.num_patches())
    }

    fn tensor_shapes(&self, config: &AkiConfig) -> Vec<(String, Vec<usize>)> {
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

    fn load(&self, config: &AkiConfig, weights: &Weights<'_>) -> Result<Box<dyn Connector>, Error> {
        let (width, hidden) = (config.vision.hidden_size, config.text.hidden_size);
        Ok(Box::new(Mlp {
            first: Linear::load(&weights.pp("0"), [width, hidden], true)?,
            second: Linear::load(&weights.pp("2"), [hidden, hidden], true)?,
        }))
    }
}

impl Connector for Mlp {
    fn forward(&self, tape: &Tape, features: &Tensor, _tap: &mut dyn Tap) -> Result<Tensor, Error> {
        let inner = tape.gelu_erf(&self.first.forward(tape, features)?)?;
        self.second.forward(tape, &inner)
    }

    fn project(&self, tape: &Tape, features: &Tensor) -> Result<Tensor, Error> {
        self.forward(tape, features, &mut NoTap)
    }
}
