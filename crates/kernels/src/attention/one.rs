//! One row, keys and values read where they are.

use std::ops::Range;

use super::entries::Entries;
use super::{Call, Out};
use crate::simd::{Kernel, Simd};

/// Keys that a head takes before the next head does.
const AT_ONCE: usize = 4;
/// How many keys ahead of its use memory is asked for one: the processor alone notices too late
/// that rows go on.
const AHEAD: usize = 2 * AT_ONCE;

/// One row of some heads. Heads of a key lie side by side in memory, keys do not: so all heads take
/// some keys before any takes the next ones, and memory is read in long runs.
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
        let columns: Vec<usize> = call.visible.row(row).flatten().collect();
        let starts: Vec<usize> = heads.clone().map(|head| call.start(head)).collect();
        let (stride, width) = (call.strides.1, call.shape.head_dim);
        let keys = Columns { all: call.keys, starts: &starts, stride, width };
        let values = Columns { all: call.values, ..keys };
        let mut weights = vec![0.0; heads.len() * columns.len()]; // [heads, columns]
        let query = &call.q[(row * call.shape.heads + heads.start) * width..];
        keys.score(simd, query, call.shape.scale, (&columns, &mut weights));
        let mut inverses = vec![0.0; heads.len()];
        for (of_head, head) in heads.clone().enumerate() {
            let weights = &mut weights[of_head * columns.len()..][..columns.len()];
            let (largest, total) = softmax(simd, weights);
            out.head(head).set_lse(row, largest, total);
            inverses[of_head] = if total > 0.0 { 1.0 / total } else { 0.0 };
        }
        let padded = width.next_multiple_of(S::LANES);
        let mut sums = vec![0.0; heads.len() * padded]; // [heads, padded]
        values.add(simd, (&columns, &weights), &mut sums);
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

/// Keys or values of some heads.
#[derive(Clone, Copy)]
struct Columns<'a, K> {
    all: K,
    /// Where the first one of each head is.
    starts: &'a [usize],
    /// Elements from one to the next.
    stride: usize,
    /// Elements of one.
    width: usize,
}

impl<K: Entries> Columns<'_, K> {
    /// Writes the scores of columns. `// [heads, columns]`
    #[inline(always)]
    fn score<S: Simd>(
        self,
        simd: S,
        query: &[f32],
        scale: f32,
        (columns, scores): (&[usize], &mut [f32]),
    ) {
        let (fours, rest) = columns.as_chunks::<AT_ONCE>();
        for (i, four) in fours.iter().enumerate() {
            for (head, start) in self.starts.iter().enumerate() {
                let query = &query[head * self.width..][..self.width];
                // SAFETY: both have the width.
                let dots = unsafe { dots::<S, K, AT_ONCE>(simd, query, self.some(four, *start)) };
                let to = &mut scores[head * columns.len() + i * AT_ONCE..][..AT_ONCE];
                for (to, dot) in to.iter_mut().zip(simd.sums(dots)) {
                    *to = dot * scale;
                }
            }
        }
        for (i, column) in rest.iter().enumerate() {
            for (head, start) in self.starts.iter().enumerate() {
                let query = &query[head * self.width..][..self.width];
                // SAFETY: both have the width.
                let [dot] = unsafe { dots::<S, K, 1>(simd, query, self.some(&[*column], *start)) };
                scores[(head + 1) * columns.len() - rest.len() + i] = simd.sum(dot) * scale;
            }
        }
    }

    /// Adds columns times their weights to sums of whole vectors for each head.
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, (columns, weights): (&[usize], &[f32]), sums: &mut [f32]) {
        let padded = self.width.next_multiple_of(S::LANES);
        let (fours, rest) = columns.as_chunks::<AT_ONCE>();
        for (i, four) in fours.iter().enumerate() {
            for (head, start) in self.starts.iter().enumerate() {
                let weights = &weights[head * columns.len() + i * AT_ONCE..];
                let weighted = (weights.first_chunk(), self.some(four, *start));
                let sums = &mut sums[head * padded..][..padded];
                // SAFETY: they have the width.
                unsafe { add_scaled::<S, K, AT_ONCE>(simd, weighted, self.width, sums) }
            }
        }
        for (i, column) in rest.iter().enumerate() {
            for (head, start) in self.starts.iter().enumerate() {
                let weights = &weights[(head + 1) * columns.len() - rest.len() + i..];
                let weighted = (weights.first_chunk(), self.some(&[*column], *start));
                let sums = &mut sums[head * padded..][..padded];
                // SAFETY: it has the width.
                unsafe { add_scaled::<S, K, 1>(simd, weighted, self.width, sums) }
            }
        }
    }

    /// Returns some columns of a head, each of the width, and asks memory for those that may come next.
    #[inline(always)]
    fn some<const N: usize>(self, columns: &[usize; N], start: usize) -> [K::Entry; N] {
        let next = columns.map(|column| start + (column + AHEAD) * self.stride);
        self.all.ask(next, self.width);
        columns.map(|column| self.all.entry(start + column * self.stride, self.width))
    }
}

/// Adds entries of so many elements, times their weights, to `sums`, one after the other.
///
/// # Safety
/// The entries must be so wide.
#[inline(always)]
unsafe fn add_scaled<S: Simd, K: Entries, const N: usize>(
    simd: S,
    (weights, values): (Option<&[f32; N]>, [K::Entry; N]),
    width: usize,
    sums: &mut [f32],
) {
    let weights = weights.expect("a weight for each");
    let whole = width - width % S::LANES;
    let (whole_sums, rest_sums) = sums.split_at_mut(whole);
    for (to, at) in whole_sums.chunks_exact_mut(S::LANES).zip((0..whole).step_by(S::LANES)) {
        let mut sum = simd.load(to);
        for i in 0..N {
            // SAFETY: the caller vouches for the width, of which a vector is left.
            let value = unsafe { K::load(simd, values[i], at) };
            sum = simd.mul_add(simd.splat(weights[i]), value, sum);
        }
        simd.store(sum, to);
    }
    if whole < width {
        let mut sum = simd.load(rest_sums);
        for i in 0..N {
            let value = K::load_rest(simd, values[i], whole);
            sum = simd.mul_add(simd.splat(weights[i]), value, sum);
        }
        simd.store(sum, rest_sums);
    }
}

/// Returns, in the lanes of vectors, the dot products of a query and keys.
///
/// # Safety
/// The keys must be as wide as the query.
#[inline(always)]
unsafe fn dots<S: Simd, K: Entries, const N: usize>(
    simd: S,
    query: &[f32],
    keys: [K::Entry; N],
) -> [S::V; N] {
    let parts = query.chunks_exact(S::LANES);
    let rest = parts.remainder();
    let mut sums = [simd.splat(0.0); N];
    for (part, at) in parts.zip((0..query.len()).step_by(S::LANES)) {
        let part = simd.load(part);
        for i in 0..N {
            // SAFETY: the caller vouches for the width, of which a vector is left.
            sums[i] = simd.mul_add(part, unsafe { K::load(simd, keys[i], at) }, sums[i]);
        }
    }
    if !rest.is_empty() {
        let part = simd.load_few(rest, 0.0);
        for i in 0..N {
            let key = K::load_rest(simd, keys[i], query.len() - rest.len());
            sums[i] = simd.mul_add(part, key, sums[i]);
        }
    }
    sums
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
