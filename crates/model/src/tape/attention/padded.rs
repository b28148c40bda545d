//! Attention away from the CPU: sequences of similar lengths side by side, padded to the length of
//! the longest of them, in a few large products, with their gradients.
//!
//! What is as large as all scores together is passed over as rarely as possible, and only where it
//! lies in one piece: elsewhere the framework divides for the place of every element.

use std::sync::Arc;

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::ops::softmax_last_dim;
use sequence::AttentionPlan;

use super::{Part, Parts};
use crate::Error;
use crate::ops::Heads;
use crate::tape::Tape;
use crate::tape::ops::NO_ROW;

/// What a closed cell adds to its score.
const CLOSED: f64 = f32::MIN as f64;
/// How much longer the longest sequence of a group may be than the shortest.
const STRETCH: f64 = 1.3;
/// Columns by which vectors are widened to take one more number, as products like widths of four.
const EXTRA: usize = 4;

/// How the sequences of a batch are laid side by side.
#[derive(Debug)]
pub(super) struct Padding {
    rows: Side,
    keys: Side,
    masks: Vec<Mask>,
}

/// What the rows of a group of sequences see.
#[derive(Debug)]
struct Mask {
    /// What is added to scores, if any row does not see every key. `// [parts, heads, rows, keys]`
    bias: Option<Tensor>,
    /// 0 for rows that see nothing and 1 for others, if there are any. `// [parts, 1, rows, 1]`
    sighted: Option<Tensor>,
}

/// Where the vectors of all heads of the rows, or of the keys, lie in the groups.
#[derive(Debug)]
struct Side {
    count: usize,
    groups: Vec<Spread>,
    /// The place of each vector, in all groups one after the other. `// [rows * count]`
    back: Tensor,
}

/// The vectors of one group.
#[derive(Debug)]
struct Spread {
    parts: usize,
    longest: usize,
    /// The vector that comes to each place, or [`NO_ROW`]. `// [parts * count * longest]`
    into: Tensor,
}

impl Side {
    /// Lays out parts of some lengths in groups of parts.
    fn new(groups: &[Vec<usize>], lens: &[usize], count: usize, device: &Device) -> Result<Self> {
        let mut starts = Vec::with_capacity(lens.len());
        let mut total = 0;
        for len in lens {
            starts.push(total);
            total += len;
        }
        let mut back = vec![0_u32; total * count];
        let mut place = 0;
        let mut spreads = Vec::with_capacity(groups.len());
        for group in groups {
            let longest = group.iter().map(|part| lens[*part]).max().unwrap_or(0);
            let places = group.len() * count * longest;
            let mut into = vec![NO_ROW; places];
            let heads = group.iter().flat_map(|part| (0..count).map(move |head| (*part, head)));
            for ((part, head), into) in heads.zip(into.chunks_mut(longest.max(1))) {
                for (row, into) in into.iter_mut().enumerate().take(lens[part]) {
                    let vector = (starts[part] + row) * count + head;
                    *into = vector as u32;
                    back[vector] = (place + row) as u32;
                }
                place += longest;
            }
            let into = Tensor::from_vec(into, places, device)?;
            spreads.push(Spread { parts: group.len(), longest, into });
        }
        let back = Tensor::from_vec(back, total * count, device)?;
        Ok(Self { count, groups: spreads, back })
    }

    /// Returns the vectors of a group, head by head, with zeros in between.
    /// `// [rows * count, dim] -> [parts, count, longest, dim]`
    fn spread(&self, x: &Tensor, group: &Spread) -> Result<Tensor> {
        let shape = (group.parts, self.count, group.longest, x.dim(D::Minus1)?);
        x.index_select(&group.into, 0)?.reshape(shape)
    }

    /// Returns the vectors of all groups in their order; undoes [`Self::spread`].
    /// `// [groups][parts, count, longest, dim] -> [rows * count, dim]`
    fn gather(&self, groups: &[Tensor]) -> Result<Tensor> {
        let flat = groups.iter().map(|x| x.reshape(((), x.dim(D::Minus1)?)));
        let flat = flat.collect::<Result<Vec<_>>>()?;
        Tensor::cat(&flat, 0)?.index_select(&self.back, 0)
    }
}

impl Padding {
    fn new(parts: &[Part], heads: Heads, device: &Device) -> Result<Self> {
        let rows: Vec<_> = parts.iter().map(|part| part.plan.num_rows()).collect();
        let keys: Vec<_> = parts.iter().map(|part| part.num_keys).collect();
        let groups = alike(&rows, &keys);
        let mask = |group: &Vec<usize>| {
            let parts: Vec<_> = group.iter().map(|part| &parts[*part]).collect();
            Mask::new(&parts, heads.query, device)
        };
        Ok(Self {
            masks: groups.iter().map(mask).collect::<Result<_>>()?,
            rows: Side::new(&groups, &rows, heads.query, device)?,
            keys: Side::new(&groups, &keys, heads.key_value, device)?,
        })
    }

    /// Returns the groups: of their rows, of their keys, and who sees what.
    fn groups(&self) -> impl Iterator<Item = ((&Spread, &Spread), &Mask)> {
        self.rows.groups.iter().zip(&self.keys.groups).zip(&self.masks)
    }
}

/// Returns groups of parts of about the same lengths.
fn alike(rows: &[usize], keys: &[usize]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|part| (rows[*part], keys[*part]));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for part in order {
        let fits = |first: usize| {
            let fits = |lens: &[usize]| {
                let (a, b) = (lens[first].min(lens[part]), lens[first].max(lens[part]));
                b as f64 <= a as f64 * STRETCH
            };
            fits(rows) && fits(keys)
        };
        match groups.last_mut() {
            Some(group) if fits(group[0]) => group.push(part),
            _ => groups.push(vec![part]),
        }
    }
    groups
}

impl Mask {
    fn new(parts: &[&Part], heads: usize, device: &Device) -> Result<Self> {
        let rows = parts.iter().map(|part| part.plan.num_rows()).max().unwrap_or(0);
        let keys = parts.iter().map(|part| part.num_keys).max().unwrap_or(0);
        let is_one = parts.windows(2).all(|pair| {
            Arc::ptr_eq(&pair[0].plan, &pair[1].plan) && pair[0].num_keys == pair[1].num_keys
        });
        let shown = if is_one { &parts[..parts.len().min(1)] } else { parts };
        let size = rows * keys;
        let mut closed = vec![1_u8; shown.len() * size];
        let mut sighted = vec![1_f32; shown.len() * rows];
        for (index, part) in shown.iter().enumerate() {
            let cells = &mut closed[index * size..][..size];
            open(&part.plan, cells, &mut sighted[index * rows..][..rows], keys);
        }
        let bias = closed.contains(&1).then(|| {
            let closed = Tensor::from_vec(closed, (shown.len(), 1, rows, keys), device)?;
            let bias = (closed.to_dtype(DType::F32)? * CLOSED)?;
            bias.expand((parts.len(), heads, rows, keys))?.contiguous()
        });
        let sighted = sighted
            .contains(&0.0)
            .then(|| Tensor::from_vec(sighted, (shown.len(), 1, rows, 1), device));
        Ok(Self { bias: bias.transpose()?, sighted: sighted.transpose()? })
    }

    /// Returns the softmaxes of scores.
    fn weights(&self, scores: Tensor) -> Result<Tensor> {
        let scores = match &self.bias {
            Some(bias) => (scores + bias)?,
            None => scores,
        };
        let weights = softmax_last_dim(&scores)?;
        // A row that sees nothing has the same score everywhere.
        match &self.sighted {
            Some(sighted) => weights.broadcast_mul(sighted),
            None => Ok(weights),
        }
    }
}

/// Opens the cells that a plan's rows see, and marks the rows that see none. `// [rows, keys]`
fn open(plan: &AttentionPlan, closed: &mut [u8], sighted: &mut [f32], num_keys: usize) {
    for (row, cells) in closed.chunks_mut(num_keys.max(1)).enumerate() {
        if row >= plan.num_rows() {
            // Whatever it gives is left out; all that matters is that it is a number.
            cells.fill(0);
            continue;
        }
        let ranges = plan.visible(row);
        for range in ranges {
            cells[range.start as usize..range.end as usize].fill(0);
        }
        sighted[row] = f32::from(!ranges.is_empty());
    }
}

/// Gives every query head its keys. `// [parts, kv_heads, keys, dim] -> [parts, heads, keys, dim]`
fn widened(x: Tensor, heads: Heads) -> Result<Tensor> {
    let (parts, count, len, dim) = x.dims4()?;
    if count == heads.query {
        return Ok(x);
    }
    let group = heads.query / count;
    let x = x.unsqueeze(2)?.expand((parts, count, group, len, dim))?.contiguous()?;
    x.reshape((parts, heads.query, len, dim))
}

/// Adds up what query heads give the keys that they share; undoes [`widened`].
fn narrowed(x: Tensor, heads: Heads) -> Result<Tensor> {
    let (parts, query, len, dim) = x.dims4()?;
    let count = heads.key_value;
    if count == query {
        return Ok(x);
    }
    x.reshape((parts, count, query / count, len, dim))?.sum(2)
}

/// Widens vectors by a number each, given or the same. `// [rows, dim] -> [rows, dim + EXTRA]`
fn extended(x: &Tensor, number: &Tensor) -> Result<Tensor> {
    let rows = x.dim(0)?;
    Tensor::cat(&[x, number, &Tensor::zeros((rows, EXTRA - 1), x.dtype(), x.device())?], 1)
}

/// What the gradients of one group need.
struct Kept {
    q: Tensor,
    keys: Tensor,
    weights: Tensor,
}

impl Tape {
    /// Attends within every sequence, all of them at once.
    pub(in crate::tape) fn padded_attention(
        &self,
        [q, keys, values]: [&Tensor; 3],
        parts: &Parts,
        heads: Heads,
    ) -> std::result::Result<Tensor, Error> {
        if parts.padding.get().is_none() {
            // Another thread's is the same.
            let _ = parts.padding.set(Padding::new(parts, heads, q.device())?);
        }
        let padding = Arc::clone(&parts.padding);
        let Some(layout) = padding.get() else { return Ok(q.zeros_like()?) };
        let vectors = |x: &Tensor| x.contiguous()?.reshape(((), heads.dim));
        let scale = (heads.dim as f64).powf(-0.5);
        let (q_vectors, k_vectors) = ((vectors(q)? * scale)?, vectors(keys)?);
        let v_vectors = vectors(values)?;
        let (mut kept, mut outs) = (Vec::new(), Vec::new());
        for ((of_rows, of_keys), mask) in layout.groups() {
            let q = layout.rows.spread(&q_vectors, of_rows)?;
            let keys = widened(layout.keys.spread(&k_vectors, of_keys)?, heads)?;
            let values = widened(layout.keys.spread(&v_vectors, of_keys)?, heads)?;
            let weights = mask.weights(q.matmul(&keys.t()?)?)?;
            outs.push(weights.matmul(&values)?);
            kept.push(Kept { q, keys, weights });
        }
        let out = layout.rows.gather(&outs)?; // [rows * heads, dim]
        let shapes = [q.shape().clone(), keys.shape().clone(), values.shape().clone()];
        let result = out.reshape(q.shape())?;
        self.record_one(&[q, keys, values], Vec::new(), &result, move |_, dout| {
            let Some(layout) = padding.get() else { return Ok(Vec::new()) };
            let dout = dout.contiguous()?.reshape(((), heads.dim))?;
            // A score changes by its weight times (dout value - dout out). The second part is the
            // same along a row, and is taken off within the product.
            let ones = |rows: usize| Tensor::ones((rows, 1), dout.dtype(), dout.device());
            let along = (&dout * &out)?.matmul(&ones(heads.dim)?)?; // [rows * heads, 1]
            let dout = extended(&dout, &along.neg()?)?;
            let v_vectors = extended(&v_vectors, &ones(v_vectors.dim(0)?)?)?;
            let (mut dqs, mut dkeys, mut dvalues) = (Vec::new(), Vec::new(), Vec::new());
            for (((of_rows, of_keys), _), kept) in layout.groups().zip(kept) {
                let Kept { q, keys, weights } = kept;
                let dout = layout.rows.spread(&dout, of_rows)?;
                let values = widened(layout.keys.spread(&v_vectors, of_keys)?, heads)?;
                dvalues.push(narrowed(weights.t()?.matmul(&dout)?, heads)?);
                let dscores = (dout.matmul(&values.t()?)? * weights)?;
                dqs.push(dscores.matmul(&keys)?);
                dkeys.push(narrowed(dscores.t()?.matmul(&q)?, heads)?);
            }
            let [q, keys, values] = shapes;
            let dvalues = layout.keys.gather(&dvalues)?.narrow(1, 0, heads.dim)?.contiguous()?;
            Ok(vec![
                Some((layout.rows.gather(&dqs)? * scale)?.reshape(q)?),
                Some(layout.keys.gather(&dkeys)?.reshape(keys)?),
                Some(dvalues.reshape(values)?),
            ])
        });
        Ok(result)
    }
}
