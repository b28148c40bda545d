//! Packing of lines into panels.

use std::arch::x86_64::{
    __m512i, _mm256_maskz_loadu_epi16, _mm512_cvtepu16_epi32, _mm512_loadu_si512,
    _mm512_maskz_loadu_epi16, _mm512_or_si512, _mm512_setzero_si512, _mm512_slli_epi32,
    _mm512_storeu_si512,
};
use std::ops::Range;

use half::bf16;

use super::unit::SIDE as LANES;
use crate::gemm::View;
use crate::memory::prefetch_second;
use crate::simd::x86::transpose_sixteen;

/// Rows of `a` or columns of `b`, over a part of the depth.
pub(super) struct Lines<'a> {
    data: &'a [bf16],
    /// Elements from one line to the next, and from one element of a line to the next; one of them
    /// is one.
    strides: (usize, usize),
    count: usize,
    depth: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn of_rows(a: View<'a, bf16>, rows: Range<usize>, depth: Range<usize>) -> Self {
        Self::new(a.data, a.strides, rows, depth)
    }

    #[inline(always)]
    fn new(
        data: &'a [bf16],
        strides: (usize, usize),
        lines: Range<usize>,
        depth: Range<usize>,
    ) -> Self {
        let start = lines.start * strides.0 + depth.start * strides.1;
        // A product of no depth has no elements, and nothing follows the last columns.
        let data = data.get(start..).unwrap_or_default();
        Self { data, strides, count: lines.len(), depth: depth.len() }
    }
}

/// Writes pair `k` of line `l` to `to[k * width + l]`, zeros where there are none. What is written
/// for lines beyond the width is written over by the next pair; the last one's is left behind.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn pack(lines: &Lines<'_>, to: &mut [f32], width: usize) {
    for first in (0..width).step_by(LANES) {
        let count = lines.count.saturating_sub(first).min(LANES);
        if lines.strides.1 == 1 {
            pack_contiguous(lines, first..first + count, &mut to[first..], width);
        } else {
            pack_strided(lines, first..first + count, &mut to[first..], width);
        }
    }
}

/// Packs at most sixteen lines whose elements follow each other.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn pack_contiguous(lines: &Lines<'_>, some: Range<usize>, to: &mut [f32], width: usize) {
    let pairs = lines.depth.div_ceil(2);
    let whole = if some.len() == LANES { lines.depth / (2 * LANES) * LANES } else { 0 };
    for k in (0..whole).step_by(LANES) {
        pack_square(lines, (some.start, k), to, width);
    }
    for k in (whole..pairs).step_by(LANES) {
        let left = (lines.depth - 2 * k).min(2 * LANES);
        let mask = u32::MAX >> (2 * LANES - left);
        let mut square = [_mm512_setzero_si512(); LANES];
        for (line, square) in some.clone().zip(&mut square) {
            let from = &lines.data[line * lines.strides.0 + 2 * k..][..left];
            // SAFETY: the mask has a bit for each element, and others are not touched.
            *square = unsafe { _mm512_maskz_loadu_epi16(mask, from.as_ptr().cast()) };
        }
        transpose_sixteen(&mut square);
        for (i, pairs) in square.iter().enumerate().take(pairs - k) {
            put_lane_pairs(*pairs, &mut to[(k + i) * width..]);
        }
    }
}

/// Packs sixteen pairs, from pair `k` on, of sixteen lines whose elements follow each other.
#[inline]
#[target_feature(enable = "avx512f")]
fn pack_square(lines: &Lines<'_>, (line, k): (usize, usize), to: &mut [f32], width: usize) {
    let stride = lines.strides.0;
    let from = &lines.data[line * stride + 2 * k..][..(LANES - 1) * stride + 2 * LANES];
    let to = &mut to[k * width..][..(LANES - 1) * width + LANES];
    let mut square = [_mm512_setzero_si512(); LANES];
    for (i, pairs) in square.iter_mut().enumerate() {
        // Lines side by side are too many for the processor to notice where each goes on.
        prefetch_second(from, (LANES + i) * stride);
        // SAFETY: line `i` starts so many elements after the first and has a vector of them.
        *pairs = unsafe { _mm512_loadu_si512(from.as_ptr().add(i * stride).cast()) };
    }
    transpose_sixteen(&mut square);
    for (i, pairs) in square.into_iter().enumerate() {
        // SAFETY: there is room for sixteen pairs so many elements after the first.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().add(i * width).cast(), pairs) }
    }
}

/// Packs at most sixteen lines that lie side by side.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn pack_strided(lines: &Lines<'_>, some: Range<usize>, to: &mut [f32], width: usize) {
    for k in 0..lines.depth.div_ceil(2) {
        put_lane_pairs(pairs_side_by_side(lines, &some, k), &mut to[k * width..]);
    }
}

/// Returns pair `k` of at most sixteen lines that lie side by side, zeros where there are none.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn pairs_side_by_side(lines: &Lines<'_>, some: &Range<usize>, k: usize) -> __m512i {
    let mask = u16::MAX.checked_shr((LANES - some.len()) as u32).unwrap_or(0);
    let load = |k: usize| {
        if k >= lines.depth || some.is_empty() {
            return _mm512_setzero_si512();
        }
        let from = &lines.data[k * lines.strides.1 + some.start..][..some.len()];
        // SAFETY: the mask has a bit for each element, and others are not touched.
        _mm512_cvtepu16_epi32(unsafe { _mm256_maskz_loadu_epi16(mask, from.as_ptr().cast()) })
    };
    _mm512_or_si512(load(2 * k), _mm512_slli_epi32::<16>(load(2 * k + 1)))
}

/// Writes sixteen pairs.
#[inline]
#[target_feature(enable = "avx512f")]
fn put_lane_pairs(pairs: __m512i, to: &mut [f32]) {
    let to = &mut to[..LANES];
    // SAFETY: there is room for sixteen.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), pairs) }
}
