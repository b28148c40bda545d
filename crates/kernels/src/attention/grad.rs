//! The gradient of attention, in blocks of rows.
//!
//! The probabilities of a block are computed again from the logarithm of their denominator. A task
//! takes one query head; the gradients of the keys and values of the query heads that share them
//! are added in the order of the heads.

use std::ops::Range;

use super::tiles::{Columns, Multiply, Panels, Seen, To, cut, room_for, rows_of_block};
use super::{AttentionShape, KeyValues, Visible};
use crate::Matrix;
use crate::aligned::{Aligned, Scratch};
use crate::parallel::{self, Scatter, chunks_mut};
use crate::simd::{Element, Kernel, Simd, dispatch, load_some, store_some, widen};

/// Scores of a block, which stay in the second cache with their gradients.
const SCORES: usize = 1 << 15;
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
    for zeroed in [&mut *dkeys, &mut *dvalues] {
        parallel::for_each(chunks_mut(zeroed, TASK), 1, |_, zeroed| zeroed.fill(0.0));
    }
    if head_dim == 0 || columns == 0 {
        dq.fill(0.0);
        return;
    }
    let last = (kv_heads - 1) * head_stride + (columns - 1) * key_stride + head_dim;
    assert!(call.keys.len().min(call.values.len()) >= last, "{columns} keys of {kv_heads} heads");
    let (dq, dkeys, dvalues) = (Scatter::new(dq), Scatter::new(dkeys), Scatter::new(dvalues));
    let mut of_heads: Vec<_> = (0..heads).map(|_| None).collect();
    parallel::for_each(chunks_mut(&mut of_heads, 1), 1, |head, sums| {
        sums[0] = Some(dispatch(OneHead { call, head, columns, dq }));
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
            for sums in &of_heads[kv_head * group..][..group] {
                let part = column * sums.width..column * sums.width + head_dim;
                for (to, from) in dk.iter_mut().zip(&sums.keys[part.clone()]) {
                    *to += from;
                }
                for (to, from) in dv.iter_mut().zip(&sums.values[part]) {
                    *to += from;
                }
            }
        }
    });
}

/// The gradients of the keys and the values of one query head. `// [columns, width]`
struct Sums {
    keys: Aligned,
    values: Aligned,
    /// The width of a head, in whole vectors.
    width: usize,
}

/// The rows of one query head.
struct OneHead<'a, E> {
    call: &'a Call<'a, E>,
    head: usize,
    columns: usize,
    /// Where the gradients of the queries go.
    dq: Scatter,
}

/// Keys and values of a head, unpacked.
struct Packed<'a> {
    panels: Panels,
    keys: &'a [f32],
    values: &'a [f32],
    /// The keys again. `// [columns, width]`
    rows: &'a [f32],
    width: usize,
}

/// What a block is computed in.
struct Room<'a> {
    /// Scores, then probabilities, and their gradients. `// [rows, stride]`
    scores: &'a mut [f32],
    grads: &'a mut [f32],
    stride: usize,
    /// The queries, the gradients of the results, and those of the queries. `// [rows, width]`
    queries: &'a mut [f32],
    douts: &'a mut [f32],
    dqs: &'a mut [f32],
}

impl<E: Element> Kernel for OneHead<'_, E> {
    type Output = Sums;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Sums {
        match S::TILE.0 {
            6 => self.blocks::<S, 6>(simd),
            3 => self.blocks::<S, 3>(simd),
            _ => self.blocks::<S, 2>(simd),
        }
    }
}

impl<E: Element> OneHead<'_, E> {
    /// Writes the gradients of the queries and returns those of the keys and values.
    #[inline(always)]
    fn blocks<S: Simd, const R: usize>(&self, simd: S) -> Sums {
        let Self { call, columns, .. } = *self;
        let head_dim = call.input.shape.head_dim;
        let rows = call.input.visible.num_rows();
        let panels = Panels::new::<S>(head_dim, columns);
        let width = head_dim.next_multiple_of(S::LANES);
        // Tiles of columns may go past the last one.
        let stride = (columns + R).next_multiple_of(panels.broad());
        let tall = rows_of_block::<R>(SCORES, stride);
        let [packed, room] = panels.lens();
        let (block, of_rows) = (tall * stride, tall * width);
        let lens = [packed, packed, columns * width, room, block, block, of_rows, of_rows, of_rows];
        let mut scratch = Scratch::of(room_for(lens));
        let [keys, values, key_rows, room, scores, grads, queries, douts, dqs] =
            cut(&mut scratch, lens);
        panels.pack(simd, keys, room, |simd, column, to| {
            widen(simd, self.entry(call.keys, column), to);
        });
        panels.pack(simd, values, room, |simd, column, to| {
            widen(simd, self.entry(call.values, column), to);
        });
        for (column, to) in key_rows[..columns * width].chunks_exact_mut(width).enumerate() {
            widen(simd, self.entry(call.keys, column), to);
        }
        let packed = Packed { panels, keys, values, rows: key_rows, width };
        let mut room = Room { scores, grads, stride, queries, douts, dqs };
        let len = (columns + R) * width;
        let mut sums = Sums { keys: Aligned::new(len), values: Aligned::new(len), width };
        for row in (0..rows).step_by(tall) {
            let seen = Seen::<R>::new(&call.input.visible, row..rows.min(row + tall));
            self.block::<S, R>(simd, &seen, &packed, &mut room);
            add_columns::<S, R>(simd, &seen, &room, &mut sums);
        }
        sums
    }

    /// Returns a key or a value.
    #[inline(always)]
    fn entry<'b>(&self, of: &'b [E], column: usize) -> &'b [E] {
        let AttentionShape { heads, kv_heads, head_dim, .. } = self.call.input.shape;
        let KeyValues { head_stride, key_stride, .. } = self.call.input.kv;
        let at = self.head / (heads / kv_heads) * head_stride + column * key_stride;
        &of[at..][..head_dim]
    }

    /// Returns where the head of a row is.
    #[inline(always)]
    fn part(&self, row: usize) -> Range<usize> {
        let AttentionShape { heads, head_dim, .. } = self.call.input.shape;
        let index = row * heads + self.head;
        index * head_dim..(index + 1) * head_dim
    }

    /// Computes the probabilities of a block and the gradients of its scores, and writes those of
    /// its queries.
    #[inline(always)]
    fn block<S: Simd, const R: usize>(
        &self,
        simd: S,
        seen: &Seen<R>,
        packed: &Packed<'_>,
        room: &mut Room<'_>,
    ) {
        let (stride, width) = (room.stride, packed.width);
        for (at, row) in seen.rows.clone().enumerate() {
            let to = at * width..(at + 1) * width;
            widen(simd, &self.call.input.q[self.part(row)], &mut room.queries[to.clone()]);
            widen(simd, &self.call.dout[self.part(row)], &mut room.douts[to]);
        }
        let head_dim = self.call.input.shape.head_dim;
        let Packed { panels, keys, values, .. } = *packed;
        let Room { scores, grads, queries, douts, .. } = &mut *room;
        let query = |r: usize| &queries[r * width..][..head_dim];
        seen.times_panels(simd, query, (panels, keys), (&mut **scores, stride));
        let dout = |r: usize| &douts[r * width..][..head_dim];
        seen.times_panels(simd, dout, (panels, values), (&mut **grads, stride));
        for (at, row) in seen.rows.clone().enumerate() {
            let part = at * stride..(at + 1) * stride;
            let (scores, grads) = (&mut room.scores[part.clone()], &mut room.grads[part]);
            self.differentiate(simd, row, &seen.hull, (scores, grads));
        }
        seen.times_values(simd, (&*room.grads, stride), (packed.rows, width), room.dqs);
        for (at, row) in seen.rows.clone().enumerate() {
            let part = self.part(row);
            // SAFETY: only this task has the head, whose queries these are.
            let to = unsafe { self.dq.slice(part.start, part.len()) };
            if seen.tiles[at / R].is_empty() {
                to.fill(0.0);
            } else {
                to.copy_from_slice(&room.dqs[at * width..][..part.len()]);
            }
        }
    }

    /// Turns the scores of a row into probabilities and the probabilities' gradients into the
    /// scores', zero where the row does not see and for some columns beyond the hull.
    #[inline(always)]
    fn differentiate<S: Simd>(
        &self,
        simd: S,
        row: usize,
        hull: &Range<usize>,
        (scores, grads): (&mut [f32], &mut [f32]),
    ) {
        let Call { input, forward, dout, .. } = self.call;
        let (out, dout) = (&forward.out[self.part(row)], &dout[self.part(row)]);
        let mut mean = simd.splat(0.0);
        for (out, dout) in out.chunks(S::LANES).zip(dout.chunks(S::LANES)) {
            mean = simd.mul_add(load_some(simd, out), load_some(simd, dout), mean);
        }
        let mean = simd.splat(simd.sum(mean));
        let lse = simd.splat(forward.lse[row * input.shape.heads + self.head]);
        let scale = simd.splat(input.shape.scale);
        let mut seen = hull.start;
        for range in input.visible.row(row) {
            scores[seen..range.start].fill(0.0);
            grads[seen..range.start].fill(0.0);
            seen = range.end;
            let (scores, grads) = (&mut scores[range.clone()], &mut grads[range]);
            for (scores, grads) in scores.chunks_mut(S::LANES).zip(grads.chunks_mut(S::LANES)) {
                let score = simd.mul(load_some(simd, scores), scale);
                let p = simd.exp(simd.sub(score, lse));
                let ds = simd.mul(p, simd.sub(load_some(simd, grads), mean));
                store_some(simd, p, scores);
                store_some(simd, simd.mul(ds, scale), grads);
            }
        }
        let end = (hull.end + S::TILE.0).min(scores.len());
        scores[seen..end].fill(0.0);
        grads[seen..end].fill(0.0);
    }
}

/// Adds what the rows of a block give to the gradients of the keys and values.
#[inline(always)]
fn add_columns<S: Simd, const R: usize>(simd: S, seen: &Seen<R>, room: &Room<'_>, sums: &mut Sums) {
    let Sums { keys, values, width } = sums;
    let (stride, width) = (room.stride, *width);
    for column in seen.hull.clone().step_by(R) {
        let rows = seen.rows_that_see(column..column + R);
        if rows.is_empty() {
            continue;
        }
        let of_keys = (&*room.grads, &*room.queries, &mut **keys);
        let of_values = (&*room.scores, &*room.douts, &mut **values);
        for (a, b, to) in [of_keys, of_values] {
            let a = Columns { data: &a[rows.start * stride + column..], stride, depth: rows.len() };
            let b = (&b[rows.start * width..], width);
            let to = To { data: &mut to[column * width..], stride: width, accumulate: true };
            simd.apart(Multiply::<_, R> { a, b, vectors: width / S::LANES, to });
        }
    }
}
