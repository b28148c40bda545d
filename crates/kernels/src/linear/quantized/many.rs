//! Many rows: blocks of some columns are unpacked side by side, and multiplied with all rows.

use std::marker::PhantomData;
use std::ops::Range;

use super::activation::{FOURS, Order, STRIP, Strip};
use super::dots::{Dots, Work};
use super::format::Format;
use super::{BLOCK, GROUP, LANES, Part};
use crate::memory::prefetch;

/// Bytes of a group of the format that has most.
const MOST_BYTES: usize = GROUP / 32 * 34;
/// Bytes of a panel that are multiplied with all rows before the next.
const CACHED: usize = 24 << 10;

/// Bytes that weights are asked for ahead of their use.
const AHEAD: usize = 1024;

/// Multiplies one part of a call.
pub(super) struct Many<'a, F> {
    part: &'a Part<'a>,
    format: PhantomData<F>,
}

impl<'a, F> Many<'a, F> {
    pub(super) fn new(part: &'a Part<'a>) -> Self {
        Self { part, format: PhantomData }
    }
}

/// A block of sixteen columns: element `4 k + i` of column `c` is byte `4 c + i` of `quants[k]`.
#[repr(align(64))]
#[derive(Clone)]
struct Square {
    quants: [[u8; 64]; FOURS],
    scales: [f32; LANES],
    second_scales: [f32; LANES],
    minima: [f32; LANES],
}

impl Square {
    const ZERO: Self = Self {
        quants: [[0; 64]; FOURS],
        scales: [0.0; LANES],
        second_scales: [0.0; LANES],
        minima: [0.0; LANES],
    };
}

impl<F: Format> Work for Many<'_, F> {
    #[inline(always)]
    fn run<D: Dots>(self, dots: D) {
        match D::TILE {
            (6, 2) => columns::<D, F, 6, 2>(dots, self.part),
            (2, 1) => columns::<D, F, 2, 1>(dots, self.part),
            _ => columns::<D, F, 1, 1>(dots, self.part),
        }
    }
}

/// Multiplies every row with every column, in tiles of `R` rows and `P` sixteens of columns.
///
/// The blocks that are added up together lie together, in panels as in strips, and a few such runs
/// of a panel, which fit into the first cache, are multiplied with all rows before the next.
#[inline(always)]
fn columns<D: Dots, F: Format, const R: usize, const P: usize>(dots: D, part: &Part<'_>) {
    let row_bytes = F::row_bytes(part.call.width);
    let order = Order::new(part.call.width / BLOCK);
    let (strips, height) = part.activations.strips();
    let rows = part.activations.rows();
    let mut panel = vec![[const { Square::ZERO }; P]; order.num_blocks];
    let mut totals = vec![[[0.0; LANES]; P]; rows];
    let longest = order.run(0).len() * size_of::<[Square; P]>();
    let lanes_at_once = (CACHED / longest.max(1)).clamp(1, LANES);
    for (index, weight) in part.weight.chunks(P * LANES * row_bytes).enumerate() {
        for (p, weight) in weight.chunks(LANES * row_bytes).enumerate() {
            unpack::<D, F, P>(dots, weight, &mut panel, p);
        }
        totals.fill([[0.0; LANES]; P]);
        for first in (0..LANES).step_by(lanes_at_once) {
            let lanes = first..LANES.min(first + lanes_at_once);
            let strips = strips.chunks_exact(order.num_blocks.max(1));
            for (strip, totals) in strips.zip(totals.chunks_mut(height)) {
                let call = Tile { panel: &panel, strip, order, lanes: lanes.clone() };
                for (index, totals) in totals.chunks_mut(R).enumerate() {
                    tile_of::<D, F, P>(dots, &call, index * R, totals);
                }
            }
        }
        let column = part.first + index * P * LANES;
        let columns = weight.len() / row_bytes;
        for (row, totals) in totals.iter().enumerate() {
            let totals = totals.as_flattened();
            for (i, product) in totals[..columns].iter().enumerate() {
                // SAFETY: parts of a call have different columns, and `linear` holds the result.
                unsafe { part.call.set(row, column + i, *product) }
            }
        }
    }
}

/// What a tile is computed from.
struct Tile<'a, const P: usize> {
    panel: &'a [[Square; P]],
    strip: &'a [Strip],
    order: Order,
    /// The sums that are added to.
    lanes: Range<usize>,
}

/// Adds to the sums of the rows from `row` of a strip.
#[inline(always)]
fn tile_of<D: Dots, F: Format, const P: usize>(
    dots: D,
    call: &Tile<'_, P>,
    row: usize,
    totals: &mut [[[f32; LANES]; P]],
) {
    match totals.len() {
        1 => tile::<D, F, 1, P>(dots, call, row, totals),
        2 => tile::<D, F, 2, P>(dots, call, row, totals),
        3 => tile::<D, F, 3, P>(dots, call, row, totals),
        4 => tile::<D, F, 4, P>(dots, call, row, totals),
        5 => tile::<D, F, 5, P>(dots, call, row, totals),
        _ => tile::<D, F, 6, P>(dots, call, row, totals),
    }
}

/// Unpacks at most sixteen columns. What a panel has beyond them stays and is not used.
#[inline(always)]
fn unpack<D: Dots, F: Format, const P: usize>(
    dots: D,
    weight: &[u8],
    panel: &mut [[Square; P]],
    p: usize,
) {
    let num_blocks = panel.len();
    let order = Order::new(num_blocks);
    let row_bytes = F::row_bytes(num_blocks * BLOCK);
    let mut quants = [[[0_u8; 64]; LANES]; GROUP / 64];
    // Scales, those of second halves, and minima: a column to a row.
    let mut scales = [[dots.float(0.0); LANES]; 3];
    for first in (0..num_blocks).step_by(LANES) {
        let start = first / LANES * F::BYTES;
        let num_in_group = LANES.min(num_blocks - first);
        // Rows side by side are too many for the processor to notice where each goes on.
        let next = if start + AHEAD < row_bytes { 0 } else { (P * LANES - 1) * row_bytes };
        for (column, row) in weight.chunks_exact(row_bytes).enumerate() {
            let row = &row[start..];
            for line in (0..F::BYTES).step_by(64) {
                prefetch(row, next + AHEAD + line);
            }
            let padded;
            let group = if row.len() >= F::BYTES {
                &row[..F::BYTES]
            } else {
                padded = padded_group(row);
                &padded[..F::BYTES]
            };
            for half in 0..2 {
                let vectors = F::vectors(dots, group, half);
                for i in 0..4 {
                    dots.put_bytes(vectors[i], &mut quants[4 * half + i][column]);
                }
            }
            let found = F::scales(dots, group);
            scales[0][column] = found.scale;
            if F::SPLIT {
                scales[1][column] = found.second;
            }
            if F::HAS_MIN {
                scales[2][column] = found.minimum;
            }
        }
        dots.transpose_floats(&mut scales[0]);
        if F::SPLIT {
            dots.transpose_floats(&mut scales[1]);
        }
        if F::HAS_MIN {
            dots.transpose_floats(&mut scales[2]);
        }
        for block in 0..num_in_group {
            let square = &mut panel[order.at(first + block)][p];
            dots.put_floats(scales[0][block], &mut square.scales);
            if F::SPLIT {
                dots.put_floats(scales[1][block], &mut square.second_scales);
            }
            if F::HAS_MIN {
                dots.put_floats(scales[2][block], &mut square.minima);
            }
        }
        for (pair, quants) in quants.iter().enumerate().take(num_in_group.div_ceil(2)) {
            let mut square = [dots.four([0; 4]); LANES];
            for i in 0..LANES {
                square[i] = dots.bytes(&quants[i]);
            }
            dots.transpose(&mut square);
            for half in 0..2.min(num_in_group - 2 * pair) {
                let to = &mut panel[order.at(first + 2 * pair + half)][p].quants;
                for i in 0..FOURS {
                    dots.put_bytes(square[half * FOURS + i], &mut to[i]);
                }
            }
        }
    }
}

/// Returns a group of which the row has only the beginning.
#[cold]
fn padded_group(row: &[u8]) -> [u8; MOST_BYTES] {
    let mut padded = [0; MOST_BYTES];
    padded[..row.len()].copy_from_slice(row);
    padded
}

/// Adds to the sums of `R` rows from `row` of a strip.
#[inline(always)]
fn tile<D: Dots, F: Format, const R: usize, const P: usize>(
    dots: D,
    call: &Tile<'_, P>,
    row: usize,
    out: &mut [[[f32; LANES]; P]],
) {
    let mut totals = [[dots.float(0.0); P]; R];
    for r in 0..R {
        for p in 0..P {
            totals[r][p] = dots.floats(&out[r][p]);
        }
    }
    for lane in call.lanes.clone() {
        let run = call.order.run(lane);
        let mut sums = [[dots.float(0.0); P]; R];
        for (square, strip) in call.panel[run.clone()].iter().zip(&call.strip[run]) {
            if F::SPLIT {
                add_products::<D, F, R, P>(dots, square, (strip, row), Half::First, &mut sums);
                add_products::<D, F, R, P>(dots, square, (strip, row), Half::Second, &mut sums);
            } else {
                add_products::<D, F, R, P>(dots, square, (strip, row), Half::Both, &mut sums);
            }
            if F::HAS_MIN {
                let mut minima = [dots.float(0.0); P];
                for p in 0..P {
                    minima[p] = dots.floats(&square[p].minima);
                }
                for (sums, sum) in sums.iter_mut().zip(rows_of::<_, R>(&strip.sums, row)) {
                    let sum = dots.float(*sum);
                    for p in 0..P {
                        sums[p] = dots.sub_mul(minima[p], sum, sums[p]);
                    }
                }
            }
        }
        for r in 0..R {
            for p in 0..P {
                totals[r][p] = dots.add(totals[r][p], sums[r][p]);
            }
        }
    }
    for r in 0..R {
        for p in 0..P {
            dots.put_floats(totals[r][p], &mut out[r][p]);
        }
    }
}

/// Returns what a strip has of some rows.
#[inline(always)]
fn rows_of<T, const R: usize>(of: &[T; STRIP], row: usize) -> &[T; R] {
    of[row..].first_chunk().expect("the rows are in the strip")
}

/// The part of a block that has a scale of its own.
#[derive(Clone, Copy)]
enum Half {
    Both,
    First,
    Second,
}

/// Adds the products of a block, a column to a lane.
#[inline(always)]
fn add_products<D: Dots, F: Format, const R: usize, const P: usize>(
    dots: D,
    square: &[Square; P],
    (strip, row): (&Strip, usize),
    half: Half,
    sums: &mut [[D::F; P]; R],
) {
    let (fours, starts) = match half {
        Half::Both => (0..FOURS, &strip.starts),
        Half::First => (0..FOURS / 2, &strip.starts),
        Half::Second => (FOURS / 2..FOURS, &strip.second_starts),
    };
    let mut products = [[dots.int(0); P]; R];
    for (products, start) in products.iter_mut().zip(rows_of::<_, R>(starts, row)) {
        *products = [dots.int(*start); P];
    }
    for k in fours {
        let mut weights = [dots.four([0; 4]); P];
        for p in 0..P {
            weights[p] = dots.bytes(&square[p].quants[k]);
        }
        for (products, x) in products.iter_mut().zip(rows_of::<_, R>(&strip.quants[k], row)) {
            let x = dots.four(*x);
            for p in 0..P {
                products[p] = F::dot(dots, products[p], weights[p], x);
            }
        }
    }
    let mut scales = [dots.float(0.0); P];
    for p in 0..P {
        scales[p] = dots.floats(match half {
            Half::Both | Half::First => &square[p].scales,
            Half::Second => &square[p].second_scales,
        });
    }
    for r in 0..R {
        let scale = dots.float(strip.scales[row + r]);
        for p in 0..P {
            let scale = dots.mul(scales[p], scale);
            sums[r][p] = dots.mul_add(scale, dots.to_f32(products[r][p]), sums[r][p]);
        }
    }
}
