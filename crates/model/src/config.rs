//! What a model is made of, read from Hugging Face's `config.json`.

pub(crate) mod hf;
mod shapes;

use serde_json::Value;

use crate::{ConnectorConfig, Error, Family, RopeConfig};

/// Vision encoder, connector, decoder, and how they are joined.
#[derive(Clone, Debug, PartialEq)]
pub struct AkiConfig {
    /// The vision encoder.
    pub vision: SiglipConfig,
    /// What turns its features into vision tokens.
    pub connector: ConnectorConfig,
    /// The decoder.
    pub text: DecoderConfig,
    /// Vision tokens of an image.
    pub num_vision_tokens: usize,
    /// Height and width that images are resized to.
    pub image_size: usize,
    /// What is subtracted from the channels of an image scaled to `0..=1`.
    pub norm_mean: [f32; 3],
    /// What the channels are then divided by.
    pub norm_std: [f32; 3],
    /// Ids below have rows of the pretrained table; the added tokens start here.
    pub initial_tokenizer_len: usize,
    /// Tokens that were added to the pretrained vocabulary.
    pub num_added_tokens: usize,
    /// The file with both backbones' sections in it; kept for [`Self::to_json`], so that keys which
    /// mean nothing here survive.
    source: Value,
}

/// The shape of a `SigLIP` vision encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct SiglipConfig {
    /// Width of the features.
    pub hidden_size: usize,
    /// Width inside the feed-forward layers.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Channels of an image.
    pub num_channels: usize,
    /// Height and width of an image.
    pub image_size: usize,
    /// Height and width of a patch.
    pub patch_size: usize,
    /// Epsilon of the layer norms.
    pub layer_norm_eps: f64,
}

/// The shape of a decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderConfig {
    /// The family, which names the tensors.
    pub family: Family,
    /// Rows of the embedding table, used or not.
    pub vocab_size: usize,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Width inside the feed-forward layers.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads.
    pub num_key_value_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// The longest sequence.
    pub max_position_embeddings: usize,
    /// Epsilon of the norms.
    pub rms_norm_eps: f64,
    /// The rotary embedding.
    pub rope: RopeConfig,
    /// Whether the output head is the embedding table.
    pub tie_word_embeddings: bool,
    /// Whether the layers around the attention have a bias, in families that leave it open.
    pub attention_bias: bool,
    /// Whether the feed-forward layers have a bias, in families that leave it open.
    pub mlp_bias: bool,
}

impl SiglipConfig {
    /// Returns the number of patches of an image.
    pub fn num_patches(&self) -> usize {
        (self.image_size / self.patch_size).pow(2)
    }
}

impl AkiConfig {
    /// The names of [`Self::preset`].
    pub const PRESETS: [&'static str; 3] = ["aki-4b", "miniature", "tiny"];

    /// Reads a `config.json`.
    ///
    /// A published one names its backbones only; their shapes are known here.
    ///
    /// # Errors
    /// If a field is missing, or has a value that is not supported.
    pub fn from_json(json: &str) -> Result<Self, Error> {
        hf::parse(serde_json::from_str(json)?)
    }

    /// Returns a configuration by its name, one of [`Self::PRESETS`].
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn preset(name: &str) -> Result<Self, Error> {
        match name {
            "aki-4b" => Self::from_json(include_str!("../presets/aki-4b.json")),
            "miniature" => Self::from_json(include_str!("../presets/miniature.json")),
            "tiny" => Self::from_json(include_str!("../presets/tiny.json")),
            _ => Err(Error::Config {
                field: "preset".to_owned(),
                found: name.to_owned(),
                expected: format!("one of `{}`", Self::PRESETS.join("`, `")),
            }),
        }
    }

    /// Returns a `config.json` with the shapes of the backbones in it.
    pub fn to_json(&self) -> String {
        format!("{:#}\n", self.source)
    }

    /// Returns the standard deviation that weights are drawn with where nothing was learned yet:
    /// the `initializer_range` of the section that a tensor belongs to, the decoder's for the
    /// connector; 0.02 where it says nothing.
    pub fn initializer_range(&self, tensor: &str) -> f32 {
        let is_vision = tensor.starts_with("vision_encoder.");
        let section = if is_vision { "vision_config" } else { "text_config" };
        self.source[section]["initializer_range"].as_f64().unwrap_or(0.02) as f32
    }

    /// Returns the number of token ids.
    pub fn vocab_size(&self) -> usize {
        self.initial_tokenizer_len + self.num_added_tokens
    }
}
