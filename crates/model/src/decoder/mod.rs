//! The decoder: one implementation for every family.
//!
//! A family says what its tensors are called, which of them are fused and which have a bias; see
//! [`Family`]. Norms, rotary embedding, attention, cache and gate are the same for all.

mod block;
mod family;

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use sequence::AttentionPlan;

use self::block::{Batch, Block, OfLayer};
pub use self::family::Family;
use crate::norm::RmsNorm;
use crate::ops::Heads;
use crate::tape::{Part, Parts, Tape};
use crate::weights::Weights;
use crate::{DecoderConfig, Error, KvCache, KvType, NoTap, Tap};

/// One sequence of a batch: the plan of its new rows, and what is cached of it.
#[derive(Debug)]
pub struct Sequence<'a> {
    /// The new rows; they follow what is cached.
    pub plan: &'a AttentionPlan,
    /// The cache that is read and extended; none if nothing is to be kept.
    pub cache: Option<&'a mut KvCache>,
}

/// The layers between the embeddings and the logits.
#[derive(Debug)]
pub(crate) struct Decoder {
    config: DecoderConfig,
    blocks: Vec<Arc<Block>>,
    norm: RmsNorm,
    kv_type: KvType,
    device: Device,
}

impl Decoder {
    pub(crate) fn load(
        config: &DecoderConfig,
        weights: &Weights<'_>,
        kv_type: Option<KvType>,
    ) -> Result<Self, Error> {
        let blocks = (0..config.num_hidden_layers)
            .map(|index| Block::load(config, &weights.pp("layers").pp(index)).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let of_weights = || blocks.first().map_or(DType::F32, |block| block.dtype());
        let kv_type = kv_type.unwrap_or_else(|| KvType::of_weights(of_weights()));
        if kv_type.numbers().is_none() && !weights.device().is_cpu() {
            return Err(Error::KvType { found: kv_type.name() });
        }
        Ok(Self {
            config: config.clone(),
            blocks,
            norm: RmsNorm::load(&weights.pp("norm"), config.hidden_size, config.rms_norm_eps)?,
            kv_type,
            device: weights.device().clone(),
        })
    }

    pub(crate) fn new_cache(&self, capacity: usize) -> Result<KvCache, Error> {
        let heads = Heads {
            query: self.config.num_attention_heads,
            key_value: self.config.num_key_value_heads,
            dim: self.config.head_dim,
        };
        KvCache::new((self.blocks.len(), capacity, heads), self.kv_type, &self.device)
    }

    /// Returns the hidden states after the final norm. `// [tokens, hidden] -> [tokens, hidden]`
    pub(crate) fn forward(
        &self,
        embeddings: &Tensor,
        batch: &mut [Sequence<'_>],
        tap: &mut dyn Tap,
    ) -> Result<Tensor, Error> {
        self.forward_to(embeddings, batch, None, tap)
    }

    /// Returns those of every sequence's last new row: the last layer computes no more of the others than
    /// what is cached. `// [tokens, hidden] -> [sequences, hidden]`
    pub(crate) fn forward_to_last(
        &self,
        embeddings: &Tensor,
        batch: &mut [Sequence<'_>],
    ) -> Result<Tensor, Error> {
        let mut end = 0;
        let mut last = Vec::with_capacity(batch.len());
        for sequence in &*batch {
            let rows = sequence.plan.num_rows();
            if rows == 0 {
                return Err(Error::Inputs { what: "new rows", expected: 1, found: 0 });
            }
            end += rows as u32;
            last.push(end - 1);
        }
        // Where all are wanted nothing is picked out.
        let wanted = if last.len() < end as usize { Some(last.as_slice()) } else { None };
        self.forward_to(embeddings, batch, wanted, &mut NoTap)
    }

    fn forward_to(
        &self,
        embeddings: &Tensor,
        batch: &mut [Sequence<'_>],
        wanted: Option<&[u32]>,
        tap: &mut dyn Tap,
    ) -> Result<Tensor, Error> {
        self.check(embeddings, batch)?;
        for sequence in batch.iter_mut() {
            let needed = sequence.plan.first_row() + sequence.plan.num_rows();
            if let Some(cache) = &mut sequence.cache {
                cache.reserve(needed)?;
            }
        }
        let angles = self.angles(batch)?;
        let is_step = |plan: &AttentionPlan| plan.num_rows() <= 1 && plan.first_row() > 0;
        let are_steps = batch.iter().all(|sequence| is_step(sequence.plan));
        let tape = if are_steps { Tape::off() } else { Tape::of_prompts() };
        let mut x = embeddings.clone();
        for (index, block) in self.blocks.iter().enumerate() {
            let of_layer = OfLayer { index, kv_type: self.kv_type, tap: &mut *tap };
            let is_last = index + 1 == self.blocks.len();
            let rows = if is_last { wanted } else { None };
            let batch = Batch::Stored { sequences: &mut *batch, of_layer, rows };
            x = block.forward(&tape, &x, &angles, batch)?;
            if !is_last {
                tap.tensor(&format!("layer.{index}"), &x);
            }
        }
        for sequence in batch.iter_mut() {
            if let Some(cache) = &mut sequence.cache {
                cache.advance(sequence.plan.num_rows());
            }
        }
        let x = self.norm.forward(&tape, &x)?;
        tap.tensor("final_norm", &x);
        Ok(x)
    }

    /// Returns the hidden states of whole sequences, for training. `// [tokens, hidden]`
    pub(crate) fn forward_whole(
        &self,
        tape: &Tape,
        embeddings: &Tensor,
        plans: &[&AttentionPlan],
    ) -> Result<Tensor, Error> {
        let mut batch: Vec<_> = plans.iter().map(|plan| Sequence { plan, cache: None }).collect();
        self.check(embeddings, &batch)?;
        let angles = self.angles(&batch)?;
        batch.clear();
        let part = |plan: &&AttentionPlan| Part {
            num_keys: plan.num_rows(),
            plan: Arc::new((*plan).clone()),
        };
        let parts: Parts = plans.iter().map(part).collect();
        let mut x = embeddings.clone();
        for block in &self.blocks {
            let (block, angles, parts) = (Arc::clone(block), angles.clone(), parts.clone());
            x = tape
                .part(&x, move |tape, x| block.forward(tape, x, &angles, Batch::Whole(&parts)))?;
        }
        self.norm(tape, &x)
    }

    /// Returns hidden states after the final norm. `// [rows, hidden]`
    pub(crate) fn norm(&self, tape: &Tape, x: &Tensor) -> Result<Tensor, Error> {
        self.norm.forward(tape, x)
    }

    /// Returns the cosines and sines of all rows of a batch. `// [tokens, head_dim / 2]`
    fn angles(&self, batch: &[Sequence<'_>]) -> Result<(Tensor, Tensor), Error> {
        let (rope, head_dim) = (&self.config.rope, self.config.head_dim);
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for sequence in batch {
            let positions = sequence.plan.positions();
            let len = positions.iter().max().map_or(0, |highest| *highest as usize + 1);
            rope.extend_tables(positions, rope.regime(len), head_dim, (&mut cos, &mut sin));
        }
        let shape = (cos.len() / (head_dim / 2).max(1), head_dim / 2);
        let tensor = |values| Tensor::from_vec(values, shape, &self.device);
        Ok((tensor(cos)?, tensor(sin)?))
    }

    /// Checks that a batch's plans fit its embeddings and caches.
    fn check(&self, embeddings: &Tensor, batch: &[Sequence<'_>]) -> Result<(), Error> {
        let (found, width) = embeddings.dims2()?;
        let num_rows = batch.iter().map(|sequence| sequence.plan.num_rows()).sum();
        expect("embeddings", num_rows, found)?;
        expect("elements of an embedding", self.config.hidden_size, width)?;
        for Sequence { plan, cache } in batch {
            let cached = cache.as_ref().map_or(0, |cache| cache.len());
            expect("cached positions", plan.first_row(), cached)?;
            let seen = plan.ranges().iter().map(|range| range.end as usize).max().unwrap_or(0);
            let num_keys = plan.first_row() + plan.num_rows();
            if seen > num_keys {
                // Some row reads ahead, an image its question: they have to come together.
                return Err(Error::Inputs {
                    what: "positions through the last that a row sees",
                    expected: seen,
                    found: num_keys,
                });
            }
        }
        Ok(())
    }
}

fn expect(what: &'static str, expected: usize, found: usize) -> Result<(), Error> {
    if expected == found { Ok(()) } else { Err(Error::Inputs { what, expected, found }) }
}
