//! Tiles of dot products in vectors of f32.
//!
//! A part is taken a piece of its width at a time, and where there are many rows the weights of
//! the piece are widened first, so that a tile's rows of `x` stay in the first cache and its
//! weights come from the second. The pieces do not depend on the number of rows, and neither do
//! the sums.

use std::ops::Range;

use super::Part;
use crate::aligned::{Aligned, LINE};
use crate::memory::prefetch;
use crate::simd::{Element, Kernel, Simd, widen};

/// Elements of a row that are multiplied before their sums are put aside: six rows of them fit
/// into the first cache beside the weights.
const DEPTH: usize = 1152;
/// Rows of weights that are widened together; a multiple of every tile's width.
const WIDENED: usize = 48;
/// Rows of `x` from which on widening pays.
const MANY: usize = 12;

/// Bytes that weights are asked for ahead of their use: the processor itself notices too late that
/// some rows are read side by side.
const AHEAD: usize = 1536;

/// Returns the element to ask for while the one at `at` of a row of which `left` are left is used:
/// of the row, or `next` elements further on.
#[inline(always)]
fn ahead<W>(at: usize, left: usize, next: usize) -> usize {
    let ahead = at + AHEAD / size_of::<W>();
    if ahead < left { ahead } else { ahead + next }
}

/// One part of a call.
pub(crate) struct Dot<'a, W> {
    pub(crate) part: &'a Part<'a, f32, W>,
}

/// A piece of a part: some rows of weights and some of the width.
struct Piece<'a, W> {
    x: &'a [f32],
    x_stride: usize,
    rows: usize,
    weight: &'a [W],
    weight_stride: usize,
    /// How many elements of each row are multiplied.
    depth: usize,
    /// How many elements are left of each row if the weights come from memory.
    left: Option<usize>,
}

impl<W: Element> Kernel for Dot<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let part = self.part;
        let (width, x_stride, rows) = (part.width, part.x_stride, part.rows());
        let columns = part.weight.len() / width;
        let mut sums = vec![0.0; rows * WIDENED];
        let weight_stride = DEPTH.min(width).next_multiple_of(LINE);
        let mut widened = (rows >= MANY).then(|| Aligned::new(WIDENED * weight_stride));
        for first in (0..columns).step_by(WIDENED) {
            let columns = WIDENED.min(columns - first);
            sums.fill(0.0);
            if let Some(widened) = &mut widened {
                for start in (0..width).step_by(DEPTH) {
                    let depth = DEPTH.min(width - start);
                    let weight = part.weight[first * width..].chunks_exact(width).take(columns);
                    for (weight, to) in weight.zip(widened.chunks_exact_mut(weight_stride)) {
                        widen(simd, &weight[start..][..depth], to);
                    }
                    let (x, weight): (_, &[f32]) = (&part.x[start..], widened);
                    let left = None;
                    let piece = Piece { x, x_stride, rows, weight, weight_stride, depth, left };
                    add_products(simd, &piece, 0..columns, &mut sums);
                }
            } else {
                // A few rows of weights from one end to the other, so that they are read at the
                // speed of memory.
                for column in (0..columns).step_by(S::TILE.1) {
                    let some = column..columns.min(column + S::TILE.1);
                    for start in (0..width).step_by(DEPTH) {
                        let depth = DEPTH.min(width - start);
                        let x = &part.x[start..];
                        let (weight, weight_stride) =
                            (&part.weight[first * width + start..], width);
                        let left = Some(width - start);
                        let piece = Piece { x, x_stride, rows, weight, weight_stride, depth, left };
                        add_products(simd, &piece, some.clone(), &mut sums);
                    }
                }
            }
            for (row, sums) in sums.chunks_exact(WIDENED).enumerate() {
                for (column, sum) in sums[..columns].iter().enumerate() {
                    part.set(row, first + column, *sum);
                }
            }
        }
    }
}

/// Adds the products of every row of `x` and some rows of weights to `sums`.
#[inline(always)]
fn add_products<S: Simd, W: Element>(
    simd: S,
    piece: &Piece<'_, W>,
    columns: Range<usize>,
    sums: &mut [f32],
) {
    let (_, broad) = S::TILE;
    // Tiles of the same height rather than tall ones and a rest.
    let tall = piece.rows.div_ceil(piece.rows.div_ceil(S::TILE.0));
    let mut row = 0;
    while row < piece.rows {
        let height = tall.min(piece.rows - row);
        let mut column = columns.start;
        while column + broad <= columns.end {
            match (S::TILE, height) {
                ((6, 4), 6) => tile::<S, W, 6, 4>(simd, piece, (row, column), sums),
                ((6, 4), 5) => tile::<S, W, 5, 4>(simd, piece, (row, column), sums),
                ((6, 4), 4) => tile::<S, W, 4, 4>(simd, piece, (row, column), sums),
                ((6, 4), 3) => tile::<S, W, 3, 4>(simd, piece, (row, column), sums),
                ((6, 4), 2) => tile::<S, W, 2, 4>(simd, piece, (row, column), sums),
                ((6, 4), _) => tile::<S, W, 1, 4>(simd, piece, (row, column), sums),
                ((3, 3), 3) => tile::<S, W, 3, 3>(simd, piece, (row, column), sums),
                ((3, 3), 2) => tile::<S, W, 2, 3>(simd, piece, (row, column), sums),
                ((3, 3), _) => tile::<S, W, 1, 3>(simd, piece, (row, column), sums),
                (_, 2) => tile::<S, W, 2, 2>(simd, piece, (row, column), sums),
                _ => tile::<S, W, 1, 2>(simd, piece, (row, column), sums),
            }
            column += broad;
        }
        for column in column..columns.end {
            for row in row..row + height {
                tile::<S, W, 1, 1>(simd, piece, (row, column), sums);
            }
        }
        row += height;
    }
}

/// Adds the products of `R` rows and `C` columns.
#[inline(always)]
fn tile<S: Simd, W: Element, const R: usize, const C: usize>(
    simd: S,
    piece: &Piece<'_, W>,
    (row, column): (usize, usize),
    out: &mut [f32],
) {
    let depth = piece.depth;
    let whole = depth - depth % S::LANES;
    let xs: [&[f32]; R] = std::array::from_fn(|r| &piece.x[(row + r) * piece.x_stride..][..depth]);
    let ws: [&[W]; C] =
        std::array::from_fn(|c| &piece.weight[(column + c) * piece.weight_stride..][..depth]);
    let mut sums = [[simd.splat(0.0); C]; R];
    let mut at = 0;
    while at < whole {
        let mut w = [simd.splat(0.0); C];
        if let Some(left) = piece.left {
            let ahead = ahead::<W>(at, left, (C - 1) * piece.weight_stride);
            for w in &ws {
                prefetch(w, ahead);
            }
        }
        for c in 0..C {
            w[c] = W::load(simd, &ws[c][at..at + S::LANES]);
        }
        for r in 0..R {
            let x = simd.load(&xs[r][at..at + S::LANES]);
            for c in 0..C {
                sums[r][c] = simd.mul_add(x, w[c], sums[r][c]);
            }
        }
        at += S::LANES;
    }
    if whole < depth {
        for r in 0..R {
            let x = simd.load_few(&xs[r][whole..], 0.0);
            for c in 0..C {
                sums[r][c] = simd.mul_add(x, W::load_few(simd, &ws[c][whole..]), sums[r][c]);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        let out = &mut out[(row + r) * WIDENED + column..][..C];
        if let Ok(sums) = <[S::V; 4]>::try_from(sums.as_slice()) {
            for (sum, out) in simd.sums(sums).into_iter().zip(out) {
                *out += sum;
            }
        } else {
            for (sum, out) in sums.iter().zip(out) {
                *out += simd.sum(*sum);
            }
        }
    }
}
