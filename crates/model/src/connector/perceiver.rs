//! The Perceiver Resampler (Flamingo, arXiv 2204.14198): a fixed number of vision tokens.

use std::sync::Arc;

use candle_core::Tensor;
use sequence::AttentionPlan;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Connector, Settings};
use crate::config::hf;
use crate::linear::Linear;
use crate::norm::LayerNorm;
use crate::ops::Heads;
use crate::ops::kept::Kept;
use crate::tape::{Part, Parts, Tape};
use crate::weights::{Weight, Weights};
use crate::{AkiConfig, Attended, Error, SiglipConfig, Tap};

/// The epsilon of `PyTorch`'s layer normalisation.
const EPS: f64 = 1e-5;
/// The width of the feed-forward layers, in widths of the latents.
const FF_MULTIPLE: usize = 4;

/// The shape of a Perceiver Resampler.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct PerceiverConfig {
    num_layers: usize,
    heads: usize,
    head_dim: usize,
}

impl PerceiverConfig {
    /// The shape of the published model, which its configuration does not state.
    const PUBLISHED: Self = Self { num_layers: 6, heads: 8, head_dim: 64 };
}

/// Learned latents that read the features.
#[derive(Debug)]
struct Perceiver {
    latents: Weight,
    layers: Vec<Layer>,
    norm: LayerNorm,
    projection: Linear,
    plan: Arc<AttentionPlan>,
}

#[derive(Debug)]
struct Layer {
    heads: Heads,
    norm_media: LayerNorm,
    norm_latents: LayerNorm,
    to_q: Linear,
    to_kv: Linear,
    to_out: Linear,
    ff_norm: LayerNorm,
    ff_in: Linear,
    ff_out: Linear,
}

impl PerceiverConfig {
    pub(super) fn parse(section: &Value) -> Result<Arc<dyn Settings>, Error> {
        if section.is_null() {
            return Ok(Arc::new(Self::PUBLISHED));
        }
        let config: Self = hf::section("connector", section)?;
        hf::count("connector.num_layers", config.num_layers)?;
        hf::count("connector.heads", config.heads)?;
        hf::count("connector.head_dim", config.head_dim)?;
        Ok(Arc::new(config))
    }
}

impl Settings for PerceiverConfig {
    fn to_json(&self) -> Value {
        json!(self)
    }

    fn fixed_num_tokens(&self, _vision: &SiglipConfig) -> Option<usize> {
        None
    }

    fn tensor_shapes(&self, config: &AkiConfig) -> Vec<(String, Vec<usize>)> {
        let width = config.vision.hidden_size;
        let inner = self.heads * self.head_dim;
        let mut shapes = vec![("latents".to_owned(), vec![config.num_vision_tokens, width])];
        for layer in 0..self.num_layers {
            let of_layer = [
                ("0.norm_media.weight", vec![width]),
                ("0.norm_media.bias", vec![width]),
                ("0.norm_latents.weight", vec![width]),
                ("0.norm_latents.bias", vec![width]),
                ("0.to_q.weight", vec![inner, width]),
                ("0.to_kv.weight", vec![2 * inner, width]),
                ("0.to_out.weight", vec![width, inner]),
                ("1.0.weight", vec![width]),
                ("1.0.bias", vec![width]),
                ("1.1.weight", vec![FF_MULTIPLE * width, width]),
                ("1.3.weight", vec![width, FF_MULTIPLE * width]),
            ];
            shapes.extend(of_layer.map(|(name, shape)| (format!("layers.{layer}.{name}"), shape)));
        }
        let hidden = config.text.hidden_size;
        shapes.extend(
            [
                ("norm.weight", vec![width]),
                ("norm.bias", vec![width]),
                ("projection.weight", vec![hidden, width]),
                ("projection.bias", vec![hidden]),
            ]
            .map(|(name, shape)| (name.to_owned(), shape)),
        );
        shapes
    }

    fn load(&self, config: &AkiConfig, weights: &Weights<'_>) -> Result<Box<dyn Connector>, Error> {
        let (width, num_latents) = (config.vision.hidden_size, config.num_vision_tokens);
        if let Some([found, _]) = weights.shape("latents")
            && *found != num_latents
        {
            let (name, found) = (weights.name("latents"), *found);
            return Err(Error::NumLatents { name, found, expected: num_latents });
        }
        let latents = weights.tensor("latents", &[num_latents, width])?;
        let layers = (0..self.num_layers)
            .map(|index| Layer::load(self, width, &weights.pp("layers").pp(index)))
            .collect::<Result<_, _>>()?;
        let hidden = config.text.hidden_size;
        Ok(Box::new(Perceiver {
            latents,
            layers,
            norm: LayerNorm::load(&weights.pp("norm"), width, EPS)?,
            projection: Linear::load(&weights.pp("projection"), [width, hidden], true)?,
            plan: Arc::new(AttentionPlan::full(
                num_latents,
                config.vision.num_patches() + num_latents,
            )),
        }))
    }
}

impl Connector for Perceiver {
    fn forward(&self, tape: &Tape, features: &Tensor, tap: &mut dyn Tap) -> Result<Tensor, Error> {
        let images = features.dim(0)?;
        let parts = Parts::repeated(&self.plan, images);
        let mut x = tape.for_each(&self.latents, images)?; // [images, latents, width]
        for (index, layer) in self.layers.iter().enumerate() {
            let tap: &mut dyn Tap = &mut *tap;
            x = layer.forward(tape, &x, features, (&parts, index, tap))?;
        }
        self.project(tape, &x)
    }

    fn project(&self, tape: &Tape, features: &Tensor) -> Result<Tensor, Error> {
        self.projection.forward(tape, &self.norm.forward(tape, features)?)
    }
}

impl Layer {
    fn load(config: &PerceiverConfig, width: usize, weights: &Weights<'_>) -> Result<Self, Error> {
        let (attention, ff) = (weights.pp("0"), weights.pp("1"));
        let heads = Heads { query: config.heads, key_value: config.heads, dim: config.head_dim };
        let inner = heads.query * heads.dim;
        Ok(Self {
            heads,
            norm_media: LayerNorm::load(&attention.pp("norm_media"), width, EPS)?,
            norm_latents: LayerNorm::load(&attention.pp("norm_latents"), width, EPS)?,
            to_q: Linear::load(&attention.pp("to_q"), [width, inner], false)?,
            to_kv: Linear::load(&attention.pp("to_kv"), [width, 2 * inner], false)?,
            to_out: Linear::load(&attention.pp("to_out"), [inner, width], false)?,
            ff_norm: LayerNorm::load(&ff.pp("0"), width, EPS)?,
            ff_in: Linear::load(&ff.pp("1"), [width, FF_MULTIPLE * width], false)?,
            ff_out: Linear::load(&ff.pp("3"), [FF_MULTIPLE * width, width], false)?,
        })
    }

    /// `// x [images, latents, width], features [images, patches, width]`
    fn forward(
        &self,
        tape: &Tape,
        x: &Tensor,
        features: &Tensor,
        (parts, index, tap): (&Parts, usize, &mut dyn Tap),
    ) -> Result<Tensor, Error> {
        let media = self.norm_media.forward(tape, features)?;
        let latents = self.norm_latents.forward(tape, x)?;
        let q = self.to_q.forward(tape, &latents)?;
        let kv = self.to_kv.forward(tape, &tape.cat(&[&media, &latents], 1)?)?;
        let inner = self.heads.query * self.heads.dim;
        let [k, v] = tape.split(&kv, [inner, inner])?;
        let dtype = self.to_kv.dtype();
        let kept = [tape.rounded_as(k.clone(), dtype)?, tape.rounded_as(v, dtype)?];
        let attended = tape.attention([&q, &kept[0], &kept[1]], parts, self.heads)?;
        for (image, Part { plan, .. }) in parts.iter().enumerate() {
            let (q, k) = (q.get(image)?, k.get(image)?);
            let kept = Kept::Numbers(k.clone(), k);
            let call = Attended { q: &q, keys: &kept, plan, heads: self.heads };
            tap.attention(&format!("resampler.layer.{index}"), &call)?;
        }
        let x = tape.add(x, &self.to_out.forward(tape, &attended)?)?;
        let inner = self.ff_in.forward(tape, &self.ff_norm.forward(tape, &x)?)?;
        let inner = tape.gelu_erf(&inner)?;
        tape.add(&x, &self.ff_out.forward(tape, &inner)?)
    }
}
