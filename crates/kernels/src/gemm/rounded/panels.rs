//! What is multiplied, where it has to be made first: panels of 32 lines whose pairs lie side by
//! side, and lines that begin where lines of the cache do.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_cvtne2ps_pbh, _mm512_maskz_loadu_ps, _mm512_setzero_si512,
    _mm512_storeu_si512,
};
use std::mem::transmute;
use std::ops::{Deref, Range};

use half::bf16;

use super::bits;
use super::copy::stride_of;
use super::lines::{Lines, pack};
use super::unit::{BLOCK, SIDE, STEP};
use crate::aligned::Aligned;
use crate::gemm::{SERIAL, View};
use crate::parallel::{chunks_mut, for_each};
use crate::simd::x86::transpose_sixteen;

/// Panels of 32 lines, the last one with zeros for those that it lacks.
pub(super) struct Panels {
    numbers: Aligned,
    /// Numbers of a panel.
    pub(super) len: usize,
}

impl Deref for Panels {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.numbers
    }
}

impl Panels {
    /// Packs as many lines over a depth, on all threads.
    ///
    /// # Safety
    /// The level must have [blocks of bf16](crate::Level::has_blocks_of_bf16).
    pub(super) unsafe fn of(view: View<'_, bf16>, count: usize, depth: usize) -> Self {
        Self::new(count, depth, |lines, panel| {
            // SAFETY: the caller vouches for the instructions.
            unsafe { pack_panel(view, lines, depth, panel) }
        })
    }

    /// Packs as many rows of a width, each element rounded to bf16, on all threads.
    ///
    /// # Safety
    /// As for [`Panels::of`].
    pub(super) unsafe fn rounded(x: &[f32], width: usize) -> Self {
        Self::new(x.len() / width, width, |lines, panel| {
            let rows = &x[lines.start * width..lines.end * width];
            // SAFETY: the caller vouches for the instructions.
            unsafe { pack_rounded(rows, width, panel) }
        })
    }

    fn new(count: usize, depth: usize, work: impl Fn(Range<usize>, &mut [f32]) + Sync) -> Self {
        // Even a product of no depth is written.
        let len = BLOCK * depth.max(1).next_multiple_of(STEP) / 2;
        let mut numbers = Aligned::unwritten(count.div_ceil(BLOCK) * len);
        let at_once = SERIAL / (BLOCK * depth).max(1) + 1;
        for_each(chunks_mut(&mut numbers, len), at_once, |index, panel| {
            work(index * BLOCK..count.min((index + 1) * BLOCK), panel);
        });
        Self { numbers, len }
    }
}

/// Packs at most 32 lines over a depth, with zeros up to whole steps of it.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(crate) fn pack_panel(
    view: View<'_, bf16>,
    lines: Range<usize>,
    depth: usize,
    panel: &mut [f32],
) {
    let (pairs, rest) = panel.split_at_mut(depth.div_ceil(2) * BLOCK);
    if depth > 0 {
        pack(&Lines::of_rows(view, lines, 0..depth), pairs, BLOCK);
    }
    rest.fill(0.0);
}

/// Likewise at most 32 rows of a width, each element rounded to bf16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn pack_rounded(rows: &[f32], width: usize, panel: &mut [f32]) {
    let halves = [0, SIDE].map(|first| &rows[rows.len().min(first * width)..]);
    for (half, rows) in halves.into_iter().enumerate() {
        for (step, to) in panel.chunks_exact_mut(SIDE * BLOCK).enumerate() {
            let start = step * STEP;
            let mut square = [_mm512_setzero_si512(); SIDE];
            for (row, pairs) in rows.chunks_exact(width).zip(&mut square) {
                *pairs = step_of(&row[start..width.min(start + STEP)]);
            }
            transpose_sixteen(&mut square);
            for (pairs, to) in square.into_iter().zip(to.chunks_exact_mut(BLOCK)) {
                let to = &mut to[half * SIDE..][..SIDE];
                // SAFETY: there is room for sixteen.
                unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), pairs) }
            }
        }
    }
}

/// Rows that follow each other, each element rounded to bf16; each begins a line of the cache and ends
/// with zeros up to a whole step, and there are whole blocks of them.
pub(super) struct RoundedRows {
    pub(super) numbers: Aligned,
    /// Numbers from one to the next.
    pub(super) stride: usize,
}

impl RoundedRows {
    /// Rounds rows of a width, on all threads.
    ///
    /// # Safety
    /// The level must have [blocks of bf16](crate::Level::has_blocks_of_bf16).
    pub(super) unsafe fn of(x: &[f32], width: usize) -> Self {
        let (count, stride) = (x.len() / width, stride_of(width));
        let mut numbers = Aligned::unwritten(count.next_multiple_of(BLOCK) * stride);
        for_each(chunks_mut(&mut numbers, stride), SERIAL / width + 1, |index, to| {
            let row = if index < count { &x[index * width..][..width] } else { &[] };
            // SAFETY: the caller vouches for the instructions.
            unsafe { round_row(row, to) }
        });
        Self { numbers, stride }
    }
}

/// Writes a row, rounded to bf16, and zeros after it.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn round_row(row: &[f32], to: &mut [f32]) {
    for (step, to) in to.as_chunks_mut::<SIDE>().0.iter_mut().enumerate() {
        let start = row.len().min(step * STEP);
        let elements = step_of(&row[start..row.len().min(start + STEP)]);
        // SAFETY: there is room for sixteen.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), elements) }
    }
}

/// Writes whole steps of elements, rounded to bf16.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(crate) fn put_rounded(from: &[f32], to: &mut [f32]) {
    for (from, to) in from.as_chunks::<STEP>().0.iter().zip(to.as_chunks_mut::<SIDE>().0) {
        // SAFETY: there is room for sixteen.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), step_of(from)) }
    }
}

/// Returns at most 32 elements, rounded to bf16, and zeros after them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn step_of(from: &[f32]) -> __m512i {
    let (head, tail) = from.split_at(from.len().min(SIDE));
    // SAFETY: a mask has a bit for each element that is there, and others are not touched.
    let load = |some: &[f32]| unsafe { _mm512_maskz_loadu_ps(bits(some.len()), some.as_ptr()) };
    rounded(load(head), load(tail))
}

/// Returns 32 numbers, rounded to bf16.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) fn rounded(first: __m512, second: __m512) -> __m512i {
    // SAFETY: both types of a vector are 512 plain bits.
    unsafe { transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first)) }
}
