//! Tiles of dot products in vectors of f32.

use super::Part;
use crate::simd::{Element, Kernel, Simd, load_rest};

/// One part of a call.
pub(crate) struct Dot<'a, W> {
    pub(crate) part: &'a Part<'a, f32, W>,
}

impl<W: Element> Kernel for Dot<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let part = self.part;
        let (rows, columns) = (part.x.len() / part.width, part.weight.len() / part.width);
        let (tall, broad) = S::TILE;
        // Weights outermost: they are read once, and the rows of `x` come from the cache.
        let mut column = 0;
        while column < columns {
            let many = columns - column >= broad;
            let mut row = 0;
            while row < rows {
                let height = if many { tall.min(rows - row) } else { 1 };
                match (S::TILE, height, many) {
                    ((6, 4), 6, true) => tile::<S, W, 6, 4>(simd, part, row, column),
                    ((6, 4), 5, true) => tile::<S, W, 5, 4>(simd, part, row, column),
                    ((6, 4), 4, true) => tile::<S, W, 4, 4>(simd, part, row, column),
                    ((6, 4), 3, true) => tile::<S, W, 3, 4>(simd, part, row, column),
                    ((6, 4), 2, true) => tile::<S, W, 2, 4>(simd, part, row, column),
                    ((6, 4), _, true) => tile::<S, W, 1, 4>(simd, part, row, column),
                    ((3, 3), 3, true) => tile::<S, W, 3, 3>(simd, part, row, column),
                    ((3, 3), 2, true) => tile::<S, W, 2, 3>(simd, part, row, column),
                    ((3, 3), _, true) => tile::<S, W, 1, 3>(simd, part, row, column),
                    ((2, 2), 2, true) => tile::<S, W, 2, 2>(simd, part, row, column),
                    ((2, 2), _, true) => tile::<S, W, 1, 2>(simd, part, row, column),
                    _ => tile::<S, W, 1, 1>(simd, part, row, column),
                }
                row += height;
            }
            column += if many { broad } else { 1 };
        }
    }
}

/// Computes `R` rows times `C` columns.
#[inline(always)]
fn tile<S: Simd, W: Element, const R: usize, const C: usize>(
    simd: S,
    part: &Part<'_, f32, W>,
    row: usize,
    column: usize,
) {
    let width = part.width;
    let whole = width - width % S::LANES;
    let xs: [&[f32]; R] = std::array::from_fn(|r| &part.x[(row + r) * width..][..width]);
    let ws: [&[W]; C] = std::array::from_fn(|c| &part.weight[(column + c) * width..][..width]);
    let mut sums = [[simd.splat(0.0); C]; R];
    let mut at = 0;
    while at < whole {
        let mut w = [simd.splat(0.0); C];
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
    if whole < width {
        for r in 0..R {
            let x = load_rest(simd, &xs[r][whole..]);
            for c in 0..C {
                sums[r][c] = simd.mul_add(x, load_rest(simd, &ws[c][whole..]), sums[r][c]);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        for (c, sum) in sums.iter().enumerate() {
            part.set(row + r, column + c, simd.sum(*sum));
        }
    }
}
