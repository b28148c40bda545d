//! Some rows: a row and a block to each lane, so that the weights are read as they lie and nothing
//! has to be added up across lanes.

use std::marker::PhantomData;

use super::activation::{EIGHT, Eight, FOURS, PAIRS};
use super::dots::{Dots, Work};
use super::format::Format;
use super::{LANES, MOST_BYTES, Part};
use crate::memory::Ahead;

/// Columns that all rows take before any takes the next; what is unpacked of them and a group of
/// the rows stay in the first cache.
const COLUMNS: usize = 8;

/// Multiplies one part of a call with some rows.
pub(super) struct Eights<'a, F> {
    part: &'a Part<'a>,
    format: PhantomData<F>,
}

impl<'a, F> Eights<'a, F> {
    pub(super) fn new(part: &'a Part<'a>) -> Self {
        Self { part, format: PhantomData }
    }
}

/// Numbers of two blocks of eight rows, or of sixteen blocks.
#[repr(align(64))]
#[derive(Clone, Copy)]
struct Numbers([f32; LANES]);

/// A group of a column, unpacked.
#[repr(align(64))]
#[derive(Clone, Copy)]
struct Column {
    /// Fours of integers of the two blocks of a pair, in turn.
    quants: [[u8; 64]; PAIRS],
    /// The scales of blocks, or of their first halves; those of second halves; the minima.
    scales: [Numbers; 3],
}

impl Column {
    const ZERO: Self = Self { quants: [[0; 64]; PAIRS], scales: [Numbers([0.0; LANES]); 3] };

    /// Unpacks the group that the bytes begin with; what there is of it, if it is the last.
    #[inline(always)]
    fn unpack_from<D: Dots, F: Format>(&mut self, dots: D, bytes: &[u8]) {
        if bytes.len() >= F::BYTES {
            self.unpack::<D, F>(dots, &bytes[..F::BYTES]);
        } else {
            let mut group = [0; MOST_BYTES];
            group[..bytes.len()].copy_from_slice(bytes);
            self.unpack::<D, F>(dots, &group[..F::BYTES]);
        }
    }

    /// Unpacks a group.
    #[inline(always)]
    fn unpack<D: Dots, F: Format>(&mut self, dots: D, group: &[u8]) {
        for (half, to) in self.quants.chunks_exact_mut(4).enumerate() {
            let vectors = F::vectors(dots, group, half);
            for i in 0..4 {
                dots.put_bytes(dots.interleave(vectors[i]), &mut to[i]);
            }
        }
        let scales = F::scales(dots, group);
        dots.put_floats(scales.scale, &mut self.scales[0].0);
        if F::SPLIT {
            dots.put_floats(scales.second, &mut self.scales[1].0);
        }
        if F::HAS_MIN {
            dots.put_floats(scales.minimum, &mut self.scales[2].0);
        }
    }

    /// Returns the scales or minima of the two blocks of a pair, in turn.
    #[inline(always)]
    fn two<D: Dots>(&self, dots: D, which: usize, pair: usize) -> D::F {
        dots.two(self.scales[which].0.as_chunks().0[pair])
    }
}

/// The sums of a column and eight rows, those of two blocks of a group side by side.
type Sums = [Numbers; PAIRS];
const SUMS: Sums = [Numbers([0.0; LANES]); PAIRS];

impl<F: Format> Work for Eights<'_, F> {
    #[inline(always)]
    fn run<D: Dots>(self, dots: D) {
        let part = self.part;
        let row_bytes = F::row_bytes(part.call.width);
        let (eights, per_row) = part.activations.eights();
        let num_groups = per_row / PAIRS;
        let mut unpacked = [Column::ZERO; COLUMNS];
        let mut sums = vec![[SUMS; COLUMNS]; eights.len() / per_row];
        for (index, weight) in part.weight.chunks(COLUMNS * row_bytes).enumerate() {
            let after = &part.weight[index * COLUMNS * row_bytes + weight.len()..];
            let steps = num_groups * (COLUMNS + PAIRS * sums.len().div_ceil(2));
            let mut ahead = Ahead::new(&after[..after.len().min(weight.len())], steps);
            sums.fill([SUMS; COLUMNS]);
            for group in 0..num_groups {
                for (column, weight) in unpacked.iter_mut().zip(weight.chunks_exact(row_bytes)) {
                    ahead.ask_for_some();
                    column.unpack_from::<D, F>(dots, &weight[group * F::BYTES..]);
                }
                let all = Rows { eights: &eights[group * PAIRS..], per_row };
                all.add::<D, F>(dots, &unpacked, &mut sums, &mut ahead);
            }
            for (eight, sums) in sums.iter().enumerate() {
                let first = (eight * EIGHT, part.first + index * COLUMNS);
                write(part, first, &sums[..weight.len() / row_bytes]);
            }
        }
    }
}

/// Adds up the sums of columns and writes the products, from a row and a column on.
#[inline(always)]
fn write(part: &Part<'_>, (first_row, first_column): (usize, usize), sums: &[Sums]) {
    let rows = (part.activations.rows() - first_row).min(EIGHT);
    for (i, sums) in sums.iter().enumerate() {
        let mut products = [0.0; EIGHT];
        for sums in sums {
            for block in 0..2 {
                for (row, product) in products.iter_mut().enumerate() {
                    *product += sums.0[2 * row + block];
                }
            }
        }
        for (row, product) in products[..rows].iter().enumerate() {
            // SAFETY: parts of a call have different columns, and `linear` holds the result.
            unsafe { part.call.set(first_row + row, first_column + i, *product) }
        }
    }
}

/// A group of all rows.
struct Rows<'a> {
    /// From the group's first pair on.
    eights: &'a [Eight],
    /// Pairs to a row.
    per_row: usize,
}

impl Rows<'_> {
    /// Returns the group of eight rows.
    #[inline(always)]
    fn eight(&self, index: usize) -> &[Eight; PAIRS] {
        self.eights[index * self.per_row..].first_chunk().expect("rows are whole groups")
    }

    /// Adds the products with some columns to the sums of each eight rows.
    #[inline(always)]
    fn add<D: Dots, F: Format>(
        &self,
        dots: D,
        columns: &[Column; COLUMNS],
        sums: &mut [[Sums; COLUMNS]],
        ahead: &mut Ahead<'_>,
    ) {
        let (twos, rest) = sums.as_chunks_mut::<2>();
        for (i, sums) in twos.iter_mut().enumerate() {
            let rows = [self.eight(2 * i), self.eight(2 * i + 1)];
            match D::TILE {
                (6, 2) => add_tiles::<D, F, 4, 2>(dots, rows, columns, sums, ahead),
                _ => add_tiles::<D, F, 1, 2>(dots, rows, columns, sums, ahead),
            }
        }
        for sums in rest {
            let (rows, sums) = ([self.eight(2 * twos.len())], std::array::from_mut(sums));
            match D::TILE {
                (6, 2) => add_tiles::<D, F, 8, 1>(dots, rows, columns, sums, ahead),
                _ => add_tiles::<D, F, 2, 1>(dots, rows, columns, sums, ahead),
            }
        }
    }
}

/// Adds the products of a group of `E` times eight rows, `C` columns at a time.
#[inline(always)]
fn add_tiles<D: Dots, F: Format, const C: usize, const E: usize>(
    dots: D,
    rows: [&[Eight; PAIRS]; E],
    columns: &[Column; COLUMNS],
    sums: &mut [[Sums; COLUMNS]; E],
    ahead: &mut Ahead<'_>,
) {
    for pair in 0..PAIRS {
        ahead.ask_for_some();
        for (i, columns) in columns.as_chunks::<C>().0.iter().enumerate() {
            add::<D, F, C, E>(dots, (&rows, columns), (pair, i * C), sums);
        }
    }
}

/// Adds the products of a pair of blocks to the sums from `first` on.
#[inline(always)]
fn add<D: Dots, F: Format, const C: usize, const E: usize>(
    dots: D,
    (rows, columns): (&[&[Eight; PAIRS]; E], &[Column; C]),
    (pair, first): (usize, usize),
    sums: &mut [[Sums; COLUMNS]; E],
) {
    let mut totals = [[dots.float(0.0); C]; E];
    for e in 0..E {
        for c in 0..C {
            totals[e][c] = dots.floats(&sums[e][first + c][pair].0);
        }
    }
    let halves = if F::SPLIT { 2 } else { 1 };
    for half in 0..halves {
        let mut products = [[dots.int(0); C]; E];
        for e in 0..E {
            let eight = &rows[e][pair].0;
            products[e] = [dots.ints([&eight.starts, &eight.second_starts][half]); C];
        }
        for k in FOURS / halves * half..FOURS / halves * (half + 1) {
            let mut x = [dots.four([0; 4]); E];
            for e in 0..E {
                let x_fours = rows[e][pair].0.quants[k].as_flattened();
                x[e] = dots.bytes(x_fours.first_chunk().expect("a four to each lane"));
            }
            for c in 0..C {
                let weights = columns[c].quants[pair].as_chunks::<8>().0;
                let weights = dots.eight(weights[k]);
                for e in 0..E {
                    products[e][c] = F::dot(dots, products[e][c], weights, x[e]);
                }
            }
        }
        for c in 0..C {
            let of_column = columns[c].two(dots, half, pair);
            for e in 0..E {
                let scale = dots.mul(of_column, dots.floats(&rows[e][pair].0.scales));
                totals[e][c] = dots.mul_add(scale, dots.to_f32(products[e][c]), totals[e][c]);
            }
        }
    }
    for e in 0..E {
        for c in 0..C {
            if F::HAS_MIN {
                let minimum = columns[c].two(dots, 2, pair);
                let x_sum = dots.floats(&rows[e][pair].0.sums);
                totals[e][c] = dots.sub_mul(minimum, x_sum, totals[e][c]);
            }
            dots.put_floats(totals[e][c], &mut sums[e][first + c][pair].0);
        }
    }
}
