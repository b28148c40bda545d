//! Copies of what cannot be read as it lies.

use std::arch::x86_64::{_mm512_maskz_loadu_epi16, _mm512_setzero_si512, _mm512_storeu_si512};
use std::ops::Range;

use half::bf16;

use super::lines::{Lines, pairs_side_by_side};
use super::unit::{BLOCK, SIDE, STEP};
use crate::gemm::View;
use crate::simd::x86::transpose_sixteen;

/// Returns the numbers from one copied line to the next: an odd number of lines of the cache, of which
/// lines of a round depth would all have the same places.
pub(crate) fn stride_of(depth: usize) -> usize {
    (depth.div_ceil(STEP) | 1) * SIDE
}

/// Copies a part of the depth of at most 32 lines so that its elements follow each other, with zeros
/// where there are none.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn copy_lines(
    read: &View<'_, bf16>,
    lines: Range<usize>,
    depth: Range<usize>,
    to: &mut [f32],
) {
    let stride = stride_of(depth.len());
    let to = &mut to[..BLOCK * stride];
    if read.strides.1 != 1 {
        let steps = depth.len().div_ceil(STEP);
        let count = lines.len();
        let lines = Lines::of_rows(*read, lines, depth);
        for (half, to) in to.chunks_exact_mut(SIDE * stride).enumerate() {
            let start = count.min(half * SIDE);
            transpose_lines((&lines, start..count.min(start + SIDE)), steps, to, stride);
        }
        return;
    }
    for (i, to) in to.chunks_exact_mut(stride).enumerate() {
        let from = if i < lines.len() {
            &read.data[(lines.start + i) * read.strides.0 + depth.start..][..depth.len()]
        } else {
            &[]
        };
        for (step, to) in to.as_chunks_mut::<SIDE>().0.iter_mut().enumerate() {
            let from = &from[from.len().min(step * STEP)..];
            let missing = STEP - from.len().min(STEP);
            let mask = u32::MAX.checked_shr(missing as u32).unwrap_or(0);
            // SAFETY: the mask has a bit for each element that is left, and there is room for a step.
            unsafe {
                let elements = _mm512_maskz_loadu_epi16(mask, from.as_ptr().cast());
                _mm512_storeu_si512(to.as_mut_ptr().cast(), elements);
            }
        }
    }
}

/// Likewise of at most sixteen lines that lie side by side.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn transpose_lines(
    (lines, some): (&Lines<'_>, Range<usize>),
    steps: usize,
    to: &mut [f32],
    stride: usize,
) {
    for step in 0..steps {
        let mut square = [_mm512_setzero_si512(); SIDE];
        for (i, pairs) in square.iter_mut().enumerate() {
            *pairs = pairs_side_by_side(lines, &some, step * SIDE + i);
        }
        transpose_sixteen(&mut square);
        for (line, to) in square.into_iter().zip(to.chunks_exact_mut(stride)) {
            let to = &mut to[step * SIDE..][..SIDE];
            // SAFETY: there is room for sixteen.
            unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), line) }
        }
    }
}
