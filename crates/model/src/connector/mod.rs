//! Connectors: from the vision encoder's features to vision tokens of the decoder's width.
//!
//! A further connector is one file here with a type that implements [`Connector`], and one line
//! each in [`load`] and in [`tensor_shapes`].

mod mlp;
mod perceiver;

use candle_core::Tensor;

use crate::weights::Weights;
use crate::{AkiConfig, ConnectorConfig, Error};

/// What turns features into vision tokens.
pub(crate) trait Connector: std::fmt::Debug + Send + Sync {
    /// Returns the vision tokens. `// [images, patches, vision width] -> [images, tokens, hidden]`
    fn forward(&self, features: &Tensor) -> Result<Tensor, Error>;
}

/// Loads the connector that the configuration names.
pub(crate) fn load(config: &AkiConfig, weights: &Weights<'_>) -> Result<Box<dyn Connector>, Error> {
    Ok(match &config.connector {
        ConnectorConfig::Perceiver(connector) => {
            Box::new(perceiver::Perceiver::load(connector, config, weights)?)
        }
        ConnectorConfig::Mlp => Box::new(mlp::Mlp::load(config, weights)?),
    })
}

/// Returns the names, without prefix, and shapes of the connector's tensors.
pub(crate) fn tensor_shapes(config: &AkiConfig) -> Vec<(String, Vec<usize>)> {
    match &config.connector {
        ConnectorConfig::Perceiver(connector) => perceiver::tensor_shapes(connector, config),
        ConnectorConfig::Mlp => mlp::tensor_shapes(config),
    }
}
