//! The gradient of attention, in blocks of rows and columns.
//!
//! The probabilities of a block are computed again from the logarithm of their denominator. A task
//! takes one query head; the gradients of the keys and values of the query heads that share them
//! are added in the order of the heads.

use std::ops::Range;

use super::{AttentionShape, KeyValues, Visible};
use crate::Matrix;
use crate::aligned::Aligned;
use crate::gemm::{Product, Target, View};
use crate::parallel::{self, Scatter, chunks_mut};
use crate::simd::{Element, Kernel, Simd, dispatch, load_some, store_some};

/// Rows and columns of a block: the scores and their gradients stay in the second cache.
const ROWS: usize = 84;
const COLUMNS: usize = 512;
/// Elements of a task that fills with zeros, keys of one that adds up.
const TASK: usize = 1 << 14;
const KEYS: usize = 64;

/// What [`attention`](crate::attention()) was called with.
#[derive(Clone, Copy, Debug)]
pub struct AttentionInput<'a> {
    /// The queries. `// [rows, heads, head_dim]`
    pub q: &'a [f32],
    /// The keys and values.
    pub kv: KeyValues<'a>,
    /// Which keys each row sees.
    pub visible: Visible<'a>,
    /// The sizes.
    pub shape: AttentionShape,
}

/// What [`attention_with_lse`](crate::attention_with_lse) wrote.
#[derive(Clone, Copy, Debug)]
pub struct AttentionForward<'a> {
    /// The results. `// [rows, heads, head_dim]`
    pub out: &'a [f32],
    /// The logarithms of the softmaxes' denominators. `// [rows, heads]`
    pub lse: &'a [f32],
}

/// Where the gradients of attention go.
#[derive(Debug)]
pub struct AttentionGrad<'a> {
    /// Of the queries, in their shape.
    pub dq: &'a mut [f32],
    /// Of the keys, as the keys lie in memory; zero where no row sees, and between the keys.
    pub dkeys: &'a mut [f32],
    /// Of the values, likewise.
    pub dvalues: &'a mut [f32],
}

/// Writes the gradients of `softmax(scale q k^T) v` from that of the result, `dout`
/// `[rows, heads, head_dim]`.
///
/// With `p = exp(scale q k^T - lse)` where a row sees and zero elsewhere, and
/// `ds = p (dout v^T - sum(dout out))`: `dq = scale ds k`, `dk = scale ds^T q`, `dv = p^T dout`,
/// the last two summed over the query heads that read a head of keys and values.
///
/// # Panics
/// If the lengths do not fit, a range goes past the keys, or keys and values differ in type.
pub fn attention_grad(
    input: AttentionInput<'_>,
    forward: AttentionForward<'_>,
    dout: &[f32],
    grad: AttentionGrad<'_>,
) {
    match (input.kv.keys, input.kv.values) {
        (Matrix::F32(keys), Matrix::F32(values)) => {
            run(&Call { input, keys, values, forward, dout }, grad);
        }
        (Matrix::Bf16(keys), Matrix::Bf16(values)) => {
            run(&Call { input, keys, values, forward, dout }, grad);
        }
        (Matrix::F16(keys), Matrix::F16(values)) => {
            run(&Call { input, keys, values, forward, dout }, grad);
        }
        _ => panic!("keys and values of different types"),
    }
}

struct Call<'a, E> {
    input: AttentionInput<'a>,
    keys: &'a [E],
    values: &'a [E],
    forward: AttentionForward<'a>,
    dout: &'a [f32],
}

fn run<E: Element>(call: &Call<'_, E>, grad: AttentionGrad<'_>) {
    let AttentionShape { heads, kv_heads, head_dim, .. } = call.input.shape;
    let KeyValues { head_stride, key_stride, .. } = call.input.kv;
    let AttentionGrad { dq, dkeys, dvalues } = grad;
    let rows = call.input.visible.num_rows();
    assert!(kv_heads > 0 && heads.is_multiple_of(kv_heads), "{heads} heads on {kv_heads}");
    let len = rows * heads * head_dim;
    assert_eq!(call.input.q.len(), len, "queries of {rows} rows");
    assert_eq!(call.forward.out.len(), len, "results of {rows} rows");
    assert_eq!(call.forward.lse.len(), rows * heads, "one for each row and head");
    assert_eq!((call.dout.len(), dq.len()), (len, len), "gradients of {rows} rows");
    assert_eq!(call.keys.len(), dkeys.len(), "gradient of the keys");
    assert_eq!(call.values.len(), dvalues.len(), "gradient of the values");
    let columns = call.input.visible.hull(0..rows).end;
    for zeroed in [&mut *dq, &mut *dkeys, &mut *dvalues] {
        parallel::for_each(chunks_mut(zeroed, TASK), 1, |_, zeroed| zeroed.fill(0.0));
    }
    if head_dim == 0 || columns == 0 {
        return;
    }
    let last = (kv_heads - 1) * head_stride + (columns - 1) * key_stride + head_dim;
    assert!(call.keys.len().min(call.values.len()) >= last, "{columns} keys of {kv_heads} heads");
    let (dq, dkeys, dvalues) = (Scatter::new(dq), Scatter::new(dkeys), Scatter::new(dvalues));
    let mut of_heads: Vec<_> = (0..heads).map(|_| None).collect();
    parallel::for_each(chunks_mut(&mut of_heads, 1), 1, |head, sums| {
        sums[0] = Some(OneHead::new(call, head, columns).run(dq));
    });
    let of_heads: Vec<_> = of_heads.into_iter().flatten().collect();
    let group = heads / kv_heads;
    let tasks = (kv_heads * columns).div_ceil(KEYS);
    parallel::run(tasks, &|task| {
        for key in task * KEYS..(kv_heads * columns).min((task + 1) * KEYS) {
            let (kv_head, column) = (key / columns, key % columns);
            let at = kv_head * head_stride + column * key_stride;
            // SAFETY: tasks have different keys, and the gradients are borrowed mutably.
            let (dk, dv) = unsafe { (dkeys.slice(at, head_dim), dvalues.slice(at, head_dim)) };
            for (from_k, from_v) in &of_heads[kv_head * group..][..group] {
                let part = column * head_dim..(column + 1) * head_dim;
                for (to, from) in dk.iter_mut().zip(&from_k[part.clone()]) {
                    *to += from;
                }
                for (to, from) in dv.iter_mut().zip(&from_v[part]) {
                    *to += from;
                }
            }
        }
    });
}

/// The rows of one query head.
struct OneHead<'a, E> {
    call: &'a Call<'a, E>,
    head: usize,
    /// Where the head's keys and values start.
    at: usize,
    columns: usize,
}

impl<'a, E: Element> OneHead<'a, E> {
    fn new(call: &'a Call<'a, E>, head: usize, columns: usize) -> Self {
        let AttentionShape { heads, kv_heads, .. } = call.input.shape;
        let at = head / (heads / kv_heads) * call.input.kv.head_stride;
        Self { call, head, at, columns }
    }

    /// Writes the gradients of the queries and returns those of the keys and values.
    fn run(&self, dq: Scatter) -> (Aligned, Aligned) {
        let Call { input, .. } = self.call;
        let head_dim = input.shape.head_dim;
        let rows = input.visible.num_rows();
        let len = self.columns * head_dim;
        let (mut dk, mut dv) = (Aligned::new(len), Aligned::new(len));
        let (to_k, to_v) = (Scatter::new(&mut dk), Scatter::new(&mut dv));
        let tall = ROWS.min(rows);
        let broad = COLUMNS.min(self.columns);
        let mut scratch = [Aligned::new(tall * broad), Aligned::new(tall * broad)];
        for row in (0..rows).step_by(ROWS) {
            let rows = row..rows.min(row + ROWS);
            let hull = input.visible.hull(rows.clone());
            for column in (hull.start..hull.end).step_by(COLUMNS) {
                let columns = column..hull.end.min(column + COLUMNS);
                if self.is_seen(&rows, &columns) {
                    self.block((rows.clone(), columns), &mut scratch, [dq, to_k, to_v]);
                }
            }
        }
        (dk, dv)
    }

    /// Returns whether any of some rows sees any of some columns.
    fn is_seen(&self, rows: &Range<usize>, columns: &Range<usize>) -> bool {
        rows.clone().any(|row| {
            let mut ranges = self.call.input.visible.row(row);
            ranges.any(|range| range.start < columns.end && columns.start < range.end)
        })
    }

    /// Adds what a block of rows and columns gives to the gradients.
    fn block(
        &self,
        (rows, columns): (Range<usize>, Range<usize>),
        [scores, grads]: &mut [Aligned; 2],
        [dq, dk, dv]: [Scatter; 3],
    ) {
        let Call { input, dout, .. } = self.call;
        let AttentionShape { heads, head_dim, .. } = input.shape;
        let (tall, broad) = (rows.len(), columns.len());
        let row_stride = heads * head_dim;
        let first = rows.start * row_stride + self.head * head_dim;
        let of_rows = |data: &'a [f32]| View { data: &data[first..], strides: (row_stride, 1) };
        let (q, dout) = (of_rows(input.q), of_rows(dout));
        let into = |out: &mut [f32]| Target { out: Scatter::new(out), at: 0, stride: broad };
        let key_stride = input.kv.key_stride;
        let of_columns = |data: &'a [E], strides| View {
            data: &data[self.at + columns.start * key_stride..],
            strides,
        };
        let Call { keys, values, .. } = self.call;
        for (a, b, out) in [(q, keys, &mut *scores), (dout, values, &mut *grads)] {
            let b = of_columns(b, (1, key_stride));
            let size = (tall, broad, head_dim);
            // SAFETY: the scratch is this task's.
            unsafe { Product { a, b, size, target: into(out), accumulate: false }.run_here() }
        }
        self.differentiate(&rows, &columns, scores, grads);
        let b = of_columns(keys, (key_stride, 1));
        let a = View { data: &grads[..], strides: (broad, 1) };
        let target = Target { out: dq, at: first, stride: row_stride };
        let size = (tall, head_dim, broad);
        // SAFETY: only this task has the head, whose queries these are.
        unsafe { Product { a, b, size, target, accumulate: true }.run_here() }
        for (a, b, out) in [(&*grads, q, dk), (&*scores, dout, dv)] {
            let a = View { data: &a[..], strides: (1, broad) };
            let target = Target { out, at: columns.start * head_dim, stride: head_dim };
            let size = (broad, head_dim, tall);
            // SAFETY: these sums are this task's.
            unsafe { Product { a, b, size, target, accumulate: true }.run_here() }
        }
    }

    /// Turns scores into probabilities and the probabilities' gradients into the scores'.
    fn differentiate(
        &self,
        rows: &Range<usize>,
        columns: &Range<usize>,
        scores: &mut [f32],
        grads: &mut [f32],
    ) {
        let Call { input, forward, dout, .. } = self.call;
        let AttentionShape { heads, head_dim, scale, .. } = input.shape;
        let broad = columns.len();
        let of_rows = scores.chunks_exact_mut(broad).zip(grads.chunks_exact_mut(broad));
        for (row, (scores, grads)) in rows.clone().zip(of_rows) {
            let index = row * heads + self.head;
            let part = index * head_dim..(index + 1) * head_dim;
            let (out, dout) = (&forward.out[part.clone()], &dout[part]);
            let lse = forward.lse[index];
            let mut seen = 0;
            for range in input.visible.row(row) {
                let start = range.start.clamp(columns.start, columns.end) - columns.start;
                let end = range.end.clamp(columns.start, columns.end) - columns.start;
                if start < end {
                    scores[seen..start].fill(0.0);
                    grads[seen..start].fill(0.0);
                    let (scores, grads) = (&mut scores[start..end], &mut grads[start..end]);
                    dispatch(Differentiate { scores, grads, out, dout, lse, scale });
                    seen = end;
                }
            }
            scores[seen..].fill(0.0);
            grads[seen..].fill(0.0);
        }
    }
}

/// Some visible columns of a row.
struct Differentiate<'a> {
    /// Dot products, then probabilities.
    scores: &'a mut [f32],
    /// Gradients of the probabilities, then those of the dot products.
    grads: &'a mut [f32],
    out: &'a [f32],
    dout: &'a [f32],
    lse: f32,
    scale: f32,
}

impl Kernel for Differentiate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { scores, grads, out, dout, lse, scale } = self;
        let mut mean = simd.splat(0.0);
        for (out, dout) in out.chunks(S::LANES).zip(dout.chunks(S::LANES)) {
            mean = simd.mul_add(load_some(simd, out), load_some(simd, dout), mean);
        }
        let mean = simd.splat(simd.sum(mean));
        let (lse, scale) = (simd.splat(lse), simd.splat(scale));
        for (scores, grads) in scores.chunks_mut(S::LANES).zip(grads.chunks_mut(S::LANES)) {
            let score = simd.mul(load_some(simd, scores), scale);
            let p = simd.exp(simd.sub(score, lse));
            let ds = simd.mul(p, simd.sub(load_some(simd, grads), mean));
            store_some(simd, p, scores);
            store_some(simd, simd.mul(ds, scale), grads);
        }
    }
}
