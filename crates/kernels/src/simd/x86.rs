//! AVX2 and AVX-512.

#[allow(
    clippy::wildcard_imports,
    reason = "the names of the intrinsics say where they are from"
)]
use std::arch::x86_64::*;

use half::{bf16, f16};

use super::{Element, Kernel, Simd};

/// Eight lanes of AVX2; a value exists only inside [`run_avx2`].
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

/// Sixteen lanes of AVX-512; a value exists only inside [`run_avx512`].
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

/// Runs a kernel with AVX2.
///
/// # Safety
/// The processor must have AVX2, FMA and F16C.
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2(()))
}

/// Runs a kernel with AVX-512.
///
/// # Safety
/// The processor must have AVX-512 F, BW and VL, AVX2, FMA and F16C.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
pub(crate) unsafe fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512(()))
}

/// Adds the halves.
#[inline]
#[target_feature(enable = "avx")]
fn halves(a: __m256) -> __m128 {
    _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a))
}

/// Exchanges rows and columns of a square of 32 bits each.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn transpose_sixteen(rows: &mut [__m512i; 16]) {
    // Within each four columns: first pairs of rows, then fours.
    let mut pairs = *rows;
    for i in (0..16).step_by(2) {
        pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    let mut fours = pairs;
    for i in (0..16).step_by(4) {
        fours[i] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
        fours[i + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
        fours[i + 2] = _mm512_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
        fours[i + 3] = _mm512_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
    // Now fours of a row's columns lie in the order of the rows' fours.
    for j in 0..4 {
        let even = _mm512_shuffle_i32x4::<0x88>(fours[j], fours[4 + j]);
        let odd = _mm512_shuffle_i32x4::<0xdd>(fours[j], fours[4 + j]);
        let even_below = _mm512_shuffle_i32x4::<0x88>(fours[8 + j], fours[12 + j]);
        let odd_below = _mm512_shuffle_i32x4::<0xdd>(fours[8 + j], fours[12 + j]);
        rows[j] = _mm512_shuffle_i32x4::<0x88>(even, even_below);
        rows[4 + j] = _mm512_shuffle_i32x4::<0x88>(odd, odd_below);
        rows[8 + j] = _mm512_shuffle_i32x4::<0xdd>(even, even_below);
        rows[12 + j] = _mm512_shuffle_i32x4::<0xdd>(odd, odd_below);
    }
}

/// Returns the eight scales and the eight minima that [`unpack_scales`](crate::blocks::unpack_scales) finds in
/// the three words of each lane, as numbers.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn small_of_words([a, b, c]: [__m512i; 3]) -> ([__m512; 8], [__m512; 8]) {
    let (six, four) = (_mm512_set1_epi32(0x3f3f_3f3f), _mm512_set1_epi32(0x0f0f_0f0f));
    let two = _mm512_set1_epi32(0x3030_3030);
    let high_a = _mm512_and_si512(_mm512_srli_epi32::<2>(a), two);
    let high_b = _mm512_and_si512(_mm512_srli_epi32::<2>(b), two);
    let high_c = _mm512_and_si512(_mm512_srli_epi32::<4>(c), four);
    let words = [
        [_mm512_and_si512(a, six), _mm512_or_si512(_mm512_and_si512(c, four), high_a)],
        [_mm512_and_si512(b, six), _mm512_or_si512(high_c, high_b)],
    ];
    let mut found = [[_mm512_setzero_ps(); 8]; 2];
    let byte = _mm512_set1_epi32(255);
    for (found, words) in found.iter_mut().zip(words) {
        for (i, found) in found.iter_mut().enumerate() {
            let shift = _mm_cvtsi32_si128([0, 8, 16, 24][i % 4]);
            let word = _mm512_srl_epi32(words[i / 4], shift);
            *found = _mm512_cvtepi32_ps(_mm512_and_si512(word, byte));
        }
    }
    (found[0], found[1])
}

// SAFETY of every block below: a value of the vector type is the proof that the processor has the
// instructions, and loads and stores check the length of their slice first.

impl Simd for Avx2 {
    type V = __m256;
    const LANES: usize = 8;
    const TILE: (usize, usize) = (3, 3);
    const OUTER: (usize, usize) = (6, 2);

    #[inline(always)]
    fn apart<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: see above.
        unsafe { run_avx2(kernel) }
    }
    #[inline(always)]
    fn splat(self, value: f32) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_set1_ps(value) }
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::V {
        let from = &from[..8];
        // SAFETY: see above.
        unsafe { _mm256_loadu_ps(from.as_ptr()) }
    }
    #[inline(always)]
    fn load_bf16(self, from: &[bf16]) -> Self::V {
        let from = &from[..8];
        // SAFETY: see above; eight bf16 are 16 bytes.
        unsafe {
            let raw = _mm_loadu_si128(from.as_ptr().cast());
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(raw)))
        }
    }
    #[inline(always)]
    fn load_f16(self, from: &[f16]) -> Self::V {
        let from = &from[..8];
        // SAFETY: see above; eight f16 are 16 bytes.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().cast())) }
    }
    #[inline(always)]
    fn load_i8(self, from: &[u8]) -> Self::V {
        let from = &from[..8];
        // SAFETY: see above; eight bytes.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.as_ptr().cast()))) }
    }
    #[inline(always)]
    fn store(self, value: Self::V, to: &mut [f32]) {
        let to = &mut to[..8];
        // SAFETY: see above.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), value) }
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    fn sqrt(self, a: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_sqrt_ps(a) }
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn round(self, a: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    fn exp2_of_integer(self, a: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(a), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        }
    }
    #[inline(always)]
    fn sum(self, a: Self::V) -> f32 {
        // SAFETY: see above.
        unsafe {
            let b = _mm256_add_ps(a, _mm256_permute_ps::<0b01_00_11_10>(a));
            let c = _mm256_add_ps(b, _mm256_permute_ps::<0b10_11_00_01>(b));
            _mm_cvtss_f32(halves(c))
        }
    }
}

/// Returns a mask of the first lanes, fewer than all.
#[inline(always)]
fn few(lanes: usize) -> __mmask16 {
    assert!(lanes < 16);
    (1 << lanes) - 1
}

impl Simd for Avx512 {
    type V = __m512;
    const LANES: usize = 16;
    const TILE: (usize, usize) = (6, 4);
    const OUTER: (usize, usize) = (14, 2);

    #[inline(always)]
    fn apart<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: see above.
        unsafe { run_avx512(kernel) }
    }
    #[inline(always)]
    fn splat(self, value: f32) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::V {
        let from = &from[..16];
        // SAFETY: see above.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }
    #[inline(always)]
    fn load_bf16(self, from: &[bf16]) -> Self::V {
        let from = &from[..16];
        // SAFETY: see above; sixteen bf16 are 32 bytes.
        unsafe {
            let raw = _mm256_loadu_si256(from.as_ptr().cast());
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(raw)))
        }
    }
    #[inline(always)]
    fn load_f16(self, from: &[f16]) -> Self::V {
        let from = &from[..16];
        // SAFETY: see above; sixteen f16 are 32 bytes.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
    }
    #[inline(always)]
    fn load_i8(self, from: &[u8]) -> Self::V {
        let from = &from[..16];
        // SAFETY: see above; sixteen bytes.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.as_ptr().cast()))) }
    }
    #[inline(always)]
    fn store(self, value: Self::V, to: &mut [f32]) {
        let to = &mut to[..16];
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), value) }
    }
    #[inline(always)]
    fn load_few(self, from: &[f32], rest: f32) -> Self::V {
        let mask = few(from.len());
        // SAFETY: see above; the mask has a bit for each element, and others are not touched.
        unsafe { _mm512_mask_loadu_ps(_mm512_set1_ps(rest), mask, from.as_ptr()) }
    }
    #[inline(always)]
    fn store_few(self, value: Self::V, to: &mut [f32]) {
        let mask = few(to.len());
        // SAFETY: as in `load_few`.
        unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), mask, value) }
    }
    #[inline(always)]
    fn largest(self, a: Self::V) -> f32 {
        // SAFETY: see above.
        unsafe { _mm512_reduce_max_ps(a) }
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn sqrt(self, a: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm512_sqrt_ps(a) }
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn round(self, a: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    fn exp2_of_integer(self, a: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe {
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(a), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        }
    }
    #[inline(always)]
    fn sum(self, a: Self::V) -> f32 {
        // SAFETY: see above.
        unsafe {
            let b = _mm512_add_ps(a, _mm512_permute_ps::<0b01_00_11_10>(a));
            let c = _mm512_add_ps(b, _mm512_permute_ps::<0b10_11_00_01>(b));
            let (low, high) = (
                _mm512_castps512_ps256(c),
                _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(c))),
            );
            _mm_cvtss_f32(halves(_mm256_add_ps(low, high)))
        }
    }
    #[inline(always)]
    fn transpose<E: Element>(self, rows: &[&[E]; 16], to: &mut [f32], stride: usize) {
        let to = &mut to[..15 * stride + 16];
        // SAFETY: see above.
        unsafe {
            let mut square = [_mm512_setzero_si512(); 16];
            for (square, row) in square.iter_mut().zip(rows) {
                *square = _mm512_castps_si512(E::load(self, row));
            }
            transpose_sixteen(&mut square);
            for (i, square) in square.into_iter().enumerate() {
                self.store(_mm512_castsi512_ps(square), &mut to[i * stride..]);
            }
        }
    }
    #[inline(always)]
    fn sums(self, [a, b, c, d]: [Self::V; 4]) -> [f32; 4] {
        // SAFETY: see above.
        unsafe {
            // Lanes 0 + 2 and 1 + 3 of each four, of two vectors in turn.
            let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
            let (even, odd) = (
                _mm512_shuffle_ps::<0b01_00_01_00>(ab, cd),
                _mm512_shuffle_ps::<0b11_10_11_10>(ab, cd),
            );
            let four = _mm512_add_ps(even, odd);
            let (low, high) = (
                _mm512_castps512_ps256(four),
                _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(four))),
            );
            let mut sums = [0.0; 4];
            _mm_storeu_ps(sums.as_mut_ptr(), halves(_mm256_add_ps(low, high)));
            sums
        }
    }
}
