//! All rows of one head, in blocks: keys and values are unpacked once, and what a block needs of them
//! comes into the first cache once for all of its rows.

use std::ops::Range;

use super::entries::Entries;
use super::one::{exponentials, largest};
use super::tiles::{Panels, ROWS, Seen, cut, room_for, rows_of_block};
use super::{Call, HeadOut, Visible};
use crate::aligned::Scratch;
use crate::simd::{Kernel, Simd};

/// Scores of a block, which stay in the second cache.
const SCORES: usize = 1 << 16;

/// All rows of one head.
pub(super) struct Head<'a, K> {
    pub(super) call: Call<'a, K>,
    pub(super) out: HeadOut,
}

/// Keys and values of a head, unpacked.
struct Packed<'a> {
    panels: Panels,
    keys: &'a [f32],
    /// `// [columns, width]`
    values: &'a [f32],
    /// The width of a head, in whole vectors.
    width: usize,
}

/// What a block is computed in.
struct Room<'a> {
    /// `// [rows, stride]`
    scores: &'a mut [f32],
    stride: usize,
    /// `// [rows, width]`
    results: &'a mut [f32],
}

impl<K: Entries> Kernel for Head<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match S::TILE.0 {
            6 => self.blocks::<S, 6>(simd),
            3 => self.blocks::<S, 3>(simd),
            _ => self.blocks::<S, 2>(simd),
        }
    }
}

impl<K: Entries> Head<'_, K> {
    #[inline(always)]
    fn blocks<S: Simd, const R: usize>(&self, simd: S) {
        let Self { call, out } = self;
        let rows = call.visible.num_rows();
        let columns = call.visible.hull(0..rows).end;
        let panels = Panels::new::<S>(call.shape.head_dim, columns);
        let width = call.shape.head_dim.next_multiple_of(S::LANES);
        let stride = columns.next_multiple_of(panels.broad());
        let tall = rows_of_block::<R>(SCORES, stride);
        let [keys, room] = panels.lens();
        let lens = [keys, columns * width, tall * stride, tall * width, room];
        let mut scratch = Scratch::of(room_for(lens));
        let [keys, values, scores, results, room] = cut(&mut scratch, lens);
        let scale = simd.splat(call.shape.scale);
        panels.pack(simd, keys, room, |simd, column, to| {
            let key = call.entry(call.keys, out.head, column);
            widen::<S, K>(simd, key, call.shape.head_dim, to);
            for part in to.chunks_exact_mut(S::LANES) {
                simd.store(simd.mul(simd.load(part), scale), part);
            }
        });
        for (column, to) in values[..columns * width].chunks_exact_mut(width.max(1)).enumerate() {
            let value = call.entry(call.values, out.head, column);
            widen::<S, K>(simd, value, call.shape.head_dim, to);
        }
        let packed = Packed { panels, keys, values, width };
        let mut room = Room { scores, stride, results };
        for row in (0..rows).step_by(tall) {
            self.block::<S, R>(simd, row..rows.min(row + tall), &packed, &mut room);
        }
    }

    /// Computes some rows.
    #[inline(always)]
    fn block<S: Simd, const R: usize>(
        &self,
        simd: S,
        rows: Range<usize>,
        packed: &Packed<'_>,
        room: &mut Room<'_>,
    ) {
        let Self { call, out } = self;
        let Room { scores, stride, results } = room;
        let (stride, width) = (*stride, packed.width);
        let seen = Seen::<R>::new(&call.visible, rows.clone());
        let query = |r: usize| call.query((rows.start + r).min(rows.end - 1), out.head);
        seen.times_panels(simd, query, (packed.panels, packed.keys), (&mut **scores, stride));
        let mut inverses = [0.0; ROWS];
        for (at, row) in rows.clone().enumerate() {
            let scores = &mut scores[at * stride..][..stride];
            let (largest, total) = weights(simd, &call.visible, row, &seen.tiles[at / R], scores);
            out.set_lse(row, largest, total);
            inverses[at] = if total > 0.0 { 1.0 / total } else { 0.0 };
        }
        seen.times_values(simd, (&**scores, stride), (packed.values, width), results);
        for (at, row) in rows.enumerate() {
            let result = &mut results[at * width..][..width];
            if seen.tiles[at / R].is_empty() {
                result.fill(0.0);
            }
            let inverse = simd.splat(inverses[at]);
            for part in result.chunks_exact_mut(S::LANES) {
                simd.store(simd.mul(simd.load(part), inverse), part);
            }
            out.set(row, result);
        }
    }
}

/// Writes an entry of `width` elements as f32; `to` has room for whole vectors.
#[inline(always)]
fn widen<S: Simd, K: Entries>(simd: S, entry: K::Entry, width: usize, to: &mut [f32]) {
    let whole = width - width % S::LANES;
    for at in (0..whole).step_by(S::LANES) {
        // SAFETY: a vector of the entry is left, which is so wide.
        simd.store(unsafe { K::load(simd, entry, at) }, &mut to[at..]);
    }
    if whole < width {
        simd.store(K::load_rest(simd, entry, whole), &mut to[whole..]);
    }
}

/// Turns the scores of one row into weights, zero where the row does not see, and returns the
/// largest score and the sum of the weights.
#[inline(always)]
pub(super) fn weights<S: Simd>(
    simd: S,
    visible: &Visible<'_>,
    row: usize,
    hull: &Range<usize>,
    scores: &mut [f32],
) -> (f32, f32) {
    let ranges = visible.row(row);
    let mut most = f32::NEG_INFINITY;
    // No closure, whose code would not get the level's instructions.
    for range in ranges.clone() {
        most = most.max(largest(simd, &scores[range]));
    }
    let (mut total, mut seen) = (0.0, hull.start);
    for range in ranges {
        scores[seen..range.start].fill(0.0);
        seen = range.end;
        total += exponentials(simd, &mut scores[range], most);
    }
    scores[seen..hull.end].fill(0.0);
    (most, total)
}
