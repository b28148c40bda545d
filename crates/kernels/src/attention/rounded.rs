//! All rows of one head by products of bf16: queries, keys, values and weights are rounded
//! to them, and sums are in f32.

use std::ops::Range;

use half::bf16;

use super::many::weights;
use super::tiles::{cut, room_for};
use super::{Call, HeadOut, Visible};
use crate::aligned::Scratch;
use crate::gemm::View;
use crate::gemm::rounded::{BLOCK, Block, Rows, STEP, Unit, pack_panel, put_rounded, stride_of};
use crate::simd::{Kernel, Simd, dispatch};

/// Rows from which on blocks are filled well enough.
pub(super) const MANY: usize = 16;
/// Numbers of a step of 32 columns.
const OF_STEP: usize = STEP * BLOCK / 2;

/// All rows of one head.
pub(super) struct Head<'a> {
    pub(super) call: Call<'a, &'a [bf16]>,
    pub(super) out: HeadOut,
}

/// Keys and values of a head in panels of 32 keys, and of 32 elements of the values.
struct Packed<'a> {
    keys: &'a [f32],
    values: &'a [f32],
    columns: usize,
}

/// What a block of 32 rows is computed in.
struct Room<'a> {
    /// `// [32, stride_of(head_dim)]`
    queries: &'a mut [f32],
    /// `// [32, stride]`
    scores: &'a mut [f32],
    stride: usize,
    /// `// [32, stride_of(columns)]`
    weights: &'a mut [f32],
    /// `// [32, head_dim in whole blocks]`
    results: &'a mut [f32],
}

impl Head<'_> {
    /// Computes all rows.
    ///
    /// # Safety
    /// The level must have [blocks of bf16](crate::Level::has_blocks_of_bf16).
    pub(super) unsafe fn run(&self) {
        let Self { call, out } = self;
        let (rows, dim) = (call.visible.num_rows(), call.shape.head_dim);
        let columns = call.visible.hull(0..rows).end;
        let (steps, blocks) = (columns.div_ceil(STEP), dim.div_ceil(BLOCK));
        let stride = stride_of(2 * columns.next_multiple_of(BLOCK));
        let lens = [
            columns.div_ceil(BLOCK) * dim.div_ceil(STEP) * OF_STEP,
            blocks * steps * OF_STEP,
            BLOCK * stride_of(dim),
            BLOCK * stride,
            BLOCK * stride_of(columns),
            BLOCK * blocks * BLOCK,
        ];
        let mut scratch = Scratch::of(room_for(lens));
        let [keys, values, queries, scores, weights, results] = cut(&mut scratch, lens);
        let start = out.head / (call.shape.heads / call.shape.kv_heads) * call.strides.0;
        if columns > 0 {
            // SAFETY: the caller vouches for the instructions.
            unsafe {
                let view = View { data: &call.keys[start..], strides: (call.strides.1, 1) };
                pack_panels(&view, (columns, dim), keys);
                let view = View { data: &call.values[start..], strides: (1, call.strides.1) };
                pack_panels(&view, (dim, columns), values);
            }
        }
        let packed = Packed { keys, values, columns };
        let mut room = Room { queries, scores, stride, weights, results };
        // SAFETY: the caller vouches for the instructions, and this thread has no other unit.
        let unit = unsafe { Unit::new() };
        for row in (0..rows).step_by(BLOCK) {
            // SAFETY: as above.
            unsafe { self.block(&unit, row..rows.min(row + BLOCK), &packed, &mut room) }
        }
    }

    /// Computes some rows.
    ///
    /// # Safety
    /// As for [`Head::run`].
    unsafe fn block(
        &self,
        unit: &Unit,
        rows: Range<usize>,
        packed: &Packed<'_>,
        room: &mut Room<'_>,
    ) {
        let Self { call, out } = self;
        let dim = call.shape.head_dim;
        let hull = call.visible.hull(rows.clone());
        if hull.is_empty() {
            room.results.fill(0.0);
            for row in rows {
                out.set_lse(row, f32::NEG_INFINITY, 0.0);
                out.set(row, room.results);
            }
            return;
        }
        for (at, queries) in room.queries.chunks_exact_mut(stride_of(dim)).enumerate() {
            let row = rows.start + at;
            let query = if row < rows.end { call.query(row, out.head) } else { &[] };
            // SAFETY: the caller vouches for the instructions.
            unsafe { round_scaled(query, call.shape.scale, queries) }
        }
        let steps = dim.div_ceil(STEP);
        let seen = hull.start / BLOCK..hull.end.div_ceil(BLOCK);
        let queries = Rows::new(room.queries, stride_of(dim), steps);
        for panel in seen.clone() {
            let keys = &packed.keys[panel * steps * OF_STEP..][..steps * OF_STEP];
            let to = Block::new(&mut room.scores[panel * BLOCK..], room.stride);
            // SAFETY: as above.
            unsafe { unit.multiply(&queries, keys, to) }
        }
        let width = stride_of(packed.columns);
        let mut inverses = [0.0; BLOCK];
        for (at, row) in rows.clone().enumerate() {
            let scores = &mut room.scores[at * room.stride..][..seen.end * BLOCK];
            let softmax = Softmax { visible: &call.visible, row, hull: &hull, scores };
            let (largest, total) = dispatch(softmax);
            out.set_lse(row, largest, total);
            inverses[at] = if total > 0.0 { 1.0 / total } else { 0.0 };
            scores[seen.start * BLOCK..hull.start].fill(0.0);
            scores[hull.end..].fill(0.0);
            let from = &scores[seen.start * BLOCK..];
            // SAFETY: as above.
            unsafe { put_rounded(from, &mut room.weights[at * width + seen.start * STEP / 2..]) }
        }
        let weights = Rows::new(&room.weights[seen.start * STEP / 2..], width, seen.len());
        let num_steps = packed.columns.div_ceil(STEP);
        let broad = dim.next_multiple_of(BLOCK);
        for (block, values) in packed.values.chunks_exact(num_steps * OF_STEP).enumerate() {
            let values = &values[seen.start * OF_STEP..seen.end * OF_STEP];
            let to = Block::new(&mut room.results[block * BLOCK..], broad);
            // SAFETY: as above.
            unsafe { unit.multiply(&weights, values, to) }
        }
        for (at, row) in rows.enumerate() {
            let result = &mut room.results[at * broad..][..dim];
            for value in &mut *result {
                *value *= inverses[at];
            }
            out.set(row, result);
        }
    }
}

/// Turns the scores of a row into weights.
struct Softmax<'a> {
    visible: &'a Visible<'a>,
    row: usize,
    hull: &'a Range<usize>,
    scores: &'a mut [f32],
}

impl Kernel for Softmax<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (f32, f32) {
        weights(simd, self.visible, self.row, self.hull, self.scores)
    }
}

/// Packs lines, 32 to a panel, with zeros up to whole steps of the depth.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn pack_panels(view: &View<'_, bf16>, (count, depth): (usize, usize), to: &mut [f32]) {
    let panel_len = depth.div_ceil(STEP) * OF_STEP;
    for (index, panel) in to.chunks_exact_mut(panel_len).enumerate() {
        pack_panel(*view, index * BLOCK..count.min((index + 1) * BLOCK), depth, panel);
    }
}

/// Writes numbers times a scale, rounded, and zeros after them.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn round_scaled(from: &[f32], scale: f32, to: &mut [f32]) {
    for (step, to) in to.chunks_exact_mut(STEP / 2).enumerate() {
        let mut scaled = [0.0; STEP];
        let from = &from[from.len().min(step * STEP)..from.len().min((step + 1) * STEP)];
        for (to, from) in scaled.iter_mut().zip(from) {
            *to = from * scale;
        }
        put_rounded(&scaled, to);
    }
}
