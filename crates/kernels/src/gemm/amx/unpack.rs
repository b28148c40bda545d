//! Blocks of few bits as lines of bf16.
//!
//! Every element is computed in f32 as [`dequantize`](crate::dequantize()) does, and then rounded.
//! Integers of four and five bits have so few values that those of a group are computed once and looked
//! up.

use std::arch::x86_64::{
    __m128i, __m256bh, __m256i, __m512, __m512i, _mm_cvtsi64_si128, _mm_loadu_si128,
    _mm256_and_si256, _mm256_castsi256_si128, _mm256_cvtepu8_epi16, _mm256_extracti128_si256,
    _mm256_loadu_si256, _mm256_or_si256, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_slli_epi16,
    _mm256_srl_epi16, _mm256_srli_epi16, _mm512_and_si512, _mm512_castsi256_si512,
    _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi16, _mm512_cvtepu8_epi32,
    _mm512_cvtneps_pbh, _mm512_cvtph_ps, _mm512_cvtss_f32, _mm512_inserti64x4, _mm512_loadu_ps,
    _mm512_mul_ps, _mm512_or_si512, _mm512_permutexvar_epi16, _mm512_set1_epi16, _mm512_set1_ps,
    _mm512_slli_epi16, _mm512_srl_epi16, _mm512_storeu_si512, _mm512_sub_ps,
};
use std::mem::transmute;
use std::ops::Range;

use super::copy::stride_of;
use super::panels::rounded;
use super::unit::{BLOCK, SIDE};
use crate::blocks::{BlockFormat, Blocks, LARGE, SMALL, unpack_scales};

/// Integers in a row, as scales multiply them.
const COUNTED: [f32; SMALL] = {
    let mut counted = [0.0; SMALL];
    let mut i = 0;
    while i < SMALL {
        counted[i] = i as f32;
        i += 1;
    }
    counted
};

/// Unpacks a part of the depth of at most 32 lines of blocks, which are so wide, each element rounded to
/// bf16, with zeros where there are none. The part consists of whole blocks.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) fn unpack_lines(
    (read, width): (&Blocks<'_>, usize),
    lines: Range<usize>,
    depth: Range<usize>,
    to: &mut [f32],
) {
    let Blocks { format, bytes } = *read;
    let part = format.num_bytes(depth.start)..format.num_bytes(depth.end);
    let lines = bytes.chunks_exact(format.num_bytes(width)).skip(lines.start).take(lines.len());
    let mut to = to.chunks_exact_mut(stride_of(depth.len())).take(BLOCK);
    for (bytes, to) in lines.zip(&mut to) {
        // A function that is called by its name gets the instructions of this one.
        macro_rules! unpack {
            ($block:ident) => {{
                let blocks = bytes[part.clone()].as_chunks().0;
                for (block, to) in blocks.iter().zip(to.as_chunks_mut().0) {
                    $block(block, to);
                }
            }};
        }
        match format {
            BlockFormat::Q8_0 => unpack!(q8_0),
            BlockFormat::Q4_0 => unpack!(q4_0),
            BlockFormat::Q4K => unpack!(q4_k),
            BlockFormat::Q5K => unpack!(q5_k),
            BlockFormat::Q6K => unpack!(q6_k),
        }
    }
    to.for_each(|to| to.fill(0.0));
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn q8_0(block: &[u8; 34], to: &mut [f32; SMALL / 2]) {
    let d = half(block, 0);
    let product = |at: usize| {
        let integers = _mm512_cvtepi8_epi32(sixteen_bytes(block, at));
        _mm512_mul_ps(d, _mm512_cvtepi32_ps(integers))
    };
    put(rounded(product(2), product(18)), to);
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn q4_0(block: &[u8; 18], to: &mut [f32; SMALL / 2]) {
    let table = _mm512_mul_ps(half(block, 0), _mm512_sub_ps(counted(0), _mm512_set1_ps(8.0)));
    let bytes = _mm256_cvtepu8_epi16(sixteen_bytes(block, 2));
    let low = _mm256_and_si256(bytes, _mm256_set1_epi16(15));
    let integers = _mm512_castsi256_si512(low);
    let integers = _mm512_inserti64x4::<1>(integers, _mm256_srli_epi16::<4>(bytes));
    put(_mm512_permutexvar_epi16(integers, few(table)), to);
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn q4_k(block: &[u8; 144], to: &mut [f32; LARGE / 2]) {
    let groups = Groups::of(block);
    for (group, to) in to.as_chunks_mut().0.iter_mut().enumerate() {
        let integers = nibbles(block, 16 + group / 2 * SMALL, group % 2);
        let table = few(groups.element(group, counted(0)));
        put(_mm512_permutexvar_epi16(integers, table), to);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn q5_k(block: &[u8; 176], to: &mut [f32; LARGE / 2]) {
    let groups = Groups::of(block);
    let fifths = _mm512_slli_epi16::<4>(_mm512_cvtepu8_epi16(bytes(block, 16)));
    for (group, to) in to.as_chunks_mut().0.iter_mut().enumerate() {
        let integers = nibbles(block, 48 + group / 2 * SMALL, group % 2);
        let fifth = _mm512_srl_epi16(fifths, bits(group));
        let fifth = _mm512_and_si512(fifth, _mm512_set1_epi16(16));
        let table = [0, SIDE].map(|first| groups.element(group, counted(first)));
        let integers = _mm512_or_si512(integers, fifth);
        put(_mm512_permutexvar_epi16(integers, rounded(table[0], table[1])), to);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn q6_k(block: &[u8; 210], to: &mut [f32; LARGE / 2]) {
    let (scales, d) = (&block[192..208], half(block, 208));
    for (quarter, to) in to.as_chunks_mut().0.iter_mut().enumerate() {
        // Each half of the block has its own 64 and 32 bytes, which its quarters share.
        let (half, quarter_of) = (quarter / 4, quarter % 4);
        let low = bytes(block, half * 64 + quarter_of % 2 * SMALL);
        let low = _mm256_srl_epi16(low, bits(quarter_of / 2 * 4));
        let high = _mm256_srl_epi16(bytes(block, 128 + half * SMALL), bits(2 * quarter_of));
        let high = _mm256_and_si256(high, _mm256_set1_epi8(3));
        let low = _mm256_and_si256(low, _mm256_set1_epi8(15));
        let integers = _mm256_or_si256(low, _mm256_slli_epi16::<4>(high));
        let element = |integers: __m128i, run: usize| {
            let scale = _mm512_set1_ps(f32::from(scales[run].cast_signed()));
            let integers = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(integers));
            _mm512_mul_ps(_mm512_mul_ps(d, scale), _mm512_sub_ps(integers, _mm512_set1_ps(32.0)))
        };
        let first = element(_mm256_castsi256_si128(integers), 2 * quarter);
        let second = element(_mm256_extracti128_si256::<1>(integers), 2 * quarter + 1);
        put(rounded(first, second), to);
    }
}

/// The scales and minima of the eight groups of a block.
struct Groups {
    scales: [f32; 8],
    minima: [f32; 8],
}

impl Groups {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn of(block: &[u8]) -> Self {
        let [d, e] = [0, 2].map(|at| first(half(block, at)));
        let (scales, minima) = unpack_scales(std::array::from_fn(|i| block[4 + i]));
        Self {
            scales: scales.to_le_bytes().map(|scale| d * f32::from(scale)),
            minima: minima.to_le_bytes().map(|minimum| e * f32::from(minimum)),
        }
    }

    /// Returns the elements that a group's integers stand for.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn element(&self, group: usize, integers: __m512) -> __m512 {
        let scaled = _mm512_mul_ps(_mm512_set1_ps(self.scales[group]), integers);
        _mm512_sub_ps(scaled, _mm512_set1_ps(self.minima[group]))
    }
}

/// Returns sixteen integers from the first on.
#[inline]
#[target_feature(enable = "avx512f")]
fn counted(first: usize) -> __m512 {
    let some = &COUNTED[first..first + SIDE];
    // SAFETY: there are sixteen.
    unsafe { _mm512_loadu_ps(some.as_ptr()) }
}

/// Returns a number in half precision in all lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn half(block: &[u8], at: usize) -> __m512 {
    _mm512_cvtph_ps(_mm256_set1_epi16(i16::from_le_bytes([block[at], block[at + 1]])))
}

/// Returns the first lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn first(vector: __m512) -> f32 {
    _mm512_cvtss_f32(vector)
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn sixteen_bytes(block: &[u8], at: usize) -> __m128i {
    let bytes = &block[at..at + 16];
    // SAFETY: there are sixteen.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn bytes(block: &[u8], at: usize) -> __m256i {
    let bytes = &block[at..at + 32];
    // SAFETY: there are thirty-two.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// Returns how far to shift.
#[inline]
#[target_feature(enable = "avx512f")]
fn bits(count: usize) -> __m128i {
    const COUNTS: [i64; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
    _mm_cvtsi64_si128(COUNTS[count])
}

/// Returns the low or the high halves of 32 bytes, each in sixteen bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn nibbles(block: &[u8], at: usize, half: usize) -> __m512i {
    let wide = _mm512_cvtepu8_epi16(bytes(block, at));
    let wide = _mm512_srl_epi16(wide, bits(4 * half));
    _mm512_and_si512(wide, _mm512_set1_epi16(15))
}

/// Returns sixteen numbers, rounded to bf16, for looking them up.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn few(numbers: __m512) -> __m512i {
    // SAFETY: both types of a vector are 256 plain bits.
    let rounded = unsafe { transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(numbers)) };
    _mm512_castsi256_si512(rounded)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn put(elements: __m512i, to: &mut [f32; SIDE]) {
    // SAFETY: there is room for sixteen numbers of 32 bits.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), elements) }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;
    use crate::{Level, dequantize};

    #[test]
    fn every_element_is_what_dequantizing_and_rounding_gives() {
        if !Level::available().contains(&Level::Amx) {
            return;
        }
        let mut state = 7_u32;
        let mut byte = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        for format in BlockFormat::ALL {
            // Lines of a part of their depth, fewer than a block of them.
            let (width, count, depth) = (4 * LARGE, 29, LARGE..3 * LARGE);
            let mut bytes: Vec<u8> = (0..format.num_bytes(count * width)).map(|_| byte()).collect();
            for block in bytes.chunks_exact_mut(format.block_bytes()) {
                let scale = f16::from_f32(f32::from(byte()) / 256.0 - 0.5).to_le_bytes();
                let at = if format == BlockFormat::Q6K { 208 } else { 0 };
                block[at..at + 2].copy_from_slice(&scale);
                if matches!(format, BlockFormat::Q4K | BlockFormat::Q5K) {
                    block[2..4].copy_from_slice(&scale);
                }
            }
            let blocks = Blocks { format, bytes: &bytes };
            let mut elements = vec![0.0; count * width];
            dequantize(blocks, &mut elements);
            let stride = stride_of(depth.len());
            let mut found = vec![f32::NAN; BLOCK * stride];
            // SAFETY: the level is there.
            unsafe { unpack_lines((&blocks, width), 0..count, depth.clone(), &mut found) }
            for (line, found) in found.chunks_exact(stride).enumerate() {
                let found = found.iter().take(depth.len() / 2).flat_map(|pair| {
                    let bits = pair.to_bits();
                    [bits as u16, (bits >> 16) as u16]
                });
                let expected = depth.clone().map(|i| {
                    let element = if line < count { elements[line * width + i] } else { 0.0 };
                    bf16::from_f32(element).to_bits()
                });
                assert!(found.eq(expected), "line {line} of {format:?}");
            }
        }
    }
}
