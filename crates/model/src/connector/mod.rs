//! Connectors: from the vision encoder's features to vision tokens of the decoder's width.
//!
//! A further connector is one file here, with a type that implements [`Settings`] and one that
//! implements [`Connector`], and its line in [`CONNECTORS`].

mod mlp;
mod perceiver;

use std::fmt;
use std::sync::Arc;

use candle_core::Tensor;
use serde_json::{Value, json};

use crate::config::hf;
use crate::tape::Tape;
use crate::weights::Weights;
use crate::{AkiConfig, Error, SiglipConfig, Tap};

/// Makes a connector's settings from the section `connector` of the configuration.
type Parse = fn(&Value) -> Result<Arc<dyn Settings>, Error>;

/// Every connector, by the name that its configuration has as `type`; the first is the published
/// model's, whose configuration has no such section.
const CONNECTORS: [(&str, Parse); 2] =
    [("perceiver", perceiver::PerceiverConfig::parse), ("mlp", mlp::MlpConfig::parse)];

/// What turns features into vision tokens.
pub(crate) trait Connector: fmt::Debug + Send + Sync {
    /// Returns the vision tokens. `// [images, patches, vision width] -> [images, tokens, hidden]`
    fn forward(&self, tape: &Tape, features: &Tensor, tap: &mut dyn Tap) -> Result<Tensor, Error>;

    /// Returns the features themselves in the decoder's width, each as its vision token would be.
    /// `// [images, patches, vision width] -> [images, patches, hidden]`
    fn project(&self, tape: &Tape, features: &Tensor) -> Result<Tensor, Error>;
}

/// The settings of one kind of connector.
trait Settings: fmt::Debug + Send + Sync {
    /// Returns the settings as the configuration has them, without `type`.
    fn to_json(&self) -> Value;

    /// Returns how many vision tokens the connector makes, if that is not for the configuration
    /// to say.
    fn fixed_num_tokens(&self, vision: &SiglipConfig) -> Option<usize>;

    /// Returns the names, without prefix, and shapes of the tensors.
    fn tensor_shapes(&self, config: &AkiConfig) -> Vec<(String, Vec<usize>)>;

    /// Loads the connector.
    fn load(&self, config: &AkiConfig, weights: &Weights<'_>) -> Result<Box<dyn Connector>, Error>;
}

/// How features become vision tokens: the kind of connector, and its settings.
#[derive(Clone, Debug)]
pub struct ConnectorConfig {
    name: &'static str,
    settings: Arc<dyn Settings>,
}

impl ConnectorConfig {
    /// Reads the section `connector`; null is the published model's.
    pub(crate) fn parse(section: &Value) -> Result<Self, Error> {
        let name = match &section["type"] {
            Value::Null if section.is_null() => CONNECTORS[0].0,
            name => name.as_str().unwrap_or_default(),
        };
        let Some((name, parse)) = CONNECTORS.into_iter().find(|(known, _)| *known == name) else {
            let names = CONNECTORS.map(|(name, _)| name).join("`, `");
            return Err(hf::refuse("connector.type", name, format!("one of `{names}`")));
        };
        Ok(Self { name, settings: parse(section)? })
    }

    /// Returns the name that the configuration has as `type`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the section `connector` of the configuration.
    pub fn to_json(&self) -> Value {
        let mut section = self.settings.to_json();
        section["type"] = json!(self.name);
        section
    }

    pub(crate) fn fixed_num_tokens(&self, vision: &SiglipConfig) -> Option<usize> {
        self.settings.fixed_num_tokens(vision)
    }

    pub(crate) fn tensor_shapes(&self, config: &AkiConfig) -> Vec<(String, Vec<usize>)> {
        self.settings.tensor_shapes(config)
    }
}

impl PartialEq for ConnectorConfig {
    fn eq(&self, other: &Self) -> bool {
        self.to_json() == other.to_json()
    }
}

/// Loads the connector that the configuration names.
pub(crate) fn load(config: &AkiConfig, weights: &Weights<'_>) -> Result<Box<dyn Connector>, Error> {
    config.connector.settings.load(config, weights)
}
