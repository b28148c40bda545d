//! Many rows: blocks of some columns are unpacked side by side, and multiplied with all rows.

use std::marker::PhantomData;

use super::activation::Group;
use super::dots::{Dots, Work};
use super::format::Format;
use super::{BLOCK, GROUP, LANES, Part};

/// Bytes of a group of the format that has most.
const MOST_BYTES: usize = GROUP / 32 * 34;
/// Fours of elements of a block.
const FOURS: usize = BLOCK / 4;

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
#[inline(always)]
fn columns<D: Dots, F: Format, const R: usize, const P: usize>(dots: D, part: &Part<'_>) {
    let row_bytes = F::row_bytes(part.call.width);
    let num_blocks = part.call.width / BLOCK;
    let mut panel = vec![[const { Square::ZERO }; P]; num_blocks];
    let rows = part.activations.rows();
    for (index, weight) in part.weight.chunks(P * LANES * row_bytes).enumerate() {
        for (p, weight) in weight.chunks(LANES * row_bytes).enumerate() {
            unpack::<D, F, P>(dots, weight, &mut panel, p);
        }
        let column = part.first + index * P * LANES;
        let columns = weight.len() / row_bytes;
        let at = Place { part, column, columns };
        let whole = rows - rows % R;
        for row in (0..whole).step_by(R) {
            tile::<D, F, R, P>(dots, &panel, at, row);
        }
        // What is left is at most five rows.
        let row = whole;
        match rows - whole {
            0 => {}
            1 => tile::<D, F, 1, P>(dots, &panel, at, row),
            2 => tile::<D, F, 2, P>(dots, &panel, at, row),
            3 => tile::<D, F, 3, P>(dots, &panel, at, row),
            4 => tile::<D, F, 4, P>(dots, &panel, at, row),
            _ => tile::<D, F, 5, P>(dots, &panel, at, row),
        }
    }
}

/// Where a panel's products go.
#[derive(Clone, Copy)]
struct Place<'a> {
    part: &'a Part<'a>,
    column: usize,
    columns: usize,
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
    let row_bytes = F::row_bytes(num_blocks * BLOCK);
    let mut quants = [[[0_u8; 64]; LANES]; GROUP / 64];
    for first in (0..num_blocks).step_by(LANES) {
        let start = first / LANES * F::BYTES;
        let num_in_group = LANES.min(num_blocks - first);
        let blocks = &mut panel[first..][..num_in_group];
        for (column, row) in weight.chunks_exact(row_bytes).enumerate() {
            let mut padded = [0; MOST_BYTES];
            let row = &row[start..];
            let group = if row.len() >= F::BYTES {
                &row[..F::BYTES]
            } else {
                padded[..row.len()].copy_from_slice(row);
                &padded[..F::BYTES]
            };
            for half in 0..2 {
                let vectors = F::vectors(dots, group, half);
                for i in 0..4 {
                    dots.put_bytes(vectors[i], &mut quants[4 * half + i][column]);
                }
            }
            let scales = F::scales(dots, group);
            let mut lanes = [0.0; LANES];
            dots.put_floats(scales.scale, &mut lanes);
            for (block, lane) in blocks.iter_mut().zip(lanes) {
                block[p].scales[column] = lane;
            }
            if F::SPLIT {
                dots.put_floats(scales.second, &mut lanes);
                for (block, lane) in blocks.iter_mut().zip(lanes) {
                    block[p].second_scales[column] = lane;
                }
            }
            if F::HAS_MIN {
                dots.put_floats(scales.minimum, &mut lanes);
                for (block, lane) in blocks.iter_mut().zip(lanes) {
                    block[p].minima[column] = lane;
                }
            }
        }
        for (blocks, quants) in blocks.chunks_mut(2).zip(&quants) {
            let mut square = [dots.four([0; 4]); LANES];
            for i in 0..LANES {
                square[i] = dots.bytes(&quants[i]);
            }
            dots.transpose(&mut square);
            for (half, block) in blocks.iter_mut().enumerate() {
                for i in 0..FOURS {
                    dots.put_bytes(square[half * FOURS + i], &mut block[p].quants[i]);
                }
            }
        }
    }
}

/// Multiplies `R` rows with a panel.
#[inline(always)]
fn tile<D: Dots, F: Format, const R: usize, const P: usize>(
    dots: D,
    panel: &[[Square; P]],
    at: Place<'_>,
    row: usize,
) {
    let xs: [&[Group]; R] = std::array::from_fn(|r| at.part.activations.row(row + r));
    let mut totals = [[dots.float(0.0); P]; R];
    for lane in 0..LANES.min(panel.len()) {
        let mut sums = [[dots.float(0.0); P]; R];
        for (group, square) in panel[lane..].iter().step_by(LANES).enumerate() {
            let blocks: [Block<'_>; R] = std::array::from_fn(|r| Block::new(&xs[r][group], lane));
            if F::SPLIT {
                add_products::<D, F, R, P>(dots, square, &blocks, Half::First, &mut sums);
                add_products::<D, F, R, P>(dots, square, &blocks, Half::Second, &mut sums);
            } else {
                add_products::<D, F, R, P>(dots, square, &blocks, Half::Both, &mut sums);
            }
            if F::HAS_MIN {
                for p in 0..P {
                    let minimum = dots.floats(&square[p].minima);
                    for r in 0..R {
                        let sum = dots.float(blocks[r].sum);
                        sums[r][p] = dots.sub_mul(minimum, sum, sums[r][p]);
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
    for (r, totals) in totals.iter().enumerate() {
        for (p, total) in totals.iter().enumerate() {
            let mut products = [0.0; LANES];
            dots.put_floats(*total, &mut products);
            let columns = at.columns.saturating_sub(p * LANES).min(LANES);
            for (i, product) in products[..columns].iter().enumerate() {
                // SAFETY: parts of a call have different columns, and `linear` holds the result.
                unsafe { at.part.call.set(row + r, at.column + p * LANES + i, *product) }
            }
        }
    }
}

/// A block of a row.
#[derive(Clone, Copy)]
struct Block<'a> {
    quants: &'a [[u8; 4]; FOURS],
    scale: f32,
    start: i32,
    second_start: i32,
    sum: f32,
}

impl<'a> Block<'a> {
    #[inline(always)]
    fn new(group: &'a Group, index: usize) -> Self {
        let (fours, _) = group.quants[index / 2].as_chunks::<4>();
        let quants = fours[index % 2 * FOURS..].first_chunk().expect("two blocks are 64 bytes");
        Self {
            quants,
            scale: group.scales[index],
            start: group.starts[index],
            second_start: group.second_starts[index],
            sum: group.sums[index],
        }
    }
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
    blocks: &[Block<'_>; R],
    half: Half,
    sums: &mut [[D::F; P]; R],
) {
    let fours = match half {
        Half::Both => 0..FOURS,
        Half::First => 0..FOURS / 2,
        Half::Second => FOURS / 2..FOURS,
    };
    let mut products = [[dots.int(0); P]; R];
    for r in 0..R {
        let start = match half {
            Half::Both | Half::First => blocks[r].start,
            Half::Second => blocks[r].second_start,
        };
        products[r] = [dots.int(start); P];
    }
    for k in fours {
        let mut weights = [dots.four([0; 4]); P];
        for p in 0..P {
            weights[p] = dots.bytes(&square[p].quants[k]);
        }
        for r in 0..R {
            let x = dots.four(blocks[r].quants[k]);
            for p in 0..P {
                products[r][p] = F::dot(dots, products[r][p], weights[p], x);
            }
        }
    }
    for p in 0..P {
        let scales = match half {
            Half::Both | Half::First => &square[p].scales,
            Half::Second => &square[p].second_scales,
        };
        let scales = dots.floats(scales);
        for r in 0..R {
            let scale = dots.mul(scales, dots.float(blocks[r].scale));
            sums[r][p] = dots.mul_add(scale, dots.to_f32(products[r][p]), sums[r][p]);
        }
    }
}
