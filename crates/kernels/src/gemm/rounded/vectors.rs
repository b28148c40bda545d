//! Products of blocks by dot products in vectors of AVX-512: pairs of bf16, and fours of bytes.
//!
//! A vector has a pair or a four of each of sixteen columns, and is multiplied with one of a row in all lanes.

#[allow(
    clippy::wildcard_imports,
    reason = "the names of the intrinsics say where they are from"
)]
use std::arch::x86_64::*;
use std::hint::black_box;
use std::mem::transmute;

use super::Sums;
use super::bytes::Scales;
use super::unit::{BLOCK, Block, Bytes, Rows, SIDE, STEP, TILE};
use crate::memory::LINE;

/// Rows that are multiplied together with 32 columns.
const TALL: usize = 8;
/// Pairs or fours of a line of the cache.
const LANES: usize = SIDE;

/// Adds the products of 32 rows and 32 columns, whose pairs follow each other step by step, to sums, or to
/// zeros.
///
/// # Safety
/// The processor must have the instructions of [`Level::Avx512Bf16`](crate::Level).
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn multiply(rows: &Rows<'_>, columns: &[f32], to: Block<'_>) {
    let Block { numbers, stride, is_new, are_few } = to;
    assert_eq!(columns.len(), rows.steps() * STEP * BLOCK / 2, "columns of {} steps", rows.steps());
    if rows.steps() == 0 {
        return;
    }
    let sums = &mut numbers[..(BLOCK - 1) * stride + BLOCK];
    let (columns, _) = columns.as_chunks::<BLOCK>();
    // SAFETY: there are as many pairs of every row as of the columns, and the caller vouches for the
    // instructions.
    unsafe {
        if are_few {
            for (at, sums) in sums.chunks_mut(2 * TALL * stride).enumerate() {
                add_pairs::<{ 2 * TALL }, 1>((rows, at), columns, (sums, stride), is_new);
            }
        } else {
            for (at, sums) in sums.chunks_mut(TALL * stride).enumerate() {
                add_pairs::<TALL, 2>((rows, at), columns, (sums, stride), is_new);
            }
        }
    }
}

/// Likewise of the `at`th `R` rows, and of `C` times sixteen columns.
///
/// # Safety
/// Every row must have as many pairs as the columns, and the processor the instructions.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn add_pairs<const R: usize, const C: usize>(
    (rows, at): (&Rows<'_>, usize),
    columns: &[[f32; BLOCK]],
    (sums, stride): (&mut [f32], usize),
    is_new: bool,
) {
    let mut totals = [[_mm512_setzero_ps(); C]; R];
    if !is_new {
        for (totals, sums) in totals.iter_mut().zip(sums.chunks(stride)) {
            for (total, sums) in totals.iter_mut().zip(sums.as_chunks::<LANES>().0) {
                // SAFETY: there are sixteen.
                *total = unsafe { _mm512_loadu_ps(sums.as_ptr()) };
            }
        }
    }
    let mut lines = Addresses::<R>::new(rows.first.wrapping_add(at * R * rows.stride), rows.stride);
    for columns in columns {
        let mut pairs = [as_pairs(_mm512_setzero_ps()); C];
        for (c, pairs) in pairs.iter_mut().enumerate() {
            // SAFETY: a panel's columns are two vectors.
            *pairs = as_pairs(unsafe { _mm512_loadu_ps(columns.as_ptr().add(c * LANES)) });
        }
        for (r, totals) in totals.iter_mut().enumerate() {
            // SAFETY: the caller vouches that the row has the pair.
            let row = unsafe { lines.of(r).cast::<f32>().read_unaligned() };
            let row = as_pairs(_mm512_set1_ps(row));
            for c in 0..C {
                totals[c] = _mm512_dpbf16_ps(totals[c], row, pairs[c]);
            }
        }
        lines.advance();
    }
    for (totals, sums) in totals.iter().zip(sums.chunks_mut(stride)) {
        for (total, sums) in totals.iter().zip(sums.as_chunks_mut::<LANES>().0) {
            // SAFETY: there is room for sixteen.
            unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), *total) }
        }
    }
}

/// Adds the products of 32 rows of bytes without signs and 32 columns of bytes, or of sixteen columns, times
/// their scales to sums, as [`Unit::add_bytes`](super::Unit) does.
///
/// # Safety
/// The processor must have the instructions of [`Level::Avx512Vnni`](crate::Level).
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn add_bytes(
    (rows, columns): (&[f32], &Bytes<'_>),
    scales: &Scales<'_>,
    sums: &mut Sums,
    are_few: bool,
) {
    let steps = rows.len() / (2 * TILE);
    assert_eq!(rows.len(), steps * 2 * TILE, "rows of whole steps");
    assert_eq!(columns.tiles.len(), rows.len(), "columns of {steps} steps");
    let rows = rows.as_chunks::<TILE>().0;
    for (half, sums) in sums.as_chunks_mut::<SIDE>().0.iter_mut().enumerate() {
        // SAFETY: the caller vouches for the instructions.
        unsafe {
            if are_few {
                add_fours::<{ 2 * TALL }, 1>((rows, half, 0), columns, scales, sums);
            } else {
                add_fours::<TALL, 2>((rows, half, 0), columns, scales, sums);
                add_fours::<TALL, 2>((rows, half, TALL), columns, scales, sums);
            }
        }
    }
}

/// Likewise of `R` rows from `first` on of half of the rows, and of `C` times sixteen columns.
///
/// # Safety
/// The processor must have the instructions.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn add_fours<const R: usize, const C: usize>(
    (rows, half, first): (&[[f32; TILE]], usize, usize),
    columns: &Bytes<'_>,
    scales: &Scales<'_>,
    sums: &mut [[f32; BLOCK]; SIDE],
) {
    let starts = columns.starts.as_chunks::<LANES>().0.first_chunk::<C>();
    let starts = starts.expect("a number for each column");
    // SAFETY: there are sixteen.
    let starts = starts.map(|starts| unsafe { _mm512_loadu_si512(starts.as_ptr().cast()) });
    let mut totals = [starts; R];
    let columns = columns.tiles.as_chunks::<TILE>().0;
    for (rows, columns) in rows.chunks_exact(2).zip(columns.chunks_exact(2)) {
        let rows: &[[f32; LANES]] = &rows[half].as_chunks().0[first..first + R];
        for (k, first_fours) in columns[0].as_chunks::<LANES>().0.iter().enumerate() {
            let mut fours = [first_fours; C];
            if let Some(second) = fours.get_mut(1) {
                *second = &columns[1].as_chunks().0[k];
            }
            // SAFETY: of sixteen columns each has one.
            let fours = fours.map(|fours| unsafe { _mm512_loadu_si512(fours.as_ptr().cast()) });
            for (r, totals) in totals.iter_mut().enumerate() {
                let row = _mm512_set1_epi32(rows[r][k].to_bits().cast_signed());
                for c in 0..C {
                    totals[c] = _mm512_dpbusd_epi32(totals[c], row, fours[c]);
                }
            }
        }
    }
    let of_lines = &scales.of_lines[half * SIDE + first..][..R];
    let of_rows = scales.of_rows.as_chunks::<LANES>().0.first_chunk::<C>();
    let of_rows = of_rows.expect("a scale for each column");
    for (r, totals) in totals.iter().enumerate() {
        let sums = sums[first + r].as_chunks_mut::<LANES>().0;
        let of_line = _mm512_set1_ps(of_lines[r]);
        for (c, sums) in sums.iter_mut().take(C).enumerate() {
            // SAFETY: there are sixteen of each.
            unsafe {
                let scale = _mm512_mul_ps(_mm512_loadu_ps(of_rows[c].as_ptr()), of_line);
                let total = _mm512_cvtepi32_ps(totals[c]);
                let sum = _mm512_fmadd_ps(total, scale, _mm512_loadu_ps(sums.as_ptr()));
                _mm512_storeu_ps(sums.as_mut_ptr(), sum);
            }
        }
    }
}

/// Where so many rows are, in few registers: an address may be a register and another times one, two, four or
/// eight, which the compiler must not see through.
struct Addresses<const R: usize> {
    /// Of every eighth row.
    starts: [*const u8; 2],
    offsets: [usize; 8],
}

impl<const R: usize> Addresses<R> {
    #[inline(always)]
    fn new(first: *const u8, stride: usize) -> Self {
        let [one, three, five, seven] = black_box([stride, 3 * stride, 5 * stride, 7 * stride]);
        let offsets = [0, one, 2 * one, three, 4 * one, five, 2 * three, seven];
        Self { starts: [first, first.wrapping_add(8 * stride)], offsets }
    }

    /// Returns where a row's next pair is.
    #[inline(always)]
    fn of(&self, row: usize) -> *const u8 {
        self.starts[row / 8].wrapping_add(self.offsets[row % 8])
    }

    /// Goes on to the next pair of all rows.
    #[inline(always)]
    fn advance(&mut self) {
        self.starts = self.starts.map(|start| start.wrapping_add(LINE / LANES));
    }
}

/// Returns the bits as pairs of bf16.
#[inline]
#[target_feature(enable = "avx512f")]
fn as_pairs(bits: __m512) -> __m512bh {
    // SAFETY: both types are 512 plain bits.
    unsafe { transmute(bits) }
}
