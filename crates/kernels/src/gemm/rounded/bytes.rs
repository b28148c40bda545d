//! Products of integers of eight bits.
//!
//! Both matrices are integers times a scale for each group of their lines' elements. The products of a
//! group are summed exactly, and its sums, times both scales, are added up in f32 group by group.

#[allow(
    clippy::wildcard_imports,
    reason = "the names of the intrinsics say where they are from"
)]
use std::arch::x86_64::*;
use std::ops::Range;

use super::unit::{BLOCK, BYTES, Bytes, SIDE, TILE, Unit};
use super::unpack::{GROUP, MOST, Unpacked, factor, largest_of, parts, unpack_lines};
use super::{Sums, bits};
use crate::aligned::Aligned;
use crate::blocks::Blocks;
use crate::gemm::SERIAL;
use crate::memory::{LINE, prefetch_second};
use crate::parallel::{chunks_mut, for_each};
use crate::simd::x86::transpose_sixteen;

/// Panels whose sums stay in the first cache.
const AT_ONCE: usize = 6;
/// Lines of the cache that are asked for with a group's products.
const ASKED: usize = 12;
/// Numbers of the tiles of a step: of 32 lines.
const STEP: usize = 2 * TILE;
/// Numbers that a panel has for a group besides.
const OF_GROUP: usize = 2 * BLOCK;

/// Panels of 32 rows, rounded to bytes, the last one with zeros for those that it lacks.
pub(super) struct BytePanels {
    /// Tiles, whose fours of elements lie side by side: two of sixteen rows each for every step.
    numbers: Aligned,
    /// Scales, and what vectors begin with: integers of 32 bits. `// [panels, groups, 2, 32]`
    scales: Aligned,
    /// Numbers of a panel.
    len: usize,
    groups: usize,
}

impl BytePanels {
    /// Packs rows of a width, on all threads. What is no finite number makes its group's scale none.
    ///
    /// # Safety
    /// The level must have [blocks of bytes](crate::Level::has_blocks_of_bytes).
    pub(super) unsafe fn of(x: &[f32], width: usize) -> Self {
        let panels = (x.len() / width).div_ceil(BLOCK);
        let (len, groups) = (numbers(width), width.div_ceil(GROUP));
        let mut numbers = Aligned::unwritten(panels * len);
        let mut scales = Aligned::unwritten(panels * groups * OF_GROUP);
        let pieces = (chunks_mut(&mut numbers, len), chunks_mut(&mut scales, groups * OF_GROUP));
        for_each(pieces, SERIAL / (BLOCK * width) + 1, |index, (panel, scales)| {
            let rows = &x[index * BLOCK * width..];
            let rows = &rows[..rows.len().min(BLOCK * width)];
            // SAFETY: the caller vouches for the instructions.
            unsafe { round_rows(rows, width, panel, scales) }
        });
        Self { numbers, scales, len, groups }
    }

    /// Returns the columns of a group of a panel, of as many numbers as wanted, and their scales.
    fn group(&self, panel: usize, group: usize, len: usize) -> (Bytes<'_>, &[f32]) {
        let tiles = &self.numbers[panel * self.len + numbers(group * GROUP)..][..len];
        let numbers = &self.scales[(panel * self.groups + group) * OF_GROUP..][..OF_GROUP];
        let (scales, starts) = numbers.split_at(BLOCK);
        (Bytes { tiles, starts }, scales)
    }
}

/// Returns the numbers of the tiles of 32 lines over a depth.
fn numbers(depth: usize) -> usize {
    depth.div_ceil(BYTES) * STEP
}

/// Writes the tiles and scales of at most 32 rows of a width.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn round_rows(rows: &[f32], width: usize, panel: &mut [f32], scales: &mut [f32]) {
    for half in 0..2 {
        let rows = &rows[rows.len().min(half * SIDE * width)..];
        let groups = panel.chunks_mut(GROUP / BYTES * STEP).zip(scales.chunks_exact_mut(OF_GROUP));
        for (group, (tiles, scales)) in groups.enumerate() {
            let start = group * GROUP;
            let of = |row: &[f32]| start..row.len().min(start + GROUP);
            let (scales, starts) = scales.split_at_mut(BLOCK);
            let scales = &mut scales[half * SIDE..][..SIDE];
            scales.fill(0.0);
            let mut sums = _mm512_setzero_si512();
            let mut factors = [0.0; SIDE];
            for (i, row) in rows.chunks_exact(width).take(SIDE).enumerate() {
                let largest = largest(&row[of(row)]);
                factors[i] = factor(MOST, largest);
                scales[i] = if largest < f32::INFINITY { largest / MOST } else { f32::NAN };
            }
            for (step, tiles) in tiles.chunks_exact_mut(STEP).enumerate() {
                let start = start + step * BYTES;
                let mut square = [_mm512_setzero_si512(); SIDE];
                for (i, row) in rows.chunks_exact(width).take(SIDE).enumerate() {
                    square[i] = rounded(&row[start..width.min(start + BYTES)], factors[i]);
                }
                transpose_sixteen(&mut square);
                for (fours, to) in square.into_iter().zip(tiles[half * TILE..].as_chunks_mut().0) {
                    let to: &mut [f32; SIDE] = to;
                    // SAFETY: there is room for sixteen.
                    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), fours) }
                    sums = _mm512_dpbusd_epi32(sums, _mm512_set1_epi8(i8::MIN), fours);
                }
            }
            let sums = _mm512_sub_epi32(_mm512_setzero_si512(), sums);
            let starts = &mut starts[half * SIDE..][..SIDE];
            // SAFETY: there is room for sixteen.
            unsafe { _mm512_storeu_si512(starts.as_mut_ptr().cast(), sums) }
        }
    }
}

/// Returns the largest magnitude; what is no number is larger than any.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn largest(row: &[f32]) -> f32 {
    let mut largest = _mm512_setzero_si512();
    for some in row.chunks(SIDE) {
        let magnitudes = _mm512_castps_si512(_mm512_abs_ps(load(some)));
        largest = _mm512_max_epu32(largest, magnitudes);
    }
    largest_of(_mm512_castsi512_ps(largest))
}

/// Returns at most 64 elements times a factor, rounded to bytes, and zeros after them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn rounded(row: &[f32], factor: f32) -> __m512i {
    let mut quarters = [_mm512_setzero_si512(); 4];
    for (some, quarter) in row.chunks(SIDE).zip(&mut quarters) {
        *quarter = _mm512_cvtps_epi32(_mm512_mul_ps(load(some), _mm512_set1_ps(factor)));
    }
    let [a, b, c, d] = quarters;
    // Fours of each quarter take turns.
    let bytes = _mm512_packs_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
    let order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    _mm512_permutexvar_epi32(order, bytes)
}

/// Returns at most sixteen numbers, and zeros after them.
#[inline]
#[target_feature(enable = "avx512f")]
fn load(some: &[f32]) -> __m512 {
    // SAFETY: the mask has a bit for each that is there, and others are not touched.
    unsafe { _mm512_maskz_loadu_ps(bits(some.len()), some.as_ptr()) }
}

/// Room for at most 32 lines of bytes over a part of the depth, and for products.
pub(super) struct ByteLines<'a> {
    /// Tiles, whose elements follow each other: two of sixteen lines for every step.
    tiles: &'a mut [f32],
    /// `// [groups, 32]`
    scales: &'a mut [f32],
    products: &'a mut [[f32; TILE]; 4],
    unit: &'a Unit,
}

impl<'a> ByteLines<'a> {
    /// Returns the numbers that they take up.
    pub(super) fn room(depth: usize) -> usize {
        numbers(depth) + depth.div_ceil(GROUP) * BLOCK + 4 * TILE
    }

    /// Puts them into so many.
    pub(super) fn new(room: &'a mut [f32], depth: usize, unit: &'a Unit) -> Self {
        let (tiles, rest) = room.split_at_mut(numbers(depth));
        let (scales, rest) = rest.split_at_mut(depth.div_ceil(GROUP) * BLOCK);
        let products = &mut rest.as_chunks_mut().0.as_chunks_mut().0[0];
        Self { tiles, scales, products, unit }
    }

    /// Unpacks some lines of blocks, which are so wide, and adds their products with some packed rows to sums.
    /// Meanwhile memory is asked for the lines that come next.
    ///
    /// # Safety
    /// The level must have [blocks of bytes](crate::Level::has_blocks_of_bytes).
    pub(super) unsafe fn multiply(
        self,
        (blocks, width): (&Blocks<'_>, usize),
        (lines, depth): (Range<usize>, Range<usize>),
        (panels, packed): (&BytePanels, Range<usize>),
        sums: &mut [Sums],
    ) {
        let Self { tiles, scales, products, unit } = self;
        let start = depth.start;
        let next = parts(blocks, width, lines.end..lines.end + BLOCK, depth.clone());
        let mut next = next.flat_map(|line| line.chunks(LINE));
        let of_line = blocks.format.num_bytes(depth.len()).div_ceil(LINE);
        let steps = sums.len() * depth.len().div_ceil(GROUP);
        let while_multiplying = (BLOCK * of_line).div_ceil(steps.max(1)).min(ASKED);
        let while_unpacking = of_line - (steps * while_multiplying / BLOCK).min(of_line);
        let mut ask =
            |count: usize| next.by_ref().take(count).for_each(|at| prefetch_second(at, 0));
        // SAFETY: the caller vouches for the instructions.
        unsafe {
            let to = Unpacked { tiles, scales, flipped_bits: unit.flipped_bits() };
            unpack_lines((blocks, width), lines, depth, to, || ask(while_unpacking));
        }
        for (some, sums) in sums.chunks_mut(AT_ONCE).enumerate() {
            let first = packed.start + some * AT_ONCE * BLOCK;
            let groups = tiles.chunks(GROUP / BYTES * STEP).zip(scales.chunks_exact(BLOCK));
            for (group, (tiles, of_lines)) in groups.enumerate() {
                for (i, sums) in sums.iter_mut().enumerate() {
                    let row = first + i * BLOCK;
                    let group = start / GROUP + group;
                    let (columns, of_rows) = panels.group(row / BLOCK, group, tiles.len());
                    let are_few = packed.end - row <= SIDE;
                    // Memory is read all the while.
                    ask(while_multiplying);
                    let scales = Scales { of_lines, of_rows };
                    // SAFETY: the caller vouches for the instructions.
                    unsafe {
                        unit.add_bytes((tiles, &columns), scales, products, (sums, are_few));
                    }
                }
            }
        }
    }
}

/// The scales of a group of 32 lines and of 32 rows.
pub(super) struct Scales<'a> {
    pub(super) of_lines: &'a [f32],
    pub(super) of_rows: &'a [f32],
}

/// Adds the integers of four tiles, or of the first sixteen columns, to sums, times the scales of their rows
/// and columns.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn add_scaled(
    products: &[[f32; TILE]; 4],
    Scales { of_lines, of_rows }: Scales<'_>,
    sums: &mut Sums,
    are_few: bool,
) {
    let (of_lines, of_rows) = (of_lines.as_chunks::<SIDE>().0, of_rows.as_chunks::<SIDE>().0);
    let sums = sums.as_chunks_mut::<SIDE>().0.iter_mut();
    for ((products, of_lines), sums) in products.chunks_exact(2).zip(of_lines).zip(sums) {
        add_scaled_tile::<0>(&products[0], (of_lines, &of_rows[0]), sums);
        if !are_few {
            add_scaled_tile::<SIDE>(&products[1], (of_lines, &of_rows[1]), sums);
        }
    }
}

/// Likewise of one tile, to the sums of sixteen lines from a column on.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_scaled_tile<const COLUMN: usize>(
    products: &[f32; TILE],
    (of_lines, of_rows): (&[f32; SIDE], &[f32; SIDE]),
    sums: &mut [[f32; BLOCK]; SIDE],
) {
    let of_rows = load(of_rows);
    for ((products, scale), sums) in products.as_chunks::<SIDE>().0.iter().zip(of_lines).zip(sums) {
        let sums = &mut sums[COLUMN..COLUMN + SIDE];
        // SAFETY: there are sixteen of each.
        unsafe {
            let integers = _mm512_loadu_si512(products.as_ptr().cast());
            let scale = _mm512_mul_ps(of_rows, _mm512_set1_ps(*scale));
            let sum = _mm512_loadu_ps(sums.as_ptr());
            let sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(integers), scale, sum);
            _mm512_storeu_ps(sums.as_mut_ptr(), sum);
        }
    }
}
