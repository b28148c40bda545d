//! Blocks of 256 elements whose groups of 32 have scales and minima, as lines of bytes.

#[allow(
    clippy::wildcard_imports,
    reason = "the names of the intrinsics say where they are from"
)]
use std::arch::x86_64::*;

use super::unit::{BLOCK, SIDE};
use super::unpack::{
    LEAST, Line, MOST, TWO, Unpacked, bytes, from, in_halves, lanes, same, sixteen, thirty_two,
};
use crate::blocks::{BlockFormat, SMALL};
use crate::simd::x86::{small_of_words, transpose_sixteen};

/// The parts of an integer in which groups are scaled.
const PARTS: i16 = 128;
/// From zero to seven in each lane.
const EIGHTS: [u16; 32] = lanes([0; 4], 1);
/// A number in each lane.
const FOUR: [u16; 32] = lanes([0, 1, 2, 3], 0);
/// Sixteen integers in two lanes each, eight of each sixteen being left out.
const THIRTY_TWO: [u16; 32] = lanes([0, 16, 0, 16], 1);
/// Steps of a block.
const STEPS: usize = 4;

/// Unpacks at most 32 lines of a format. Lines that are not there are zero.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn unpack_lines(
    (lines, format): (&[&[u8]], BlockFormat),
    Unpacked { tiles: to, scales, flipped_bits }: Unpacked<'_>,
    mut after_each: impl FnMut(),
) {
    let flipped_bits = bytes(flipped_bits);
    let is_of_four = format == BlockFormat::Q4K;
    let most = if is_of_four { 15.0 } else { 31.0 };
    let len = format.block_bytes();
    let count = scales.len() / BLOCK;
    for (index, scales) in scales.chunks_exact_mut(BLOCK).enumerate() {
        let block = |line: usize| lines.get(line).map(|line| &line[index * len..][..len]);
        let words = Words::of(block, most, scales);
        for line in 0..BLOCK {
            let mut to = Line::new(to, line, STEPS * index, flipped_bits);
            match block(line) {
                Some(block) if is_of_four => q4_k(block, words.of_line(line), &mut to),
                Some(block) => q5_k(block, words.of_line(line), &mut to),
                None => (0..STEPS).for_each(|_| to.put(_mm512_setzero_si512())),
            }
            // Once for each line.
            if line < lines.len() && line % count == index {
                after_each();
            }
        }
    }
}

/// What the elements of a block of each of 32 lines become: the scales of its eight groups, and their
/// minima less half, in [`PARTS`] of the integers that elements become. Sixteen words for a line, and after
/// them those of the sixteenth line after it.
struct Words([__m512i; SIDE]);

impl Words {
    /// Takes those of blocks whose groups' integers are at most so large, and returns what the integers that
    /// elements become are multiplied with.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn of<'a>(block: impl Fn(usize) -> Option<&'a [u8]>, most: f32, scales: &mut [f32]) -> Self {
        let mut square = [_mm512_setzero_si512(); SIDE];
        let halves = square.chunks_exact_mut(SIDE / 2).zip(scales.as_chunks_mut::<SIDE>().0);
        for (half, (pairs, scales)) in halves.enumerate() {
            let mut headers = [_mm_setzero_si128(); SIDE];
            for (line, header) in headers.iter_mut().enumerate() {
                if let Some(block) = block(half * SIDE + line) {
                    *header = sixteen(block, 0);
                }
            }
            let [halves, words @ ..] = columns(headers);
            let d = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(halves));
            let e = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(halves)));
            let (mut of_groups, mut minima) = small_of_words(words);
            let mut largest = _mm512_setzero_si512();
            for (scale, minimum) in of_groups.iter_mut().zip(&mut minima) {
                *scale = _mm512_mul_ps(d, *scale);
                *minimum = _mm512_mul_ps(e, *minimum);
                // A group's elements lie between these. What is no number is larger than any.
                let top = _mm512_fmsub_ps(_mm512_set1_ps(most), *scale, *minimum);
                for number in [top, *minimum] {
                    let magnitude = _mm512_castps_si512(_mm512_abs_ps(number));
                    largest = _mm512_max_epu32(largest, magnitude);
                }
            }
            let largest = _mm512_castsi512_ps(largest);
            let is_large = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(largest, _mm512_set1_ps(LEAST));
            let infinity = _mm512_set1_ps(f32::INFINITY);
            let is_usual = _mm512_mask_cmp_ps_mask::<_CMP_LT_OQ>(is_large, largest, infinity);
            let whole = _mm512_set1_ps(MOST * f32::from(PARTS));
            let factor = _mm512_maskz_div_ps(is_usual, whole, largest);
            for (pair, two) in pairs.iter_mut().zip(of_groups.as_chunks().0) {
                *pair = in_words(two, factor, 0);
            }
            for (pair, two) in pairs[SIDE / 4..].iter_mut().zip(minima.as_chunks().0) {
                *pair = in_words(two, factor, PARTS / 2);
            }
            let scale = _mm512_div_ps(largest, _mm512_set1_ps(MOST));
            // SAFETY: there are sixteen.
            unsafe { _mm512_storeu_ps(scales.as_mut_ptr(), scale) }
        }
        transpose_sixteen(&mut square);
        Self(square)
    }

    /// Returns the words of a line, and any after them.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn of_line(&self, line: usize) -> __m512i {
        let both = self.0[line % SIDE];
        if line < SIDE {
            return both;
        }
        _mm512_castsi256_si512(_mm512_extracti64x4_epi64::<1>(both))
    }
}

/// Returns the first words of sixteen rows of four, and so on.
#[inline]
#[target_feature(enable = "avx512f")]
fn columns(rows: [__m128i; SIDE]) -> [__m512i; 4] {
    let mut fours = [_mm512_setzero_si512(); 4];
    for (i, four) in fours.iter_mut().enumerate() {
        let first = _mm512_castsi128_si512(rows[i]);
        let two = _mm512_inserti32x4::<1>(first, rows[4 + i]);
        let three = _mm512_inserti32x4::<2>(two, rows[8 + i]);
        *four = _mm512_inserti32x4::<3>(three, rows[12 + i]);
    }
    let [a, b, c, d] = fours;
    let (low, high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (next_low, next_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(low, next_low),
        _mm512_unpackhi_epi64(low, next_low),
        _mm512_unpacklo_epi64(high, next_high),
        _mm512_unpackhi_epi64(high, next_high),
    ]
}

/// Returns pairs of numbers times a factor, less what is given, as words.
#[inline]
#[target_feature(enable = "avx512f")]
fn in_words(two: &[__m512; 2], factor: __m512, less: i16) -> __m512i {
    let [first, second] = [two[0], two[1]].map(|numbers| {
        let integers = _mm512_cvtps_epi32(_mm512_mul_ps(numbers, factor));
        _mm512_sub_epi32(integers, _mm512_set1_epi32(i32::from(less)))
    });
    let low = _mm512_and_si512(first, _mm512_set1_epi32(0xffff));
    _mm512_or_si512(low, _mm512_slli_epi32::<16>(second))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn q4_k(block: &[u8], words: __m512i, to: &mut Line<'_>) {
    for (half, integers) in block[16..].as_chunks::<64>().0.iter().enumerate() {
        // That of four groups, a lane each.
        let table = table(words, &EIGHTS, from(4 * half, &FOUR));
        let tables = [
            _mm512_shuffle_i64x2::<0b01_01_00_00>(table, table),
            _mm512_shuffle_i64x2::<0b11_11_10_10>(table, table),
        ];
        for (step, table) in tables.into_iter().enumerate() {
            let integers = in_halves(thirty_two(integers, SMALL * step), [0, 4], 15);
            to.put(_mm512_shuffle_epi8(table, integers));
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn q5_k(block: &[u8], words: __m512i, to: &mut Line<'_>) {
    for (step, integers) in block[48..].as_chunks::<SMALL>().0.iter().enumerate() {
        // That of two groups, two lanes each.
        let table = table(words, &THIRTY_TWO, from(2 * step, &TWO));
        let low = _mm512_shuffle_i64x2::<0b10_10_00_00>(table, table);
        let high = _mm512_shuffle_i64x2::<0b11_11_01_01>(table, table);
        let integers = in_halves(thirty_two(integers, 0), [0, 4], 15);
        // Bit g of a byte is the fifth of group g.
        let first = (2 * step as u64).cast_signed() - 4;
        let fifths = in_halves(thirty_two(block, 16), [first, first + 1], 16);
        let is_high = _mm512_test_epi8_mask(fifths, fifths);
        let few = _mm512_shuffle_epi8(low, integers);
        to.put(_mm512_mask_shuffle_epi8(few, is_high, high, integers));
    }
}

/// Returns what the integers of some groups become: integers `counted` and those eight above them, of the
/// groups of each lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn table(words: __m512i, counted: &[u16; 32], groups: __m512i) -> __m512i {
    let scales = _mm512_permutexvar_epi16(groups, words);
    let minima = _mm512_add_epi16(groups, same(8));
    let minima = _mm512_permutexvar_epi16(minima, words);
    let first = _mm512_sub_epi16(_mm512_mullo_epi16(from(0, counted), scales), minima);
    let second = _mm512_add_epi16(first, _mm512_slli_epi16::<3>(scales));
    // Of each lane eight of either.
    _mm512_packs_epi16(_mm512_srai_epi16::<7>(first), _mm512_srai_epi16::<7>(second))
}
