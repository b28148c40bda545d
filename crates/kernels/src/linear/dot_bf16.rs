//! Tiles of dot products by the processor's bf16 instruction: two products for each lane.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_maskz_loadu_epi16, _mm512_reduce_add_ps,
    _mm512_setzero_ps, _mm512_setzero_si512,
};
use std::mem::transmute;

use half::bf16;

use super::Part;
use super::dot::ahead;
use crate::memory::prefetch;

/// Elements of a vector.
const LANES: usize = 32;
const TALL: usize = 6;
const BROAD: usize = 4;
/// Rows of `x` up to which reading the weights takes longer than multiplying them one by one.
const FEW: usize = 4;
/// Elements that weights are asked for ahead of their use where they are read as they lie.
const AHEAD: usize = 2048;

/// Multiplies one part of a call. The processor must have the instructions of
/// [`Level::Avx512Bf16`](crate::Level).
pub(super) fn run(part: &Part<'_, bf16, bf16>) {
    // SAFETY: the caller chose this function by the level in use, which was detected.
    unsafe { run_part(part) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn run_part(part: &Part<'_, bf16, bf16>) {
    let (rows, columns) = (part.rows(), part.weight.len() / part.width);
    if rows <= FEW {
        // The weights as they lie in memory, which reads one long run faster than several at once.
        for column in 0..columns {
            tiles::<1>(part, column);
        }
        return;
    }
    let whole = columns - columns % BROAD;
    for column in (0..whole).step_by(BROAD) {
        tiles::<BROAD>(part, column);
    }
    for column in whole..columns {
        tiles::<1>(part, column);
    }
}

/// Computes all rows times `C` columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn tiles<const C: usize>(part: &Part<'_, bf16, bf16>, column: usize) {
    let rows = part.rows();
    for row in (0..rows).step_by(TALL) {
        match rows - row {
            1 => tile::<1, C>(part, row, column),
            2 => tile::<2, C>(part, row, column),
            3 => tile::<3, C>(part, row, column),
            4 => tile::<4, C>(part, row, column),
            5 => tile::<5, C>(part, row, column),
            _ => tile::<TALL, C>(part, row, column),
        }
    }
}

/// Computes `R` rows times `C` columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn tile<const R: usize, const C: usize>(part: &Part<'_, bf16, bf16>, row: usize, column: usize) {
    let width = part.width;
    let xs: [&[bf16]; R] = std::array::from_fn(|r| &part.x[(row + r) * part.x_stride..][..width]);
    let ws: [&[bf16]; C] = std::array::from_fn(|c| &part.weight[(column + c) * width..][..width]);
    let mut sums = [[_mm512_setzero_ps(); C]; R];
    let whole = width - width % LANES;
    for at in (0..whole).step_by(LANES) {
        let ahead = if C == 1 { at + AHEAD } else { ahead::<bf16>(at, width, (C - 1) * width) };
        for w in &ws {
            prefetch(w, ahead);
        }
        add_products(&mut sums, &xs, &ws, |row| load(row, at, u32::MAX));
    }
    if whole < width {
        let mask = (1 << (width - whole)) - 1;
        add_products(&mut sums, &xs, &ws, |row| load(row, whole, mask));
    }
    for (r, sums) in sums.iter().enumerate() {
        for (c, sum) in sums.iter().enumerate() {
            part.set(row + r, column + c, _mm512_reduce_add_ps(*sum));
        }
    }
}

/// Adds the products of two vectors of each row.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn add_products<const R: usize, const C: usize>(
    sums: &mut [[__m512; C]; R],
    xs: &[&[bf16]; R],
    ws: &[&[bf16]; C],
    load: impl Fn(&[bf16]) -> __m512i,
) {
    let mut w = [_mm512_setzero_si512(); C];
    for c in 0..C {
        w[c] = load(ws[c]);
    }
    for r in 0..R {
        let x = load(xs[r]);
        for c in 0..C {
            // SAFETY: both types are 512 plain bits.
            let (x, w) = unsafe {
                (transmute::<__m512i, __m512bh>(x), transmute::<__m512i, __m512bh>(w[c]))
            };
            sums[r][c] = _mm512_dpbf16_ps(sums[r][c], x, w);
        }
    }
}

/// Reads the elements from `at` that `mask` has bits for, zeros for the others.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn load(row: &[bf16], at: usize, mask: u32) -> __m512i {
    debug_assert!(at + (32 - mask.leading_zeros() as usize) <= row.len());
    // SAFETY: only elements inside the row are read: the mask has a bit for each of them, and a
    // masked load does not touch the others.
    unsafe { _mm512_maskz_loadu_epi16(mask, row.as_ptr().add(at).cast()) }
}
