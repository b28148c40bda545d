//! Attention of several sequences, with its gradients.

mod padded;

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use candle_core::{DType, Tensor};
use kernels::parallel::{chunks_mut, for_each, num_threads};
use kernels::{
    AttentionForward, AttentionGrad, AttentionInput, AttentionOut, Level, Matrix, unwritten,
};
use sequence::AttentionPlan;

use self::padded::Padding;
use super::Tape;
use crate::Error;
use crate::ops::{self, Heads, elements, written};

/// Calls of a kernel from which on each runs on a thread of its own.
const CALLS_PER_THREAD: usize = 2;

/// A sequence among others: its rows and keys follow those of the sequence before it.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) plan: Arc<AttentionPlan>,
    pub(crate) num_keys: usize,
}

/// The sequences of a batch, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    all: Arc<[Part]>,
    /// How a device computes them side by side: made once for all layers.
    padding: Arc<OnceLock<Padding>>,
}

impl Parts {
    /// Returns `count` sequences of the same plan, whose columns are the keys.
    pub(crate) fn repeated(plan: &Arc<AttentionPlan>, count: usize) -> Self {
        let part = Part { plan: Arc::clone(plan), num_keys: plan.num_columns() };
        vec![part; count].into_iter().collect()
    }
}

impl FromIterator<Part> for Parts {
    fn from_iter<T: IntoIterator<Item = Part>>(parts: T) -> Self {
        Self { all: parts.into_iter().collect(), padding: Arc::default() }
    }
}

impl Deref for Parts {
    type Target = [Part];

    fn deref(&self) -> &[Part] {
        &self.all
    }
}

/// The lengths of a sequence's slices: of queries, of keys, of softmaxes.
struct Lengths {
    rows: usize,
    keys: usize,
    softmaxes: usize,
}

fn lengths(part: &Part, heads: Heads) -> Lengths {
    let rows = part.plan.num_rows();
    Lengths {
        rows: rows * heads.query * heads.dim,
        keys: part.num_keys * heads.key_value * heads.dim,
        softmaxes: rows * heads.query,
    }
}

impl Tape {
    /// Returns keys or values that a layer has made as [`Tape::attention`] takes them: rounded to bf16, as
    /// the layer's operands were, where attention multiplies bf16. Gradients, and layers whose
    /// weights are f32, keep them as they are.
    pub(crate) fn rounded_as(&self, x: Tensor, weights: DType) -> Result<Tensor, Error> {
        let is_kept = weights == DType::F32 || !x.device().is_cpu() || self.tracks(&x);
        if is_kept || !Level::current().has_blocks_of_bf16() {
            return Ok(x);
        }
        let x = x.contiguous()?;
        let rounded = kernels::round_to_bf16(&elements(&x)?);
        Ok(Tensor::from_vec(rounded, x.shape(), x.device())?)
    }

    /// Attends within every sequence. `// q [.., heads * dim], keys and values [.., kv_heads * dim]`
    pub(crate) fn attention(
        &self,
        [q, keys, values]: [&Tensor; 3],
        parts: &Parts,
        heads: Heads,
    ) -> Result<Tensor, Error> {
        if !q.device().is_cpu() {
            return self.padded_attention([q, keys, values], parts, heads);
        }
        let tracked = self.tracks(q) || self.tracks(keys) || self.tracks(values);
        if !tracked {
            return attend(q, keys, values, parts, heads);
        }
        let [q, keys, values] = [q.contiguous()?, keys.contiguous()?, values.contiguous()?];
        let (out, lse) = with_lse(&q, &keys, &values, parts, heads)?;
        let inputs = [q.clone(), keys.clone(), values.clone()];
        let (parts, result) = (parts.clone(), out.clone());
        self.record_one(&[&q, &keys, &values], Vec::new(), &out, move |_, dout| {
            let dout = dout.contiguous()?;
            let (q, keys, values) =
                (elements(&inputs[0])?, elements(&inputs[1])?, elements(&inputs[2])?);
            let forward = (&*elements(&result)?, lse.as_slice());
            let dout = elements(&dout)?;
            let (mut dkeys, mut dvalues) = (unwritten(keys.len()), unwritten(values.len()));
            let dq = written(inputs[0].shape(), |dq| {
                let grads = (dq, dkeys.as_mut_slice(), dvalues.as_mut_slice());
                backward((&q, &keys, &values), forward, &dout, (&parts, heads), grads);
            })?;
            let [_, keys, values] = &inputs;
            let dkeys = Tensor::from_vec(dkeys, keys.shape(), keys.device())?;
            let dvalues = Tensor::from_vec(dvalues, values.shape(), values.device())?;
            Ok(vec![Some(dq), Some(dkeys), Some(dvalues)])
        });
        Ok(out)
    }
}

/// Attends without gradients sequence by sequence, in whatever type the keys and values are.
fn attend(
    q: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    parts: &[Part],
    heads: Heads,
) -> Result<Tensor, Error> {
    let shape = q.shape();
    let q = q.reshape(((), heads.query * heads.dim))?;
    let width = heads.key_value * heads.dim;
    let (keys, values) = (keys.reshape(((), width))?, values.reshape(((), width))?);
    let (mut row, mut key) = (0, 0);
    let mut outs = Vec::with_capacity(parts.len());
    for Part { plan, num_keys } in parts {
        let q = q.narrow(0, row, plan.num_rows())?;
        let (k, v) = (keys.narrow(0, key, *num_keys)?, values.narrow(0, key, *num_keys)?);
        outs.push(ops::attention(&q, &k, &v, plan, heads)?);
        row += plan.num_rows();
        key += num_keys;
    }
    Ok(match outs.as_slice() {
        [out] => out.reshape(shape)?,
        outs => Tensor::cat(outs, 0)?.reshape(shape)?,
    })
}

/// Attends and keeps the denominators of the softmaxes.
fn with_lse(
    q: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    parts: &[Part],
    heads: Heads,
) -> Result<(Tensor, Vec<f32>), Error> {
    let sums = parts.iter().map(|part| lengths(part, heads)).fold((0, 0, 0), |sums, part| {
        (sums.0 + part.rows, sums.1 + part.keys, sums.2 + part.softmaxes)
    });
    if (sums.0, sums.1) != (q.elem_count(), keys.elem_count())
        || keys.elem_count() != values.elem_count()
    {
        let (q, keys, values) = (q.dims(), keys.dims(), values.dims());
        let message = format!(
            "attention: q {q:?}, keys {keys:?} and values {values:?} do not fit {heads:?} under {parts:?}"
        );
        return Err(candle_core::Error::Msg(message).into());
    }
    let mut lse = vec![0.0; sums.2];
    let (mut q_rest, mut k_rest) = (&*elements(q)?, &*elements(keys)?);
    let mut v_rest = &*elements(values)?;
    let mut lse_rest = lse.as_mut_slice();
    let out = written(q.shape(), |mut out| {
        let mut calls = Vec::with_capacity(parts.len());
        for part in parts {
            let len = lengths(part, heads);
            let (q, keys, values) = (
                take(&mut q_rest, len.rows),
                take(&mut k_rest, len.keys),
                take(&mut v_rest, len.keys),
            );
            let kv = ops::key_values(Matrix::F32(keys), Matrix::F32(values), heads);
            let result = AttentionOut {
                out: take_mut(&mut out, len.rows),
                lse: take_mut(&mut lse_rest, len.softmaxes),
            };
            calls.push((q, kv, ops::visible(&part.plan), result));
        }
        side_by_side(&mut calls, |(q, kv, visible, AttentionOut { out, lse })| {
            let result = AttentionOut { out, lse };
            kernels::attention_with_lse(q, *kv, *visible, ops::shape(heads), result);
        });
    })?;
    Ok((out, lse))
}

/// Runs calls of a kernel: each on a thread where they are many, one by one on all threads where
/// they are few.
pub(crate) fn side_by_side<C: Send>(calls: &mut [C], work: impl Fn(&mut C) + Sync) {
    if calls.len() < CALLS_PER_THREAD * num_threads() {
        calls.iter_mut().for_each(work);
    } else {
        for_each(chunks_mut(calls, 1), 1, |_, call| call.iter_mut().for_each(&work));
    }
}

fn backward(
    (mut q, mut keys, mut values): (&[f32], &[f32], &[f32]),
    (mut out, mut lse): (&[f32], &[f32]),
    mut dout: &[f32],
    (parts, heads): (&[Part], Heads),
    (mut dq, mut dkeys, mut dvalues): (&mut [f32], &mut [f32], &mut [f32]),
) {
    let mut calls = Vec::with_capacity(parts.len());
    for part in parts {
        let len = lengths(part, heads);
        let keys = Matrix::F32(take(&mut keys, len.keys));
        let values = Matrix::F32(take(&mut values, len.keys));
        let input = AttentionInput {
            q: take(&mut q, len.rows),
            kv: ops::key_values(keys, values, heads),
            visible: ops::visible(&part.plan),
            shape: ops::shape(heads),
        };
        let forward =
            AttentionForward { out: take(&mut out, len.rows), lse: take(&mut lse, len.softmaxes) };
        let grad = AttentionGrad {
            dq: take_mut(&mut dq, len.rows),
            dkeys: take_mut(&mut dkeys, len.keys),
            dvalues: take_mut(&mut dvalues, len.keys),
        };
        calls.push((input, forward, take(&mut dout, len.rows), grad));
    }
    side_by_side(&mut calls, |(input, forward, dout, AttentionGrad { dq, dkeys, dvalues })| {
        kernels::attention_grad(*input, *forward, dout, AttentionGrad { dq, dkeys, dvalues });
    });
}

/// Cuts the first elements off.
fn take<'a>(rest: &mut &'a [f32], len: usize) -> &'a [f32] {
    let (first, others) = rest.split_at(len);
    *rest = others;
    first
}

#[allow(clippy::mut_mut, reason = "the slice itself becomes shorter")]
fn take_mut<'a>(rest: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let (first, others) = std::mem::take(rest).split_at_mut(len);
    *rest = others;
    first
}
