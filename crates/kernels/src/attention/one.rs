//! One row, keys and values read where they are.

use std::ops::Range;

use super::entries::Entries;
use super::{Call, Out};
use crate::simd::{Kernel, Simd};

/// How many keys ahead of its use memory is asked for one: the processor alone notices too late
/// that rows go on.
const AHEAD: usize = 3;

/// One row of some heads. Heads of a key lie side by side in memory, keys do not: so all heads take
/// a key before any takes the next, and memory is read in long runs.
pub(super) struct RowOfHeads<'a, K> {
    pub(super) call: Call<'a, K>,
    pub(super) row: usize,
    pub(super) heads: Range<usize>,
    pub(super) out: Out,
}

impl<K: Entries> Kernel for RowOfHeads<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { call, row, heads, out } = self;
        let columns = || call.visible.row(row).flatten();
        let num_columns = columns().count();
        let mut weights = vec![0.0; heads.len() * num_columns]; // [heads, columns]
        for (i, column) in columns().enumerate() {
            for (of_head, head) in heads.clone().enumerate() {
                call.ask(call.keys, head, column + AHEAD);
                let (query, key) = (call.query(row, head), call.entry(call.keys, head, column));
                let score = dot::<S, K>(simd, query, key) * call.shape.scale;
                weights[of_head * num_columns + i] = score;
            }
        }
        let width = call.shape.head_dim;
        let padded = width.next_multiple_of(S::LANES);
        let mut inverses = vec![0.0; heads.len()];
        for (of_head, head) in heads.clone().enumerate() {
            let weights = &mut weights[of_head * num_columns..][..num_columns];
            let (largest, total) = softmax(simd, weights);
            out.head(head).set_lse(row, largest, total);
            inverses[of_head] = if total > 0.0 { 1.0 / total } else { 0.0 };
        }
        let mut sums = vec![0.0; heads.len() * padded]; // [heads, padded]
        for (i, column) in columns().enumerate() {
            for (of_head, head) in heads.clone().enumerate() {
                call.ask(call.values, head, column + AHEAD);
                let value = call.entry(call.values, head, column);
                let weight = simd.splat(weights[of_head * num_columns + i]);
                add_scaled::<S, K>(simd, (weight, value), width, &mut sums[of_head * padded..]);
            }
        }
        for (of_head, head) in heads.enumerate() {
            let sums = &mut sums[of_head * padded..][..padded];
            for part in sums.chunks_exact_mut(S::LANES) {
                let scaled = simd.mul(simd.load(part), simd.splat(inverses[of_head]));
                simd.store(scaled, part);
            }
            out.head(head).set(row, sums);
        }
    }
}

/// Adds a value of so many elements, times its weight, to `sums`.
#[inline(always)]
fn add_scaled<S: Simd, K: Entries>(
    simd: S,
    (weight, value): (S::V, K::Entry),
    width: usize,
    sums: &mut [f32],
) {
    for at in (0..width).step_by(S::LANES) {
        let value = if width - at >= S::LANES {
            K::load(simd, value, at)
        } else {
            K::load_rest(simd, value, at)
        };
        let sum = simd.mul_add(weight, value, simd.load(&sums[at..]));
        simd.store(sum, &mut sums[at..]);
    }
}

/// Returns the dot product of a query and a key.
#[inline(always)]
fn dot<S: Simd, K: Entries>(simd: S, query: &[f32], key: K::Entry) -> f32 {
    let whole = query.len() - query.len() % S::LANES;
    let mut sum = simd.splat(0.0);
    let mut at = 0;
    while at < whole {
        sum = simd.mul_add(simd.load(&query[at..]), K::load(simd, key, at), sum);
        at += S::LANES;
    }
    if whole < query.len() {
        let rest = K::load_rest(simd, key, whole);
        sum = simd.mul_add(simd.load_few(&query[whole..], 0.0), rest, sum);
    }
    simd.sum(sum)
}

/// Replaces scores by `exp(score - largest)` and returns the largest and their sum.
#[inline(always)]
pub(super) fn softmax<S: Simd>(simd: S, scores: &mut [f32]) -> (f32, f32) {
    let largest = largest(simd, scores);
    (largest, exponentials(simd, scores, largest))
}

/// Returns the largest score, minus infinity if there is none; what is not a number does not count.
#[inline(always)]
pub(super) fn largest<S: Simd>(simd: S, scores: &[f32]) -> f32 {
    let mut lanes = simd.splat(f32::NEG_INFINITY);
    let chunks = scores.chunks_exact(S::LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        lanes = simd.max(simd.load(chunk), lanes);
    }
    if !rest.is_empty() {
        lanes = simd.max(simd.load_few(rest, f32::NEG_INFINITY), lanes);
    }
    simd.largest(lanes)
}

/// Replaces scores by `exp(score - largest)` and returns their sum.
#[inline(always)]
pub(super) fn exponentials<S: Simd>(simd: S, scores: &mut [f32], largest: f32) -> f32 {
    let shift = simd.splat(largest);
    let mut total = simd.splat(0.0);
    let mut chunks = scores.chunks_exact_mut(S::LANES);
    for chunk in &mut chunks {
        let e = simd.exp(simd.sub(simd.load(chunk), shift));
        total = simd.add(total, e);
        simd.store(e, chunk);
    }
    let rest = chunks.into_remainder();
    if !rest.is_empty() {
        // What fills the vector up is about 1e-38, which changes no sum with the largest's one.
        let few = simd.load_few(rest, f32::NEG_INFINITY);
        let e = simd.exp(simd.sub(few, shift));
        total = simd.add(total, e);
        simd.store_few(e, rest);
    }
    simd.sum(total)
}
