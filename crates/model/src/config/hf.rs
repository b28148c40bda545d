//! Hugging Face's JSON, and what of it is supported.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{AkiConfig, ConnectorConfig, DecoderConfig, PerceiverConfig, SiglipConfig};
use crate::{Error, Family, RopeConfig, RopeScaling};

/// Backbones whose shapes are known, by their hub path.
const PRESETS: [(&str, &str); 2] = [
    (
        "google/siglip-so400m-patch14-384",
        include_str!("../../presets/siglip-so400m-patch14-384.json"),
    ),
    ("microsoft/Phi-3.5-mini-instruct", include_str!("../../presets/phi-3.5-mini-instruct.json")),
];

#[derive(Deserialize)]
struct Root {
    vision_encoder_path: Option<String>,
    lang_model_path: Option<String>,
    initial_tokenizer_len: Option<usize>,
    num_additional_tokens: Option<usize>,
    num_vision_tokens: Option<usize>,
    n_px: Option<usize>,
    norm_mean: Option<Channels>,
    norm_std: Option<Channels>,
    connector: Option<Connector>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Channels {
    Same(f32),
    Each([f32; 3]),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Connector {
    Perceiver { num_layers: usize, heads: usize, head_dim: usize },
    Mlp,
}

#[derive(Deserialize)]
struct Vision {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_channels: Option<usize>,
    image_size: usize,
    patch_size: usize,
    layer_norm_eps: Option<f64>,
    hidden_act: Option<String>,
}

#[derive(Deserialize)]
struct Text {
    model_type: Option<String>,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    max_position_embeddings: usize,
    original_max_position_embeddings: Option<usize>,
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    rope_scaling: Option<Value>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    hidden_act: Option<String>,
}

#[derive(Deserialize)]
struct LongRope {
    short_factor: Vec<f64>,
    long_factor: Vec<f64>,
}

#[derive(Deserialize)]
struct Llama3 {
    factor: f64,
    low_freq_factor: f64,
    high_freq_factor: f64,
    original_max_position_embeddings: usize,
}

pub(super) fn parse(mut source: Value) -> Result<AkiConfig, Error> {
    let root: Root = serde_json::from_value(source.clone())?;
    let vision = backbone(&source, "vision_config", &root.vision_encoder_path)?;
    let text = backbone(&source, "text_config", &root.lang_model_path)?;
    source["vision_config"] = vision.clone();
    source["text_config"] = text.clone();
    let vision = SiglipConfig::try_from(section::<Vision>("vision_config", vision)?)?;
    let text = DecoderConfig::try_from(section::<Text>("text_config", text)?)?;
    let connector = match root.connector {
        None => ConnectorConfig::Perceiver(PerceiverConfig::default()),
        Some(Connector::Mlp) => ConnectorConfig::Mlp,
        Some(Connector::Perceiver { num_layers, heads, head_dim }) => {
            ConnectorConfig::Perceiver(PerceiverConfig { num_layers, heads, head_dim })
        }
    };
    let num_vision_tokens = match connector {
        ConnectorConfig::Mlp => vision.num_patches(),
        ConnectorConfig::Perceiver(_) => root.num_vision_tokens.unwrap_or(144),
    };
    let image_size = root.n_px.unwrap_or(vision.image_size);
    if image_size != vision.image_size {
        return Err(config("n_px", image_size, format!("`{}`, the encoder's", vision.image_size)));
    }
    let base = root.initial_tokenizer_len.unwrap_or(text.vocab_size);
    if base > text.vocab_size {
        let expected = format!("at most the {} rows of the embedding", text.vocab_size);
        return Err(config("initial_tokenizer_len", base, expected));
    }
    Ok(AkiConfig {
        connector,
        num_vision_tokens,
        image_size,
        norm_mean: channels(root.norm_mean),
        norm_std: channels(root.norm_std),
        initial_tokenizer_len: base,
        // `<image>` and `<|endofchunk|>`.
        num_added_tokens: root.num_additional_tokens.unwrap_or(2),
        vision,
        text,
        source,
    })
}

/// Returns a backbone's part of the configuration, from the file or else by its path.
fn backbone(source: &Value, field: &str, path: &Option<String>) -> Result<Value, Error> {
    if source[field].is_object() {
        return Ok(source[field].clone());
    }
    let path = path.as_deref().unwrap_or_default();
    let Some((_, preset)) = PRESETS.iter().find(|(name, _)| *name == path) else {
        let names = PRESETS.map(|(name, _)| name).join("`, `");
        let which =
            if field == "vision_config" { "vision_encoder_path" } else { "lang_model_path" };
        return Err(config(which, path, format!("one of `{names}`, or a `{field}`")));
    };
    Ok(serde_json::from_str(preset)?)
}

fn section<T: DeserializeOwned>(field: &str, value: Value) -> Result<T, Error> {
    T::deserialize(&value).map_err(|source| config(field, &value, format!("{source}")))
}

fn channels(channels: Option<Channels>) -> [f32; 3] {
    match channels {
        None => [0.5; 3],
        Some(Channels::Same(value)) => [value; 3],
        Some(Channels::Each(values)) => values,
    }
}

fn config(field: &str, found: impl ToString, expected: impl ToString) -> Error {
    Error::Config {
        field: field.to_owned(),
        found: found.to_string(),
        expected: expected.to_string(),
    }
}

impl TryFrom<Vision> for SiglipConfig {
    type Error = Error;

    fn try_from(hf: Vision) -> Result<Self, Error> {
        let activation = hf.hidden_act.unwrap_or_else(|| "gelu_pytorch_tanh".to_owned());
        if activation != "gelu_pytorch_tanh" {
            return Err(config("vision_config.hidden_act", activation, "`gelu_pytorch_tanh`"));
        }
        if hf.num_attention_heads == 0 || !hf.hidden_size.is_multiple_of(hf.num_attention_heads) {
            let expected = format!("a divisor of `hidden_size`, {}", hf.hidden_size);
            let field = "vision_config.num_attention_heads";
            return Err(config(field, hf.num_attention_heads, expected));
        }
        if hf.patch_size == 0 || hf.patch_size > hf.image_size {
            let expected = format!("at least 1 and at most `image_size`, {}", hf.image_size);
            return Err(config("vision_config.patch_size", hf.patch_size, expected));
        }
        Ok(Self {
            hidden_size: hf.hidden_size,
            intermediate_size: hf.intermediate_size,
            num_hidden_layers: hf.num_hidden_layers,
            num_attention_heads: hf.num_attention_heads,
            num_channels: hf.num_channels.unwrap_or(3),
            image_size: hf.image_size,
            patch_size: hf.patch_size,
            layer_norm_eps: hf.layer_norm_eps.unwrap_or(1e-6),
        })
    }
}

impl TryFrom<Text> for DecoderConfig {
    type Error = Error;

    fn try_from(hf: Text) -> Result<Self, Error> {
        let model_type = hf.model_type.clone().unwrap_or_else(|| "phi3".to_owned());
        let Some(family) = Family::ALL.into_iter().find(|f| f.model_type() == model_type) else {
            let names = Family::ALL.map(Family::model_type).join("`, `");
            return Err(config("text_config.model_type", model_type, format!("one of `{names}`")));
        };
        let activation = hf.hidden_act.clone().unwrap_or_else(|| "silu".to_owned());
        if activation != "silu" {
            return Err(config("text_config.hidden_act", activation, "`silu`"));
        }
        let (heads, kv_heads) =
            (hf.num_attention_heads, hf.num_key_value_heads.unwrap_or(hf.num_attention_heads));
        if heads == 0 || !hf.hidden_size.is_multiple_of(heads) && hf.head_dim.is_none() {
            let expected = format!("a divisor of `hidden_size`, {}", hf.hidden_size);
            return Err(config("text_config.num_attention_heads", heads, expected));
        }
        if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            let expected = format!("a divisor of `num_attention_heads`, {heads}");
            return Err(config("text_config.num_key_value_heads", kv_heads, expected));
        }
        let head_dim = hf.head_dim.unwrap_or(hf.hidden_size / heads);
        if !head_dim.is_multiple_of(2) || head_dim == 0 {
            return Err(config("text_config.head_dim", head_dim, "an even number"));
        }
        Ok(Self {
            family,
            rope: rope(&hf, head_dim)?,
            vocab_size: hf.vocab_size,
            hidden_size: hf.hidden_size,
            intermediate_size: hf.intermediate_size,
            num_hidden_layers: hf.num_hidden_layers,
            num_attention_heads: heads,
            num_key_value_heads: kv_heads,
            head_dim,
            max_position_embeddings: hf.max_position_embeddings,
            rms_norm_eps: hf.rms_norm_eps,
            tie_word_embeddings: hf.tie_word_embeddings.unwrap_or(false),
            attention_bias: hf.attention_bias.unwrap_or(false),
        })
    }
}

fn rope(hf: &Text, head_dim: usize) -> Result<RopeConfig, Error> {
    let theta = hf.rope_theta.unwrap_or(10_000.0);
    let Some(value) = hf.rope_scaling.as_ref().filter(|value| !value.is_null()) else {
        return Ok(RopeConfig { theta, scaling: RopeScaling::None });
    };
    let kind = value["type"].as_str().or_else(|| value["rope_type"].as_str()).unwrap_or_default();
    let scaling = match kind {
        "default" => RopeScaling::None,
        "longrope" | "su" => longrope(hf, value, head_dim)?,
        "llama3" => {
            let llama3: Llama3 = section("text_config.rope_scaling", value.clone())?;
            RopeScaling::Llama3 {
                factor: llama3.factor,
                low_freq_factor: llama3.low_freq_factor,
                high_freq_factor: llama3.high_freq_factor,
                original_max_positions: llama3.original_max_position_embeddings,
            }
        }
        _ => {
            let expected = "one of `default`, `longrope`, `su`, `llama3`";
            return Err(config("text_config.rope_scaling.type", kind, expected));
        }
    };
    Ok(RopeConfig { theta, scaling })
}

fn longrope(hf: &Text, value: &Value, head_dim: usize) -> Result<RopeScaling, Error> {
    let LongRope { short_factor, long_factor } =
        section("text_config.rope_scaling", value.clone())?;
    for (name, factor) in [("short_factor", &short_factor), ("long_factor", &long_factor)] {
        if factor.len() != head_dim / 2 {
            let field = format!("text_config.rope_scaling.{name}");
            let found = format!("{} factors", factor.len());
            return Err(config(&field, found, format!("{} of them", head_dim / 2)));
        }
    }
    let max = hf.max_position_embeddings;
    let original = hf.original_max_position_embeddings.unwrap_or(max);
    let growth = max as f64 / original as f64;
    let attention_factor =
        if growth <= 1.0 { 1.0 } else { (1.0 + growth.ln() / (original as f64).ln()).sqrt() };
    Ok(RopeScaling::LongRope {
        short_factor,
        long_factor,
        original_max_positions: original,
        attention_factor,
    })
}
