//! `text_config`.

use serde::Deserialize;
use serde_json::Value;

use super::{MAX_LEN, MAX_WIDTH, count, only, positive, refuse, section, within};
use crate::{DecoderConfig, Error, Family, RopeConfig, RopeScaling};

#[derive(Deserialize)]
pub(super) struct Section {
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
    partial_rotary_factor: Option<f64>,
    use_sliding_window: Option<bool>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
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

impl TryFrom<Section> for DecoderConfig {
    type Error = Error;

    fn try_from(hf: Section) -> Result<Self, Error> {
        only("text_config.hidden_act", hf.hidden_act.clone(), &"silu".to_owned())?;
        only("text_config.use_sliding_window", hf.use_sliding_window, &false)?;
        only("text_config.partial_rotary_factor", hf.partial_rotary_factor, &1.0)?;
        let family = family(&hf)?;
        let (heads, kv_heads, head_dim) = heads(&hf)?;
        Ok(Self {
            family,
            rope: rope(&hf, head_dim)?,
            vocab_size: within("text_config.vocab_size", hf.vocab_size, MAX_LEN)?,
            hidden_size: within("text_config.hidden_size", hf.hidden_size, MAX_WIDTH)?,
            intermediate_size: within(
                "text_config.intermediate_size",
                hf.intermediate_size,
                MAX_WIDTH,
            )?,
            num_hidden_layers: count("text_config.num_hidden_layers", hf.num_hidden_layers)?,
            num_attention_heads: heads,
            num_key_value_heads: kv_heads,
            head_dim,
            max_position_embeddings: within(
                "text_config.max_position_embeddings",
                hf.max_position_embeddings,
                MAX_LEN,
            )?,
            rms_norm_eps: positive("text_config.rms_norm_eps", hf.rms_norm_eps)?,
            tie_word_embeddings: hf.tie_word_embeddings.unwrap_or(false),
            attention_bias: hf.attention_bias.unwrap_or(false),
            mlp_bias: hf.mlp_bias.unwrap_or(false),
        })
    }
}

fn family(hf: &Section) -> Result<Family, Error> {
    // The reference's own files say nothing, because it knows no other.
    let model_type = hf.model_type.as_deref().unwrap_or("phi3");
    let Some(family) = Family::all().find(|family| family.model_type() == model_type) else {
        let names: Vec<_> = Family::all().map(Family::model_type).collect();
        let expected = format!("one of `{}`", names.join("`, `"));
        return Err(refuse("text_config.model_type", model_type, expected));
    };
    for (field, value) in [("attention_bias", hf.attention_bias), ("mlp_bias", hf.mlp_bias)] {
        if !family.has_bias_field(field) {
            only(&format!("text_config.{field}"), value, &false)?;
        }
    }
    Ok(family)
}

/// Returns the query heads, the key and value heads, and the width of a head.
fn heads(hf: &Section) -> Result<(usize, usize, usize), Error> {
    let heads = count("text_config.num_attention_heads", hf.num_attention_heads)?;
    let kv_heads = hf.num_key_value_heads.unwrap_or(heads);
    if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
        let expected = format!("a divisor of `num_attention_heads`, {heads}");
        return Err(refuse("text_config.num_key_value_heads", kv_heads, expected));
    }
    if hf.head_dim.is_none() && !hf.hidden_size.is_multiple_of(heads) {
        let expected = format!("a divisor of `hidden_size`, {}", hf.hidden_size);
        return Err(refuse("text_config.num_attention_heads", heads, expected));
    }
    let head_dim = count("text_config.head_dim", hf.head_dim.unwrap_or(hf.hidden_size / heads))?;
    if !head_dim.is_multiple_of(2) {
        return Err(refuse("text_config.head_dim", head_dim, "an even number"));
    }
    Ok((heads, kv_heads, head_dim))
}

fn rope(hf: &Section, head_dim: usize) -> Result<RopeConfig, Error> {
    let theta = positive("text_config.rope_theta", hf.rope_theta.unwrap_or(10_000.0))?;
    let Some(value) = hf.rope_scaling.as_ref().filter(|value| !value.is_null()) else {
        return Ok(RopeConfig { theta, scaling: RopeScaling::None });
    };
    let kind = value["type"].as_str().or_else(|| value["rope_type"].as_str()).unwrap_or_default();
    let scaling = match kind {
        "default" => RopeScaling::None,
        // The name of its first version.
        "longrope" | "su" => longrope(hf, value, head_dim)?,
        "llama3" => llama3(value)?,
        _ => {
            let expected = "one of `default`, `longrope`, `su`, `llama3`";
            return Err(refuse("text_config.rope_scaling.type", kind, expected));
        }
    };
    Ok(RopeConfig { theta, scaling })
}

fn longrope(hf: &Section, value: &Value, head_dim: usize) -> Result<RopeScaling, Error> {
    let LongRope { short_factor, long_factor } = section("text_config.rope_scaling", value)?;
    for (name, factors) in [("short_factor", &short_factor), ("long_factor", &long_factor)] {
        let field = format!("text_config.rope_scaling.{name}");
        if factors.len() != head_dim / 2 {
            let (found, expected) = (factors.len(), head_dim / 2);
            let found = format!("{found} factors");
            return Err(refuse(&field, found, format!("{expected} factors, half of a head")));
        }
        for factor in factors {
            positive(&field, *factor)?;
        }
    }
    let max = hf.max_position_embeddings;
    let original = hf.original_max_position_embeddings.unwrap_or(max);
    if original < 2 {
        let field = "text_config.original_max_position_embeddings";
        return Err(refuse(field, original, "at least 2"));
    }
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

fn llama3(value: &Value) -> Result<RopeScaling, Error> {
    let hf: Llama3 = section("text_config.rope_scaling", value)?;
    let field = |name: &str| format!("text_config.rope_scaling.{name}");
    let (low, high) = (hf.low_freq_factor, hf.high_freq_factor);
    if high <= low {
        let expected = format!("more than `low_freq_factor`, {low}");
        return Err(refuse(&field("high_freq_factor"), high, expected));
    }
    let original = hf.original_max_position_embeddings;
    Ok(RopeScaling::Llama3 {
        factor: positive(&field("factor"), hf.factor)?,
        low_freq_factor: positive(&field("low_freq_factor"), low)?,
        high_freq_factor: positive(&field("high_freq_factor"), high)?,
        original_max_positions: within(
            &field("original_max_position_embeddings"),
            original,
            MAX_LEN,
        )?,
    })
}
