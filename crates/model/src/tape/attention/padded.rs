//! Attention away from the CPU: sequences side by side, padded to the length of the longest, in a
//! few large products, with their gradients.

use std::sync::Arc;

use candle_core::{D, DType, Device, Result, Tensor};
use sequence::AttentionPlan;

use super::{Part, Parts};
use crate::Error;
use crate::ops::Heads;
use crate::tape::Tape;

/// What a closed cell adds to its score.
const CLOSED: f64 = f32::MIN as f64;

/// How the sequences of a batch are laid side by side.
#[derive(Debug)]
pub(super) struct Padding {
    rows: Side,
    keys: Side,
    /// What is added to scores, if any row does not see every key. `// [parts or 1, 1, rows, keys]`
    bias: Option<Tensor>,
    /// 1 for rows that see nothing, if there are any. `// [parts or 1, 1, rows, 1]`
    blind: Option<Tensor>,
}

/// The rows or the keys of all sequences.
#[derive(Clone, Debug)]
struct Side {
    parts: usize,
    longest: usize,
    moves: Option<Moves>,
}

/// Where rows go, for sequences of different lengths.
#[derive(Clone, Debug)]
struct Moves {
    /// The row that comes to each place; any row where nothing comes to. `// [parts * longest]`
    into: Tensor,
    /// The place that each row comes to. `// [rows]`
    back: Tensor,
    /// 1 where a row comes to, 0 elsewhere. `// [parts * longest, 1]`
    taken: Tensor,
}

impl Side {
    fn new(lens: &[usize], device: &Device) -> Result<Self> {
        let (parts, longest) = (lens.len(), lens.iter().copied().max().unwrap_or(0));
        if lens.iter().all(|len| *len == longest) {
            return Ok(Self { parts, longest, moves: None });
        }
        let places = parts * longest;
        let (mut into, mut taken) = (vec![0_u32; places], vec![0_f32; places]);
        let mut back = Vec::with_capacity(lens.iter().sum());
        for (part, len) in lens.iter().enumerate() {
            for place in part * longest..part * longest + len {
                into[place] = back.len() as u32;
                taken[place] = 1.0;
                back.push(place as u32);
            }
        }
        let num_rows = back.len();
        let moves = Moves {
            into: Tensor::from_vec(into, places, device)?,
            back: Tensor::from_vec(back, num_rows, device)?,
            taken: Tensor::from_vec(taken, (places, 1), device)?,
        };
        Ok(Self { parts, longest, moves: Some(moves) })
    }

    /// Lays rows side by side, head by head; `clean` makes zeros of the places in between.
    /// `// [rows, count * dim] -> [parts, count, longest, dim]`
    fn spread(&self, x: &Tensor, (count, dim): (usize, usize), clean: bool) -> Result<Tensor> {
        let mut x = x.reshape(((), count * dim))?;
        if let Some(Moves { into, taken, .. }) = &self.moves {
            x = x.contiguous()?.index_select(into, 0)?;
            if clean {
                x = x.broadcast_mul(taken)?;
            }
        }
        x.reshape((self.parts, self.longest, count, dim))?.transpose(1, 2)?.contiguous()
    }

    /// Undoes [`Self::spread`]. `// [parts, count, longest, dim] -> [rows, count * dim]`
    fn gather(&self, x: &Tensor) -> Result<Tensor> {
        let (parts, count, longest, dim) = x.dims4()?;
        let x = x.transpose(1, 2)?.contiguous()?.reshape((parts * longest, count * dim))?;
        match &self.moves {
            Some(Moves { back, .. }) => x.index_select(back, 0),
            None => Ok(x),
        }
    }
}

impl Padding {
    fn new(parts: &[Part], device: &Device) -> Result<Self> {
        let lens: Vec<_> = parts.iter().map(|part| part.plan.num_rows()).collect();
        let rows = Side::new(&lens, device)?;
        let lens: Vec<_> = parts.iter().map(|part| part.num_keys).collect();
        let keys = Side::new(&lens, device)?;
        let is_one = parts.windows(2).all(|pair| Arc::ptr_eq(&pair[0].plan, &pair[1].plan))
            && rows.moves.is_none()
            && keys.moves.is_none();
        let shown = if is_one { &parts[..parts.len().min(1)] } else { parts };
        let size = rows.longest * keys.longest;
        let mut closed = vec![1_u8; shown.len() * size];
        let mut blind = vec![0_f32; shown.len() * rows.longest];
        for (index, part) in shown.iter().enumerate() {
            let cells = &mut closed[index * size..][..size];
            let blind = &mut blind[index * rows.longest..][..rows.longest];
            open(&part.plan, cells, blind, keys.longest);
        }
        let bias = closed.contains(&1).then(|| {
            let shape = (shown.len(), 1, rows.longest, keys.longest);
            let closed = Tensor::from_vec(closed, shape, device)?;
            closed.to_dtype(DType::F32)? * CLOSED
        });
        let blind = blind
            .contains(&1.0)
            .then(|| Tensor::from_vec(blind, (shown.len(), 1, rows.longest, 1), device));
        Ok(Self { rows, keys, bias: bias.transpose()?, blind: blind.transpose()? })
    }

    /// Returns the softmaxes of scores.
    fn weights(&self, scores: &Tensor) -> Result<Tensor> {
        let scores = match &self.bias {
            Some(bias) => scores.broadcast_add(bias)?,
            None => scores.clone(),
        };
        let mut weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
        let Some(blind) = &self.blind else {
            return weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?);
        };
        // A row that sees nothing has the same score everywhere.
        weights = weights.broadcast_mul(&(1.0 - blind)?)?;
        let total = weights.sum_keepdim(D::Minus1)?.broadcast_add(blind)?;
        weights.broadcast_div(&total)
    }
}

/// Opens the cells that a plan's rows see, and marks the rows that see none. `// [rows, keys]`
fn open(plan: &AttentionPlan, closed: &mut [u8], blind: &mut [f32], num_keys: usize) {
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
        blind[row] = f32::from(ranges.is_empty());
    }
}

/// Gives every query head its keys. `// [parts, kv_heads, keys, dim] -> [parts, heads, keys, dim]`
fn widened(x: &Tensor, heads: Heads) -> Result<Tensor> {
    let (parts, count, len, dim) = x.dims4()?;
    if count == heads.query {
        return Ok(x.clone());
    }
    let group = heads.query / count;
    let x = x.unsqueeze(2)?.expand((parts, count, group, len, dim))?.contiguous()?;
    x.reshape((parts, heads.query, len, dim))
}

/// Adds up what query heads give the keys that they share; undoes [`widened`].
fn narrowed(x: &Tensor, heads: Heads) -> Result<Tensor> {
    let (parts, query, len, dim) = x.dims4()?;
    let count = heads.key_value;
    if count == query {
        return Ok(x.clone());
    }
    x.reshape((parts, count, query / count, len, dim))?.sum(2)
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
            let _ = parts.padding.set(Padding::new(parts, q.device())?);
        }
        let padding = Arc::clone(&parts.padding);
        let Some(layout) = padding.get() else { return Ok(q.zeros_like()?) };
        let (queries, kv) = ((heads.query, heads.dim), (heads.key_value, heads.dim));
        let scale = (heads.dim as f64).powf(-0.5);
        let q_heads = (layout.rows.spread(q, queries, false)? * scale)?;
        let k_heads = widened(&layout.keys.spread(keys, kv, false)?, heads)?;
        let v_heads = widened(&layout.keys.spread(values, kv, false)?, heads)?;
        let weights = layout.weights(&q_heads.matmul(&k_heads.t()?)?)?;
        let out = layout.rows.gather(&weights.matmul(&v_heads)?)?.reshape(q.shape())?;
        let shapes = [q.shape().clone(), keys.shape().clone(), values.shape().clone()];
        self.record_one(&[q, keys, values], Vec::new(), &out, move |_, dout| {
            let Some(layout) = padding.get() else { return Ok(Vec::new()) };
            let dout = layout.rows.spread(&dout, queries, true)?;
            let dvalues = weights.t()?.contiguous()?.matmul(&dout)?;
            let dweights = dout.matmul(&v_heads.t()?)?;
            let mean = (&dweights * &weights)?.sum_keepdim(D::Minus1)?;
            let dscores = (dweights.broadcast_sub(&mean)? * weights)?;
            let dq = (dscores.matmul(&k_heads)? * scale)?;
            let dkeys = dscores.t()?.contiguous()?.matmul(&q_heads)?;
            let [q, keys, values] = shapes;
            Ok(vec![
                Some(layout.rows.gather(&dq)?.reshape(q)?),
                Some(layout.keys.gather(&narrowed(&dkeys, heads)?)?.reshape(keys)?),
                Some(layout.keys.gather(&narrowed(&dvalues, heads)?)?.reshape(values)?),
            ])
        });
        Ok(out)
    }
}
