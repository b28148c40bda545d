//! The extended vocabulary: a table of the pretrained rows, and a small one of the added.

mod loss;

use std::sync::Arc;

use candle_core::{D, Device, Tensor};
use sequence::TokenId;

use crate::linear::Linear;
use crate::tape::Tape;
use crate::weights::{Storage, Weights};
use crate::{AkiConfig, Error};

/// Ids to embeddings, hidden states to logits.
///
/// Ids below `initial_tokenizer_len` have rows of the pretrained table, which may have more rows,
/// unused; the others have rows of the added one.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    base: usize,
    added: usize,
    hidden: usize,
    embedding: Storage,
    added_embedding: Option<Storage>,
    head: Linear,
    added_head: Option<Linear>,
    device: Device,
}

impl Vocabulary {
    pub(crate) fn load(config: &AkiConfig, weights: &Weights<'_>) -> Result<Self, Error> {
        let (hidden, rows) = (config.text.hidden_size, config.text.vocab_size);
        let (base, added) = (config.initial_tokenizer_len, config.num_added_tokens);
        let table = weights.pp("model.embed_tokens");
        let embedding = table.matrix("weight", &[rows, hidden])?;
        let added_embedding = (added > 0)
            .then(|| table.matrix("additional_embedding.weight", &[added, hidden]))
            .transpose()?;
        let lm_head = weights.pp("lm_head");
        let weight = if config.text.tie_word_embeddings {
            embedding.clone()
        } else {
            lm_head.matrix("weight", &[rows, hidden])?
        };
        // Older exports have no bias; it is zero then.
        let bias = lm_head.has("bias").then(|| lm_head.tensor("bias", &[rows])).transpose()?;
        let head = Linear::new(weight, bias, [hidden, rows]);
        let extra = lm_head.pp("additional_fc");
        let added_head = (added > 0)
            .then(|| Linear::load(&extra, [hidden, added], extra.has("bias")))
            .transpose()?;
        let device = weights.device().clone();
        Ok(Self { base, added, hidden, embedding, added_embedding, head, added_head, device })
    }

    /// Returns the number of ids.
    pub(crate) fn len(&self) -> usize {
        self.base + self.added
    }

    /// Returns the embeddings of ids. `// [ids, hidden]`
    pub(crate) fn embed(&self, tape: &Tape, ids: &[TokenId]) -> Result<Tensor, Error> {
        if let Some(id) = ids.iter().find(|id| id.0 as usize >= self.len()) {
            return Err(Error::TokenId { id: id.0, vocab_size: self.len() });
        }
        let mut lookups = [Vec::new(), Vec::new()];
        for (row, id) in ids.iter().enumerate() {
            let is_added = self.added_embedding.is_some() && self.is_added(*id);
            let offset = if is_added { self.base } else { 0 };
            lookups[usize::from(is_added)].push([row, id.0 as usize - offset]);
        }
        let out = self.looked_up(&lookups)?;
        let tables = [Some(&self.embedding), self.added_embedding.as_ref()];
        let tables = tables.into_iter().zip(lookups).filter_map(|(table, lookups)| {
            // A table that nothing was looked up in has a gradient too: zero.
            Some((Arc::clone(table?.parameter()?), lookups))
        });
        tape.record_lookup(&out, tables.collect());
        Ok(out)
    }

    /// Returns the rows that are looked up in the two tables, in order. `// [ids, hidden]`
    fn looked_up(&self, lookups: &[Vec<[usize; 2]>; 2]) -> Result<Tensor, Error> {
        let of = |table: &Storage, lookups: &[[usize; 2]]| {
            let entries: Vec<u32> = lookups.iter().map(|[_, entry]| *entry as u32).collect();
            table.rows(&entries, self.hidden, &self.device)
        };
        match (lookups, &self.added_embedding) {
            ([base, added], Some(table)) if !added.is_empty() => {
                if base.is_empty() {
                    return of(table, added);
                }
                let rows = Tensor::cat(&[of(&self.embedding, base)?, of(table, added)?], 0)?;
                let mut order = vec![0_u32; base.len() + added.len()];
                for (from, [row, _]) in base.iter().chain(added).enumerate() {
                    order[*row] = from as u32;
                }
                let order = Tensor::new(order, &self.device)?;
                Ok(rows.index_select(&order, 0)?)
            }
            ([base, _], _) => of(&self.embedding, base),
        }
    }

    fn is_added(&self, id: TokenId) -> bool {
        id.0 as usize >= self.base
    }

    /// Returns the logits of hidden states. `// [rows, hidden] -> [rows, ids]`
    pub(crate) fn logits(&self, hidden: &Tensor) -> Result<Tensor, Error> {
        let tape = &Tape::off();
        let base = self.head.forward(tape, hidden)?.narrow(D::Minus1, 0, self.base)?;
        Ok(match &self.added_head {
            Some(head) => Tensor::cat(&[&base, &head.forward(tape, hidden)?], D::Minus1)?,
            None => base.contiguous()?,
        })
    }
}
