//! `SigLIP`'s vision encoder: patches to features.

use candle_core::Tensor;
use sequence::AttentionPlan;

use crate::linear::Linear;
use crate::norm::LayerNorm;
use crate::ops::Heads;
use crate::weights::Weights;
use crate::{Error, SiglipConfig, Tap, ops};

/// The encoder up to and including `post_layernorm`; its pooling head is not used.
#[derive(Debug)]
pub(crate) struct Siglip {
    config: SiglipConfig,
    patch_embedding: Linear,
    position_embedding: Tensor,
    layers: Vec<Layer>,
    post_layernorm: LayerNorm,
    plan: AttentionPlan,
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
            .map(|index| Layer::load(config, &weights.pp("encoder.layers").pp(index)))
            .collect::<Result<_, _>>()?;
        let post_layernorm =
            LayerNorm::load(&weights.pp("post_layernorm"), width, config.layer_norm_eps)?;
        let plan = AttentionPlan::full(patches, patches);
        let config = config.clone();
        Ok(Self { config, patch_embedding, position_embedding, layers, post_layernorm, plan })
    }

    /// Returns the features of every patch. `// [images, 3, size, size] -> [images, patches, width]`
    pub(crate) fn forward(&self, pixels: &Tensor, tap: &mut dyn Tap) -> Result<Tensor, Error> {
        let position = &self.position_embedding; // in the type and on the device that compute
        let pixels = pixels.to_device(position.device())?.to_dtype(position.dtype())?;
        let patches = self.patches(&pixels)?;
        let x = self.patch_embedding.forward(&patches)?; // [images, patches, width]
        let mut x = x.broadcast_add(position)?;
        tap.tensor("vision.embeddings", &x);
        for (index, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&x, &self.plan, self.config.num_attention_heads)?;
            tap.tensor(&format!("vision.layer.{index}"), &x);
        }
        let x = self.post_layernorm.forward(&x)?;
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
        let (width, inner) = (config.hidden_size, config.intermediate_size);
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
            fc1: Linear::load(&weights.pp("mlp.fc1"), [width, inner], true)?,
            fc2: Linear::load(&weights.pp("mlp.fc2"), [inner, width], true)?,
        })
    }

    fn forward(&self, x: &Tensor, plan: &AttentionPlan, heads: usize) -> Result<Tensor, Error> {
        let normed = self.norm1.forward(x)?;
        let dim = x.dim(2)? / heads;
        let heads = Heads { query: heads, key_value: heads, dim };
        let q = self.q_proj.forward(&normed)?;
        let k = self.k_proj.forward(&normed)?;
        let v = self.v_proj.forward(&normed)?;
        let mut rows = Vec::with_capacity(x.dim(0)?);
        for image in 0..x.dim(0)? {
            let (q, k, v) = (q.get(image)?, k.get(image)?, v.get(image)?);
            rows.push(ops::attention(&q, &k, &v, plan, heads)?);
        }
        let x = (x + self.out_proj.forward(&Tensor::stack(&rows, 0)?)?)?;
        let inner = ops::gelu_tanh(&self.fc1.forward(&self.norm2.forward(&x)?)?)?;
        Ok((x + self.fc2.forward(&inner)?)?)
    }
}
