//! `SigLIP`'s vision encoder: patches to features.

use std::sync::Arc;

use candle_core::Tensor;
use sequence::AttentionPlan;

use crate::linear::Linear;
use crate::norm::LayerNorm;
use crate::ops::Heads;
use crate::tape::{Parts, Tape};
use crate::weights::{Weight, Weights};
use crate::{Error, SiglipConfig, Tap};

/// The encoder up to and including `post_layernorm`; its pooling head is not used.
#[derive(Debug)]
pub(crate) struct Siglip {
    config: SiglipConfig,
    patch_embedding: Linear,
    position_embedding: Weight,
    layers: Vec<Arc<Layer>>,
    post_layernorm: LayerNorm,
    plan: Arc<AttentionPlan>,
}

#[derive(Debug)]
struct Layer {
    norm1: LayerNorm,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl Siglip {
    pub(crate) fn load(config: &SiglipConfig, weights: &Weights<'_>) -> Result<Self, Error> {
        let (width, patches) = (config.hidden_size, config.num_patches());
        let embeddings = weights.pp("embeddings");
        let patch = embeddings.pp("patch_embedding");
        let (channels, size) = (config.num_channels, config.patch_size);
        // A convolution whose stride is its size is a linear layer over flattened patches.
        let kernel = patch.matrix("weight", &[width, channels, size, size])?;
        let bias = Some(patch.tensor("bias", &[width])?);
        let patch_embedding = Linear::new(kernel, bias, [channels * size * size, width]);
        let position_embedding =
            embeddings.tensor("position_embedding.weight", &[patches, width])?;
        let layers = (0..config.num_hidden_layers)
            .map(|index| Layer::load(config, &weights.pp("encoder.layers").pp(index)).map(Arc::new))
            .collect::<Result<_, _>>()?;
        let post_layernorm =
            LayerNorm::load(&weights.pp("post_layernorm"), width, config.layer_norm_eps)?;
        let plan = Arc::new(AttentionPlan::full(patches, patches));
        let config = config.clone();
        Ok(Self { config, patch_embedding, position_embedding, layers, post_layernorm, plan })
    }

    /// Returns the features of every patch. `// [images, 3, size, size] -> [images, patches, width]`
    pub(crate) fn forward(
        &self,
        tape: &Tape,
        pixels: &Tensor,
        tap: &mut dyn Tap,
    ) -> Result<Tensor, Error> {
        let position = self.position_embedding.tensor()?; // in the type and on the device that compute
        let pixels = pixels.to_device(position.device())?.to_dtype(position.dtype())?;
        let patches = self.patches(&pixels)?;
        let x = self.patch_embedding.forward(tape, &patches)?; // [images, patches, width]
        let mut x = tape.add_to_each(&x, &self.position_embedding)?;
        tap.tensor("vision.embeddings", &x);
        let parts = Parts::repeated(&self.plan, x.dim(0)?);
        let num_heads = self.config.num_attention_heads;
        for (index, layer) in self.layers.iter().enumerate() {
            let (layer, parts) = (Arc::clone(layer), parts.clone());
            x = tape.part(&x, move |tape, x| layer.forward(tape, x, &parts, num_heads))?;
            tap.tensor(&format!("vision.layer.{index}"), &x);
        }
        let x = self.post_layernorm.forward(tape, &x)?;
        tap.tensor("vision.output", &x);
        Ok(x)
    }

    /// Cuts pixels into flattened patches. `// [images, patches, channels * size * size]`
    fn patches(&self, pixels: &Tensor) -> Result<Tensor, Error> {
        let (images, channels, height, width) = pixels.dims4()?;
        let size = self.config.patch_size;
        let (rows, columns) = (height / size, width / size);
        let pixels = pixels.narrow(2, 0, rows * size)?.narrow(3, 0, columns * size)?;
        let patches =
            pixels.contiguous()?.reshape(&[images, channels, rows, size, columns, size])?;
        let patches = patches.permute([0, 2, 4, 1, 3, 5])?.contiguous()?;
        Ok(patches.reshape((images, rows * columns, channels * size * size))?)
    }
}

impl Layer {
    fn load(config: &SiglipConfig, weights: &Weights<'_>) -> Result<Self, Error> {
        let width = config.hidden_size;
        let (fc1, fc2) = (weights.pp("mlp.fc1"), weights.pp("mlp.fc2"));
        let inner = fc1.inner_width(config.intermediate_size);
        let attention = weights.pp("self_attn");
        let square = |name: &str| Linear::load(&attention.pp(name), [width, width], true);
        let norm = |name: &str| LayerNorm::load(&weights.pp(name), width, config.layer_norm_eps);
        Ok(Self {
            norm1: norm("layer_norm1")?,
            q_proj: square("q_proj")?,
            k_proj: square("k_proj")?,
            v_proj: square("v_proj")?,
            out_proj: square("out_proj")?,
            norm2: norm("layer_norm2")?,
            fc1: Linear::load(&fc1, [width, inner], true)?,
            fc2: Linear::load(&fc2, [inner, width], true)?,
        })
    }

    fn forward(
        &self,
        tape: &Tape,
        x: &Tensor,
        parts: &Parts,
        heads: usize,
    ) -> Result<Tensor, Error> {
        let normed = self.norm1.forward(tape, x)?;
        let heads = Heads { query: heads, key_value: heads, dim: x.dim(2)? / heads };
        let q = self.q_proj.forward(tape, &normed)?;
        let k = self.k_proj.forward(tape, &normed)?;
        let v = self.v_proj.forward(tape, &normed)?;
        let k = tape.rounded_as(k, self.k_proj.dtype())?;
        let v = tape.rounded_as(v, self.v_proj.dtype())?;
        let attended = tape.attention([&q, &k, &v], parts, heads)?;
        let x = tape.add(x, &self.out_proj.forward(tape, &attended)?)?;
        let inner = self.fc1.forward(tape, &self.norm2.forward(tape, &x)?)?;
        let inner = tape.gelu_tanh(&inner)?;
        tape.add(&x, &self.fc2.forward(tape, &inner)?)
    }
}
