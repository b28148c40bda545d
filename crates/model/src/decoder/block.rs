//! One layer of the decoder.

use candle_core::{D, DType, Tensor};

use super::Sequence;
use super::family::Projection;
use crate::linear::Linear;
use crate::norm::RmsNorm;
use crate::ops::Heads;
use crate::weights::Weights;
use crate::{DecoderConfig, Error, ops};

/// Attention and a gated feed-forward layer, each after a norm and added to its input.
#[derive(Debug)]
pub(crate) struct Block {
    heads: Heads,
    input_layernorm: RmsNorm,
    qkv: Vec<Linear>,
    o_proj: Linear,
    post_attention_layernorm: RmsNorm,
    gate_up: Vec<Linear>,
    down_proj: Linear,
}

impl Block {
    pub(crate) fn load(config: &DecoderConfig, weights: &Weights<'_>) -> Result<Self, Error> {
        let hidden = config.hidden_size;
        let heads = Heads {
            query: config.num_attention_heads,
            key_value: config.num_key_value_heads,
            dim: config.head_dim,
        };
        let projections = config.family.projections(config);
        let load = |part: &Projection| {
            Linear::load(&weights.pp(part.name), [part.width, part.out_width], part.has_bias)
        };
        let all = |parts: &[Projection]| parts.iter().map(load).collect::<Result<Vec<_>, _>>();
        let norm = |name: &str| RmsNorm::load(&weights.pp(name), hidden, config.rms_norm_eps);
        Ok(Self {
            heads,
            input_layernorm: norm("input_layernorm")?,
            qkv: all(&projections.qkv)?,
            o_proj: load(&projections.o)?,
            post_attention_layernorm: norm("post_attention_layernorm")?,
            gate_up: all(&projections.gate_up)?,
            down_proj: load(&projections.down)?,
        })
    }

    /// Returns the type that keys and values are kept in: that of the weights.
    pub(crate) fn dtype(&self) -> DType {
        self.o_proj.dtype()
    }

    pub(crate) fn forward(
        &self,
        x: &Tensor,
        layer: usize,
        angles: &(Tensor, Tensor),
        batch: &mut [Sequence<'_>],
    ) -> Result<Tensor, Error> {
        let attended = self.attend(&self.input_layernorm.forward(x)?, layer, angles, batch)?;
        let x = (x + attended)?;
        let gate_up = joined(&self.gate_up, &self.post_attention_layernorm.forward(&x)?)?;
        Ok((x + self.down_proj.forward(&ops::silu_gate(&gate_up)?)?)?)
    }

    fn attend(
        &self,
        x: &Tensor,
        layer: usize,
        (cos, sin): &(Tensor, Tensor),
        batch: &mut [Sequence<'_>],
    ) -> Result<Tensor, Error> {
        let Heads { query, key_value, dim } = self.heads;
        let qkv = joined(&self.qkv, x)?; // [tokens, (query + 2 key_value) dim]
        let part = |from: usize, heads: usize| qkv.narrow(1, from * dim, heads * dim)?.contiguous();
        let q = ops::rope(&part(0, query)?, cos, sin)?;
        let k = ops::rope(&part(query, key_value)?, cos, sin)?;
        let v = part(query + key_value, key_value)?;
        let mut outs = Vec::with_capacity(batch.len());
        let mut start = 0;
        for sequence in batch {
            let rows = sequence.plan.num_rows();
            let of = |x: &Tensor| x.narrow(0, start, rows);
            let (q, k, v) = (of(&q)?, of(&k)?, of(&v)?);
            let (k, v) = match &mut sequence.cache {
                Some(cache) => cache.write(layer, &k, &v)?,
                // Rounded as a cache would, so that having one changes nothing.
                None => (k.to_dtype(self.dtype())?, v.to_dtype(self.dtype())?),
            };
            outs.push(ops::attention(&q, &k, &v, sequence.plan, self.heads)?);
            start += rows;
        }
        self.o_proj.forward(&Tensor::cat(&outs, 0)?)
    }
}

/// Applies layers to the same input and joins what they give.
fn joined(layers: &[Linear], x: &Tensor) -> Result<Tensor, Error> {
    let outs = layers.iter().map(|layer| layer.forward(x)).collect::<Result<Vec<_>, _>>()?;
    match outs.as_slice() {
        [out] => Ok(out.clone()),
        outs => Ok(Tensor::cat(outs, D::Minus1)?),
    }
}
