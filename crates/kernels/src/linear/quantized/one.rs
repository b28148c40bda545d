//! Few rows: the weights are read once, as they lie.

use std::marker::PhantomData;

use super::activation::Group;
use super::dots::{Dots, Work};
use super::format::Format;
use super::{LANES, MOST_BYTES, Part};
use crate::memory::prefetch;

/// Bytes that weights are asked for ahead of their use.
const AHEAD: usize = 2048;

/// Rows that are multiplied at once.
const ROWS: usize = 4;

/// Columns that all rows take before any takes the next, and that stay in the first caches.
const COLUMNS: usize = 8;

/// Multiplies one part of a call with few rows.
pub(super) struct Few<'a, F> {
    part: &'a Part<'a>,
    format: PhantomData<F>,
}

impl<'a, F> Few<'a, F> {
    pub(super) fn new(part: &'a Part<'a>) -> Self {
        Self { part, format: PhantomData }
    }
}

impl<F: Format> Work for Few<'_, F> {
    #[inline(always)]
    fn run<D: Dots>(self, dots: D) {
        let part = self.part;
        let rows = part.activations.rows();
        let some = part.weight.chunks(COLUMNS * F::row_bytes(part.call.width).max(1));
        for (index, weight) in some.enumerate() {
            let column = part.first + index * COLUMNS;
            for row in (0..rows).step_by(ROWS) {
                let of = (part, weight, [row, column]);
                match rows - row {
                    1 => columns::<D, F, 1>(dots, of),
                    2 => columns::<D, F, 2>(dots, of),
                    3 => columns::<D, F, 3>(dots, of),
                    _ => columns::<D, F, ROWS>(dots, of),
                }
            }
        }
    }
}

/// Multiplies `R` rows from a row on with the columns of `weight`, which begin with a column.
#[inline(always)]
fn columns<D: Dots, F: Format, const R: usize>(
    dots: D,
    (part, weight, [first_row, first_column]): (&Part<'_>, &[u8], [usize; 2]),
) {
    let xs: [&[Group]; R] = std::array::from_fn(|r| part.activations.row(first_row + r));
    let row_bytes = F::row_bytes(part.call.width);
    for (column, weight) in weight.chunks_exact(row_bytes).enumerate() {
        let mut sums = [dots.float(0.0); R];
        let groups = weight.chunks_exact(F::BYTES);
        let rest = groups.remainder();
        for (at, group) in groups.enumerate() {
            for line in (0..F::BYTES).step_by(64) {
                prefetch(group, AHEAD + line);
            }
            add_group::<D, F, R>(dots, group, &xs, at, &mut sums);
        }
        if !rest.is_empty() {
            let mut group = [0; MOST_BYTES];
            group[..rest.len()].copy_from_slice(rest);
            let at = weight.len() / F::BYTES;
            add_group::<D, F, R>(dots, &group[..F::BYTES], &xs, at, &mut sums);
        }
        for (row, sums) in sums.into_iter().enumerate() {
            let mut lanes = [0.0; LANES];
            dots.put_floats(sums, &mut lanes);
            let product = lanes.iter().fold(0.0, |product, lane| product + lane);
            // SAFETY: parts of a call have different columns, and `linear` holds the result.
            unsafe { part.call.set(first_row + row, first_column + column, product) }
        }
    }
}

/// Adds the products of a group, a block to a lane.
#[inline(always)]
fn add_group<D: Dots, F: Format, const R: usize>(
    dots: D,
    group: &[u8],
    xs: &[&[Group]; R],
    at: usize,
    sums: &mut [D::F; R],
) {
    let mut quarters = [[dots.int(0); R]; 2];
    for (half, quarters) in quarters.iter_mut().enumerate() {
        let weights = F::vectors(dots, group, half);
        for r in 0..R {
            let x = &xs[r][at];
            let mut products = [dots.int(0); 4];
            for i in 0..4 {
                let x = dots.bytes(&x.quants[4 * half + i]);
                products[i] = F::dot(dots, products[i], weights[i], x);
            }
            quarters[r] = dots.quarters(products);
        }
    }
    let scales = F::scales(dots, group);
    for r in 0..R {
        let x = &xs[r][at];
        let (first, second) = dots.halves(quarters[0][r], quarters[1][r]);
        let x_scale = dots.floats(&x.scales);
        let start = dots.ints(&x.starts);
        let scale = dots.mul(scales.scale, x_scale);
        if F::SPLIT {
            let product = dots.to_f32(dots.add_ints(first, start));
            sums[r] = dots.mul_add(scale, product, sums[r]);
            let scale = dots.mul(scales.second, x_scale);
            let product = dots.to_f32(dots.add_ints(second, dots.ints(&x.second_starts)));
            sums[r] = dots.mul_add(scale, product, sums[r]);
        } else {
            let product = dots.to_f32(dots.add_ints(dots.add_ints(first, second), start));
            sums[r] = dots.mul_add(scale, product, sums[r]);
        }
        if F::HAS_MIN {
            sums[r] = dots.sub_mul(scales.minimum, dots.floats(&x.sums), sums[r]);
        }
    }
}
