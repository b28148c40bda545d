//! One layer of the decoder.

use candle_core::{DType, Tensor};

use super::Sequence;
use super::family::Projection;
use crate::linear::Linear;
use crate::norm::RmsNorm;
use crate::ops::Heads;
use crate::ops::kept::Kept;
use crate::tape::{self, Parts, Tape};
use crate::weights::Weights;
use crate::{Attended, DecoderConfig, Error, KvType, Tap};

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

/// How the keys and values of a batch are at hand.
pub(crate) enum Batch<'a, 'b> {
    /// As they are computed, for every sequence whole: in training.
    Whole(&'a Parts),
    /// As a cache keeps them, some of them in caches: in inference.
    Stored {
        sequences: &'a mut [Sequence<'b>],
        of_layer: OfLayer<'a>,
        /// The rows whose results are wanted; of the others there are keys and values. All if none are named.
        rows: Option<&'a [u32]>,
    },
}

/// What attention over a layer's caches knows of the layer.
pub(crate) struct OfLayer<'a> {
    pub(crate) index: usize,
    /// How keys and values are kept.
    pub(crate) kv_type: KvType,
    pub(crate) tap: &'a mut dyn Tap,
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

    /// Returns the type of the weights.
    pub(crate) fn dtype(&self) -> DType {
        self.o_proj.dtype()
    }

    /// Returns the layer's results. `// [tokens, hidden] -> [wanted rows, hidden]`
    pub(crate) fn forward(
        &self,
        tape: &Tape,
        x: &Tensor,
        angles: &(Tensor, Tensor),
        batch: Batch<'_, '_>,
    ) -> Result<Tensor, Error> {
        let rows = match batch {
            Batch::Whole(_) => None,
            Batch::Stored { rows, .. } => rows,
        };
        let wanted = |of: Tensor| match rows {
            Some(rows) => tape.select_rows(&of, rows.to_vec()),
            None => Ok(of),
        };
        let normed = self.input_layernorm.forward(tape, x)?;
        let attended = wanted(self.attend(tape, &normed, angles, batch)?)?;
        let x = tape.add(&wanted(x.clone())?, &self.o_proj.forward(tape, &attended)?)?;
        let normed = self.post_attention_layernorm.forward(tape, &x)?;
        let gated = tape.silu_gate(&joined(tape, &self.gate_up, &normed)?)?;
        tape.add(&x, &self.down_proj.forward(tape, &gated)?)
    }

    /// Returns what the heads give. `// [tokens, hidden] -> [tokens, query dim]`
    fn attend(
        &self,
        tape: &Tape,
        x: &Tensor,
        angles: &(Tensor, Tensor),
        batch: Batch<'_, '_>,
    ) -> Result<Tensor, Error> {
        let Heads { query, key_value, dim } = self.heads;
        let qkv = joined(tape, &self.qkv, x)?; // [tokens, (query + 2 key_value) dim]
        let widths = [query * dim, key_value * dim, key_value * dim];
        let [q, k, v] = match batch {
            Batch::Whole(_) => tape.split(&qkv, widths)?,
            Batch::Stored { .. } => tape::parts(&qkv, widths)?,
        };
        let (q, k) = (tape.rope(&q, angles)?, tape.rope(&k, angles)?);
        match batch {
            Batch::Whole(parts) => tape.attention([&q, &k, &v], parts, self.heads),
            Batch::Stored { sequences, of_layer, .. } => {
                self.attend_stored([&q, &k, &v], sequences, of_layer)
            }
        }
    }

    /// Attends over keys and values in the type that they are cached in, and caches them.
    fn attend_stored(
        &self,
        [q, k, v]: [&Tensor; 3],
        sequences: &mut [Sequence<'_>],
        OfLayer { index, kv_type, tap }: OfLayer<'_>,
    ) -> Result<Tensor, Error> {
        let mut calls = Vec::with_capacity(sequences.len());
        let mut start = 0;
        for sequence in sequences {
            let rows = sequence.plan.num_rows();
            let of = |x: &Tensor| x.narrow(0, start, rows);
            let (q, k, v) = (of(q)?, of(k)?, of(v)?);
            let kept = match &mut sequence.cache {
                Some(cache) => cache.write(index, &k, &v)?,
                // Rounded as a cache would, so that having one changes nothing.
                None => Kept::of(&k, &v, (kv_type, self.heads))?,
            };
            let call = Attended { q: &q, keys: &kept, plan: sequence.plan, heads: self.heads };
            tap.attention(&format!("layer.{index}"), &call)?;
            calls.push((q, kept, sequence.plan, None));
            start += rows;
        }
        tape::side_by_side(&mut calls, |(q, kept, plan, out)| {
            *out = Some(kept.attend(q, plan, self.heads));
        });
        let outs = calls.into_iter().filter_map(|(.., out)| out);
        let outs = outs.collect::<candle_core::Result<Vec<_>>>()?;
        Ok(Tensor::cat(&outs, 0)?)
    }
}

/// Applies layers to the same input and joins what they give.
fn joined(tape: &Tape, layers: &[Linear], x: &Tensor) -> Result<Tensor, Error> {
    let forward = |layer: &Linear| layer.forward(tape, x);
    let outs = layers.iter().map(forward).collect::<Result<Vec<_>, _>>()?;
    tape.cat(&outs.iter().collect::<Vec<_>>(), x.rank() - 1)
}
