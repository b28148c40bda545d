//! AVX-512 with VNNI.

#[allow(
    clippy::wildcard_imports,
    reason = "the names of the intrinsics say where they are from"
)]
use std::arch::x86_64::*;

use super::avx2::{halves_of, two_in_one};
use super::dots::{Dots, Work};
use crate::simd::x86::{small_of_words, transpose_sixteen};

/// A vector of AVX-512 with VNNI; a value exists only inside [`run_avx512_vnni`].
#[derive(Clone, Copy)]
pub(super) struct Vnni(());

/// Runs with AVX-512 and its VNNI.
///
/// # Safety
/// The processor must have AVX-512 F, BW, VL and VNNI, AVX2, FMA and F16C.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn run_avx512_vnni<W: Work>(work: W) {
    work.run(Vnni(()));
}

// SAFETY of every block below: a value of the vector type is the proof that the processor has the
// instructions, and references to arrays are as long as what is read or written.

impl Dots for Vnni {
    type B = __m512i;
    type I = __m512i;
    type F = __m512;
    const SIGNED: bool = false;
    const TILE: (usize, usize) = (6, 2);

    #[inline(always)]
    fn bytes(self, from: &[u8; 64]) -> Self::B {
        // SAFETY: see above.
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }
    #[inline(always)]
    fn put_bytes(self, value: Self::B, to: &mut [u8; 64]) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), value) }
    }
    #[inline(always)]
    fn join(self, low: &[u8; 32], high: &[u8; 32]) -> Self::B {
        // SAFETY: see above.
        unsafe {
            let low = _mm256_loadu_si256(low.as_ptr().cast());
            let high = _mm256_loadu_si256(high.as_ptr().cast());
            _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
        }
    }
    #[inline(always)]
    fn join_four(self, [a, b, c, d]: [&[u8; 16]; 4]) -> Self::B {
        // SAFETY: see above.
        unsafe {
            let (a, b) = (_mm_loadu_si128(a.as_ptr().cast()), _mm_loadu_si128(b.as_ptr().cast()));
            let (c, d) = (_mm_loadu_si128(c.as_ptr().cast()), _mm_loadu_si128(d.as_ptr().cast()));
            let (low, high) = (_mm256_set_m128i(b, a), _mm256_set_m128i(d, c));
            _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
        }
    }
    #[inline(always)]
    fn split(self, a: Self::B) -> [Self::B; 2] {
        // SAFETY: see above.
        unsafe {
            let mask = _mm512_set1_epi8(15);
            [_mm512_and_si512(a, mask), _mm512_and_si512(_mm512_srli_epi16::<4>(a), mask)]
        }
    }
    #[inline(always)]
    fn nibbles(self, from: &[u8; 32]) -> Self::B {
        // SAFETY: see above.
        unsafe {
            let both = _mm512_broadcast_i64x4(_mm256_loadu_si256(from.as_ptr().cast()));
            let shifts = _mm512_set_epi64(4, 4, 4, 4, 0, 0, 0, 0);
            _mm512_and_si512(_mm512_srlv_epi64(both, shifts), _mm512_set1_epi8(15))
        }
    }
    #[inline(always)]
    fn nibbles_of_two(self, a: &[u8; 16], b: &[u8; 16]) -> Self::B {
        // SAFETY: see above.
        unsafe {
            let a = _mm512_broadcast_i32x4(_mm_loadu_si128(a.as_ptr().cast()));
            let b = _mm_loadu_si128(b.as_ptr().cast());
            let both = _mm512_mask_broadcast_i32x4(a, 0xff00, b);
            let shifts = _mm512_set_epi64(4, 4, 0, 0, 4, 4, 0, 0);
            _mm512_and_si512(_mm512_srlv_epi64(both, shifts), _mm512_set1_epi8(15))
        }
    }
    #[inline(always)]
    fn six_bits(self, low: &[u8; 64], high: &[u8; 32]) -> [Self::B; 2] {
        // SAFETY: see above.
        unsafe {
            let low = self.bytes(low);
            let high = _mm512_broadcast_i64x4(_mm256_loadu_si256(high.as_ptr().cast()));
            let up = _mm512_sllv_epi64(high, _mm512_set_epi64(2, 2, 2, 2, 4, 4, 4, 4));
            let down = _mm512_srlv_epi64(high, _mm512_set_epi64(2, 2, 2, 2, 0, 0, 0, 0));
            let (mask, top) = (_mm512_set1_epi8(15), _mm512_set1_epi8(48));
            let shifted = _mm512_srli_epi16::<4>(low);
            [
                _mm512_or_si512(_mm512_and_si512(low, mask), _mm512_and_si512(up, top)),
                _mm512_or_si512(_mm512_and_si512(shifted, mask), _mm512_and_si512(down, top)),
            ]
        }
    }
    #[inline(always)]
    fn or_fifth(self, low: Self::B, high: &[u8; 32], pair: usize) -> Self::B {
        // SAFETY: see above.
        unsafe {
            let both = _mm512_broadcast_i64x4(_mm256_loadu_si256(high.as_ptr().cast()));
            let first = (1_u8 << (2 * pair)).cast_signed();
            let (first, second) = (_mm256_set1_epi8(first), _mm256_set1_epi8(first << 1));
            let bits = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(first), second);
            let is_set = _mm512_test_epi8_mask(both, bits);
            _mm512_mask_add_epi8(low, is_set, low, _mm512_set1_epi8(16))
        }
    }
    #[inline(always)]
    fn flip(self, a: Self::B) -> Self::B {
        // SAFETY: see above.
        unsafe { _mm512_xor_si512(a, _mm512_set1_epi8(-128)) }
    }
    #[inline(always)]
    fn four(self, from: [u8; 4]) -> Self::B {
        // SAFETY: see above.
        unsafe { _mm512_set1_epi32(i32::from_le_bytes(from)) }
    }
    #[inline(always)]
    fn eight(self, from: [u8; 8]) -> Self::B {
        // SAFETY: see above.
        unsafe { _mm512_set1_epi64(i64::from_le_bytes(from)) }
    }
    #[inline(always)]
    fn interleave(self, a: Self::B) -> Self::B {
        // SAFETY: see above.
        unsafe {
            let order = _mm512_set_epi32(15, 7, 14, 6, 13, 5, 12, 4, 11, 3, 10, 2, 9, 1, 8, 0);
            _mm512_permutexvar_epi32(order, a)
        }
    }
    #[inline(always)]
    fn two(self, [a, b]: [f32; 2]) -> Self::F {
        // SAFETY: see above.
        unsafe { _mm512_castpd_ps(_mm512_set1_pd(two_in_one(a, b))) }
    }
    #[inline(always)]
    fn transpose(self, rows: &mut [Self::B; 16]) {
        // SAFETY: see above.
        unsafe { transpose_sixteen(rows) }
    }
    #[inline(always)]
    fn transpose_floats(self, rows: &mut [Self::F; 16]) {
        // SAFETY: see above.
        unsafe {
            let mut fours = [_mm512_setzero_si512(); 16];
            for i in 0..16 {
                fours[i] = _mm512_castps_si512(rows[i]);
            }
            self.transpose(&mut fours);
            for i in 0..16 {
                rows[i] = _mm512_castsi512_ps(fours[i]);
            }
        }
    }
    #[inline(always)]
    fn dot(self, sums: Self::I, a: Self::B, b: Self::B) -> Self::I {
        // SAFETY: see above.
        unsafe { _mm512_dpbusd_epi32(sums, a, b) }
    }
    #[inline(always)]
    fn dot_signed(self, _: Self::I, _: Self::B, _: Self::B) -> Self::I {
        unreachable!("bytes with signs are flipped here")
    }
    #[inline(always)]
    fn quarters(self, [a, b, c, d]: [Self::I; 4]) -> Self::I {
        // SAFETY: see above.
        unsafe {
            let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
            let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
            _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd))
        }
    }
    #[inline(always)]
    fn halves(self, a: Self::I, b: Self::I) -> (Self::I, Self::I) {
        // SAFETY: see above.
        unsafe {
            // Lane `i` of a quarter is of vector `i`, whose two blocks' first halves are quarters 0 and 2.
            let first = _mm512_set_epi32(27, 19, 26, 18, 25, 17, 24, 16, 11, 3, 10, 2, 9, 1, 8, 0);
            let second = _mm512_add_epi32(first, _mm512_set1_epi32(4));
            (_mm512_permutex2var_epi32(a, first, b), _mm512_permutex2var_epi32(a, second, b))
        }
    }
    #[inline(always)]
    fn int(self, value: i32) -> Self::I {
        // SAFETY: see above.
        unsafe { _mm512_set1_epi32(value) }
    }
    #[inline(always)]
    fn ints(self, from: &[i32; 16]) -> Self::I {
        // SAFETY: see above.
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }
    #[inline(always)]
    fn add_ints(self, a: Self::I, b: Self::I) -> Self::I {
        // SAFETY: see above.
        unsafe { _mm512_add_epi32(a, b) }
    }
    #[inline(always)]
    fn to_f32(self, a: Self::I) -> Self::F {
        // SAFETY: see above.
        unsafe { _mm512_cvtepi32_ps(a) }
    }
    #[inline(always)]
    fn float(self, value: f32) -> Self::F {
        // SAFETY: see above.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    fn floats(self, from: &[f32; 16]) -> Self::F {
        // SAFETY: see above.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }
    #[inline(always)]
    fn put_floats(self, value: Self::F, to: &mut [f32; 16]) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), value) }
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: see above.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: see above.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // SAFETY: see above.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn sub_mul(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // SAFETY: see above.
        unsafe { _mm512_fnmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn widen(self, bits: [u16; 16]) -> Self::F {
        // SAFETY: see above.
        unsafe {
            let [low, high] = halves_of(bits);
            _mm512_cvtph_ps(_mm256_set_m128i(high, low))
        }
    }
    #[inline(always)]
    fn widen_two(self, low: u16, high: u16) -> Self::F {
        // SAFETY: see above.
        unsafe {
            let both =
                _mm_cvtph_ps(_mm_set1_epi32(i32::from(high.cast_signed()) << 16 | i32::from(low)));
            let both = _mm512_castps128_ps512(both);
            _mm512_permutexvar_ps(
                _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0),
                both,
            )
        }
    }
    #[inline(always)]
    fn small(self, low: u64, high: u64) -> Self::F {
        // SAFETY: see above.
        unsafe {
            let bytes = _mm_set_epi64x(high.cast_signed(), low.cast_signed());
            _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))
        }
    }
    #[inline(always)]
    fn widen_words(self, words: Self::B) -> (Self::F, Self::F) {
        // SAFETY: see above.
        unsafe {
            let low = _mm512_cvtepi32_epi16(words);
            let high = _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(words));
            (_mm512_cvtph_ps(low), _mm512_cvtph_ps(high))
        }
    }
    #[inline(always)]
    fn small_of_words(self, words: [Self::B; 3]) -> ([Self::F; 8], [Self::F; 8]) {
        // SAFETY: see above.
        unsafe { small_of_words(words) }
    }
    #[inline(always)]
    fn signed_pairs(self, low: &[u8; 16], high: &[u8; 16]) -> (Self::F, Self::F) {
        // SAFETY: see above.
        unsafe {
            let low = _mm_loadu_si128(low.as_ptr().cast());
            let high = _mm_loadu_si128(high.as_ptr().cast());
            let pairs = _mm512_cvtepi16_epi32(_mm256_set_m128i(high, low));
            let even = _mm512_srai_epi32::<24>(_mm512_slli_epi32::<24>(pairs));
            (_mm512_cvtepi32_ps(even), _mm512_cvtepi32_ps(_mm512_srai_epi32::<8>(pairs)))
        }
    }
}
