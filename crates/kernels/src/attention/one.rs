//! One row of one head, keys and values read where they are.

use super::entries::Entries;
use super::{Call, HeadOut};
use crate::simd::{Kernel, Simd, load_rest};

/// Vectors of a value that are summed at once.
const GROUP: usize = 4;

/// One row of one head.
pub(super) struct RowOfHead<'a, K> {
    pub(super) call: Call<'a, K>,
    pub(super) row: usize,
    pub(super) out: HeadOut,
}

impl<K: Entries> Kernel for RowOfHead<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { call, row, out } = self;
        let head = out.head;
        let query = call.query(row, head);
        let columns = || call.visible.row(row).flatten();
        let mut weights = Vec::with_capacity(columns().count());
        for column in columns() {
            let key = call.entry(call.keys, head, column);
            weights.push(dot::<S, K>(simd, query, key) * call.shape.scale);
        }
        let (largest, total) = softmax(simd, &mut weights);
        out.set_lse(row, largest, total);
        let inverse = if total > 0.0 { 1.0 / total } else { 0.0 };
        let width = query.len();
        let mut result = vec![0.0; width.next_multiple_of(GROUP * S::LANES)];
        for start in (0..width).step_by(GROUP * S::LANES) {
            let mut sums = [simd.splat(0.0); GROUP];
            for (column, weight) in columns().zip(&weights) {
                let value = call.entry(call.values, head, column);
                let weight = simd.splat(*weight);
                for (i, sum) in sums.iter_mut().enumerate() {
                    let at = start + i * S::LANES;
                    let rest = width.saturating_sub(at);
                    if rest >= S::LANES {
                        *sum = simd.mul_add(weight, K::load(simd, value, at), *sum);
                    } else if rest > 0 {
                        *sum = simd.mul_add(weight, K::load_rest(simd, value, at), *sum);
                    }
                }
            }
            for (i, sum) in sums.iter().enumerate() {
                let scaled = simd.mul(*sum, simd.splat(inverse));
                simd.store(scaled, &mut result[start + i * S::LANES..]);
            }
        }
        out.set(row, &result);
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
        sum = simd.mul_add(load_rest(simd, &query[whole..]), rest, sum);
    }
    simd.sum(sum)
}

/// Replaces scores by `exp(score - largest)` and returns the largest and their sum.
#[inline(always)]
pub(super) fn softmax<S: Simd>(simd: S, scores: &mut [f32]) -> (f32, f32) {
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (largest, exponentials(simd, scores, largest))
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
    let mut padded = [0.0; 16];
    padded[..rest.len()].copy_from_slice(rest);
    let mut e = [0.0; 16];
    simd.store(simd.exp(simd.sub(simd.load(&padded), shift)), &mut e);
    rest.copy_from_slice(&e[..rest.len()]);
    simd.sum(total) + rest.iter().sum::<f32>()
}
