//! `vision_config`.

use serde::Deserialize;

use super::{MAX_WIDTH, count, only, positive, refuse, within};
use crate::{Error, SiglipConfig};

/// The largest height and width of an image, in pixels.
const MAX_IMAGE_SIZE: usize = 1 << 14;
const MAX_CHANNELS: usize = 16;

#[derive(Deserialize)]
pub(super) struct Section {
    model_type: Option<String>,
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

impl TryFrom<Section> for SiglipConfig {
    type Error = Error;

    fn try_from(hf: Section) -> Result<Self, Error> {
        let model_type = "siglip_vision_model".to_owned();
        only("vision_config.model_type", hf.model_type, &model_type)?;
        only("vision_config.hidden_act", hf.hidden_act, &"gelu_pytorch_tanh".to_owned())?;
        let width = within("vision_config.hidden_size", hf.hidden_size, MAX_WIDTH)?;
        let heads = count("vision_config.num_attention_heads", hf.num_attention_heads)?;
        if !width.is_multiple_of(heads) {
            let expected = format!("a divisor of `hidden_size`, {width}");
            return Err(refuse("vision_config.num_attention_heads", heads, expected));
        }
        let image_size = within("vision_config.image_size", hf.image_size, MAX_IMAGE_SIZE)?;
        let eps = hf.layer_norm_eps.unwrap_or(1e-6);
        Ok(Self {
            hidden_size: width,
            intermediate_size: within(
                "vision_config.intermediate_size",
                hf.intermediate_size,
                MAX_WIDTH,
            )?,
            num_hidden_layers: count("vision_config.num_hidden_layers", hf.num_hidden_layers)?,
            num_attention_heads: heads,
            num_channels: within(
                "vision_config.num_channels",
                hf.num_channels.unwrap_or(3),
                MAX_CHANNELS,
            )?,
            image_size,
            patch_size: within("vision_config.patch_size", hf.patch_size, image_size)?,
            layer_norm_eps: positive("vision_config.layer_norm_eps", eps)?,
        })
    }
}
