//! Hugging Face's JSON, and what of it is supported.
//!
//! Each section is read into a struct that mirrors the file, and only its `TryFrom` makes ours.

mod text;
mod vision;

use std::fmt::Display;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{AkiConfig, DecoderConfig, SiglipConfig};
use crate::Error;
use crate::connector::ConnectorConfig;

/// The vision tokens of an image where the configuration does not say.
const NUM_VISION_TOKENS: usize = 144;
/// The added tokens where the configuration does not say: `<image>` and `<|endofchunk|>`.
const NUM_ADDED_TOKENS: usize = 2;

/// The largest number of layers, heads, or elements of a head: far above any model, and small
/// enough that no product of sizes overflows.
const MAX_COUNT: usize = 1 << 12;
/// The largest width of a layer.
const MAX_WIDTH: usize = 1 << 20;
/// The largest number of tokens, and of positions.
const MAX_LEN: usize = 1 << 24;

/// A backbone that a configuration may name only.
struct Backbone {
    /// The section that holds its shape.
    section: &'static str,
    /// The field that holds its path.
    path_field: &'static str,
    /// Those that are known: path and section.
    presets: &'static [(&'static str, &'static str)],
}

const VISION: Backbone = Backbone {
    section: "vision_config",
    path_field: "vision_encoder_path",
    presets: &[(
        "google/siglip-so400m-patch14-384",
        include_str!("../../../presets/siglip-so400m-patch14-384.json"),
    )],
};

const TEXT: Backbone = Backbone {
    section: "text_config",
    path_field: "lang_model_path",
    presets: &[(
        "microsoft/Phi-3.5-mini-instruct",
        include_str!("../../../presets/phi-3.5-mini-instruct.json"),
    )],
};

#[derive(Deserialize)]
struct Root {
    initial_tokenizer_len: Option<usize>,
    num_additional_tokens: Option<usize>,
    num_vision_tokens: Option<usize>,
    n_px: Option<usize>,
    norm_mean: Option<Channels>,
    norm_std: Option<Channels>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Channels {
    Same(f32),
    Each([f32; 3]),
}

pub(super) fn parse(mut source: Value) -> Result<AkiConfig, Error> {
    let root: Root = section("config", &source)?;
    for backbone in [VISION, TEXT] {
        source[backbone.section] = backbone.find(&source)?;
    }
    let vision = SiglipConfig::try_from(section::<vision::Section>(
        VISION.section,
        &source[VISION.section],
    )?)?;
    let text =
        DecoderConfig::try_from(section::<text::Section>(TEXT.section, &source[TEXT.section])?)?;
    let connector = ConnectorConfig::parse(&source["connector"])?;
    let num_vision_tokens = num_vision_tokens(&connector, root.num_vision_tokens, &vision)?;
    let image_size = root.n_px.unwrap_or(vision.image_size);
    if image_size != vision.image_size {
        let expected = format!("`{}`, the vision encoder's `image_size`", vision.image_size);
        return Err(refuse("n_px", image_size, expected));
    }
    let base = root.initial_tokenizer_len.unwrap_or(text.vocab_size);
    if base == 0 || base > text.vocab_size {
        let expected = format!("at least 1 and at most `vocab_size`, {}", text.vocab_size);
        return Err(refuse("initial_tokenizer_len", base, expected));
    }
    let num_added_tokens = root.num_additional_tokens.unwrap_or(NUM_ADDED_TOKENS);
    if num_added_tokens > MAX_LEN {
        let expected = format!("at most {MAX_LEN}");
        return Err(refuse("num_additional_tokens", num_added_tokens, expected));
    }
    Ok(AkiConfig {
        vision,
        connector,
        text,
        num_vision_tokens,
        image_size,
        norm_mean: channels("norm_mean", root.norm_mean.as_ref(), |_| true)?,
        norm_std: channels("norm_std", root.norm_std.as_ref(), |value| value > 0.0)?,
        initial_tokenizer_len: base,
        num_added_tokens,
        source,
    })
}

impl Backbone {
    /// Returns a backbone's section of the configuration, from the file or else by its path.
    fn find(&self, source: &Value) -> Result<Value, Error> {
        match &source[self.section] {
            Value::Null => {}
            section => return Ok(section.clone()),
        }
        let path = source[self.path_field].as_str().unwrap_or_default();
        let Some((_, preset)) = self.presets.iter().find(|(name, _)| *name == path) else {
            let names: Vec<&str> = self.presets.iter().map(|(name, _)| *name).collect();
            let names = names.join("`, `");
            let expected = format!("`{names}`, or the shape in a section `{}`", self.section);
            return Err(refuse(self.path_field, path, expected));
        };
        Ok(serde_json::from_str(preset)?)
    }
}

fn num_vision_tokens(
    connector: &ConnectorConfig,
    stated: Option<usize>,
    vision: &SiglipConfig,
) -> Result<usize, Error> {
    match connector.fixed_num_tokens(vision) {
        None => within("num_vision_tokens", stated.unwrap_or(NUM_VISION_TOKENS), MAX_WIDTH),
        Some(fixed) => match stated.filter(|stated| *stated != fixed) {
            None => Ok(fixed),
            Some(stated) => {
                let expected =
                    format!("`{fixed}`, what the `{}` connector makes", connector.name());
                Err(refuse("num_vision_tokens", stated, expected))
            }
        },
    }
}

fn channels(
    field: &str,
    channels: Option<&Channels>,
    is_allowed: fn(f32) -> bool,
) -> Result<[f32; 3], Error> {
    let values = match channels {
        None => [0.5; 3],
        Some(Channels::Same(value)) => [*value; 3],
        Some(Channels::Each(values)) => *values,
    };
    match values.iter().find(|value| !value.is_finite() || !is_allowed(**value)) {
        None => Ok(values),
        Some(value) => Err(refuse(field, value, "finite numbers, those of `norm_std` above zero")),
    }
}

/// Reads one section of the file.
pub(crate) fn section<T: DeserializeOwned>(field: &str, value: &Value) -> Result<T, Error> {
    T::deserialize(value).map_err(|source| Error::Section { field: field.to_owned(), source })
}

/// Returns a size if it is at least one and at most `most`.
pub(crate) fn within(field: &str, value: usize, most: usize) -> Result<usize, Error> {
    if (1..=most).contains(&value) {
        Ok(value)
    } else {
        Err(refuse(field, value, format!("at least 1 and at most {most}")))
    }
}

/// Returns a number if it is finite and above zero.
fn positive(field: &str, value: f64) -> Result<f64, Error> {
    if value.is_finite() && value > 0.0 {
        Ok(value)
    } else {
        Err(refuse(field, value, "a positive number"))
    }
}

/// Returns the error for a value that is not supported.
pub(crate) fn refuse(field: &str, found: impl Display, expected: impl Into<String>) -> Error {
    Error::Config { field: field.to_owned(), found: found.to_string(), expected: expected.into() }
}

/// Returns an error unless the field is absent or has the one supported value.
fn only<T: PartialEq + Display>(field: &str, found: Option<T>, supported: &T) -> Result<(), Error> {
    match found {
        Some(found) if found != *supported => Err(refuse(field, found, format!("`{supported}`"))),
        _ => Ok(()),
    }
}

/// Returns the largest number of layers, heads, or elements of a head of a connector.
pub(crate) fn count(field: &str, value: usize) -> Result<usize, Error> {
    within(field, value, MAX_COUNT)
}
