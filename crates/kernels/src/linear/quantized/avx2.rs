//! AVX2, without and with VNNI.

#[allow(
    clippy::wildcard_imports,
    reason = "the names of the intrinsics say where they are from"
)]
use std::arch::x86_64::*;

use super::dots::{Dots, Work};

/// Two vectors of AVX2, with dot products of bytes if `VNNI`; a value exists only inside
/// [`run_avx2`] or [`run_avx_vnni`].
#[derive(Clone, Copy)]
pub(super) struct Avx2<const VNNI: bool>(());

/// Runs with AVX2.
///
/// # Safety
/// The processor must have AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn run_avx2<W: Work>(work: W) {
    work.run(Avx2::<false>(()));
}

/// Runs with AVX2 and its VNNI.
///
/// # Safety
/// The processor must have AVX2, AVX-VNNI, FMA and F16C.
#[target_feature(enable = "avx2,avxvnni,fma,f16c")]
pub(super) unsafe fn run_avx_vnni<W: Work>(work: W) {
    work.run(Avx2::<true>(()));
}

// SAFETY of every block below: a value of the vector type is the proof that the processor has the
// instructions, and references to arrays are as long as what is read or written.

/// Returns the sums of each half of four vectors: lane `i` of half `h` is that of vector `i`.
#[inline]
#[target_feature(enable = "avx2")]
fn sums_of_quarters([a, b, c, d]: [__m256i; 4]) -> __m256i {
    let ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let cd = _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd))
}

/// Exchanges rows and columns of a square of eight fours of bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose_eight(rows: &mut [__m256i; 8]) {
    let mut pairs = *rows;
    for i in (0..8).step_by(2) {
        pairs[i] = _mm256_unpacklo_epi32(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    let mut fours = pairs;
    for i in (0..8).step_by(4) {
        fours[i] = _mm256_unpacklo_epi64(pairs[i], pairs[i + 2]);
        fours[i + 1] = _mm256_unpackhi_epi64(pairs[i], pairs[i + 2]);
        fours[i + 2] = _mm256_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
        fours[i + 3] = _mm256_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
    for i in 0..4 {
        rows[i] = _mm256_permute2x128_si256::<0x20>(fours[i], fours[4 + i]);
        rows[4 + i] = _mm256_permute2x128_si256::<0x31>(fours[i], fours[4 + i]);
    }
}

/// Returns the numbers in two vectors.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn halves_of(bits: [u16; 16]) -> [__m128i; 2] {
    let b = bits.map(u16::cast_signed);
    [
        _mm_set_epi16(b[7], b[6], b[5], b[4], b[3], b[2], b[1], b[0]),
        _mm_set_epi16(b[15], b[14], b[13], b[12], b[11], b[10], b[9], b[8]),
    ]
}

/// Returns the bits of two numbers as those of one, which a vector is filled with at once.
#[inline(always)]
pub(super) fn two_in_one(a: f32, b: f32) -> f64 {
    f64::from_bits(u64::from(b.to_bits()) << 32 | u64::from(a.to_bits()))
}

impl<const VNNI: bool> Dots for Avx2<VNNI> {
    type B = [__m256i; 2];
    type I = [__m256i; 2];
    type F = [__m256; 2];
    const SIGNED: bool = !VNNI;
    const TILE: (usize, usize) = (2, 1);

    #[inline(always)]
    fn bytes(self, from: &[u8; 64]) -> Self::B {
        // SAFETY: see above.
        unsafe {
            let from = from.as_ptr();
            [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())]
        }
    }
    #[inline(always)]
    fn put_bytes(self, value: Self::B, to: &mut [u8; 64]) {
        // SAFETY: see above.
        unsafe {
            let to = to.as_mut_ptr();
            _mm256_storeu_si256(to.cast(), value[0]);
            _mm256_storeu_si256(to.add(32).cast(), value[1]);
        }
    }
    #[inline(always)]
    fn join(self, low: &[u8; 32], high: &[u8; 32]) -> Self::B {
        // SAFETY: see above.
        unsafe {
            [_mm256_loadu_si256(low.as_ptr().cast()), _mm256_loadu_si256(high.as_ptr().cast())]
        }
    }
    #[inline(always)]
    fn split(self, a: Self::B) -> [Self::B; 2] {
        // SAFETY: see above.
        unsafe {
            let mask = _mm256_set1_epi8(15);
            let low = |a| _mm256_and_si256(a, mask);
            let high = |a| _mm256_and_si256(_mm256_srli_epi16::<4>(a), mask);
            [[low(a[0]), low(a[1])], [high(a[0]), high(a[1])]]
        }
    }
    #[inline(always)]
    fn nibbles(self, from: &[u8; 32]) -> Self::B {
        // SAFETY: see above.
        unsafe {
            let from = _mm256_loadu_si256(from.as_ptr().cast());
            let mask = _mm256_set1_epi8(15);
            [_mm256_and_si256(from, mask), _mm256_and_si256(_mm256_srli_epi16::<4>(from), mask)]
        }
    }
    #[inline(always)]
    fn nibbles_of_two(self, a: &[u8; 16], b: &[u8; 16]) -> Self::B {
        // SAFETY: see above.
        unsafe {
            let a = _mm_loadu_si128(a.as_ptr().cast());
            let b = _mm_loadu_si128(b.as_ptr().cast());
            let mask = _mm256_set1_epi8(15);
            let a = _mm256_set_m128i(_mm_srli_epi16::<4>(a), a);
            let b = _mm256_set_m128i(_mm_srli_epi16::<4>(b), b);
            [_mm256_and_si256(a, mask), _mm256_and_si256(b, mask)]
        }
    }
    #[inline(always)]
    fn six_bits(self, low: &[u8; 64], high: &[u8; 32]) -> [Self::B; 2] {
        // SAFETY: see above.
        unsafe {
            let [low, more] = self.bytes(low);
            let high = _mm256_loadu_si256(high.as_ptr().cast());
            let (mask, top) = (_mm256_set1_epi8(15), _mm256_set1_epi8(48));
            let or = |low, high| {
                _mm256_or_si256(_mm256_and_si256(low, mask), _mm256_and_si256(high, top))
            };
            let shifted = |low| _mm256_srli_epi16::<4>(low);
            [
                [or(low, _mm256_slli_epi16::<4>(high)), or(more, _mm256_slli_epi16::<2>(high))],
                [or(shifted(low), high), or(shifted(more), _mm256_srli_epi16::<2>(high))],
            ]
        }
    }
    #[inline(always)]
    fn or_fifth(self, low: Self::B, high: &[u8; 32], pair: usize) -> Self::B {
        // SAFETY: see above.
        unsafe {
            let high = _mm256_loadu_si256(high.as_ptr().cast());
            let sixteen = _mm256_set1_epi8(16);
            let fifth = |bit: u8| {
                let bit = _mm256_set1_epi8((1_u8 << bit).cast_signed());
                let is_set = _mm256_cmpeq_epi8(_mm256_and_si256(high, bit), bit);
                _mm256_and_si256(is_set, sixteen)
            };
            let bit = 2 * pair as u8;
            [_mm256_or_si256(low[0], fifth(bit)), _mm256_or_si256(low[1], fifth(bit + 1))]
        }
    }
    #[inline(always)]
    fn flip(self, a: Self::B) -> Self::B {
        // SAFETY: see above.
        unsafe {
            let top = _mm256_set1_epi8(-128);
            [_mm256_xor_si256(a[0], top), _mm256_xor_si256(a[1], top)]
        }
    }
    #[inline(always)]
    fn four(self, from: [u8; 4]) -> Self::B {
        // SAFETY: see above.
        unsafe {
            let four = _mm256_set1_epi32(i32::from_le_bytes(from));
            [four, four]
        }
    }
    #[inline(always)]
    fn eight(self, from: [u8; 8]) -> Self::B {
        // SAFETY: see above.
        unsafe { [_mm256_set1_epi64x(i64::from_le_bytes(from)); 2] }
    }
    #[inline(always)]
    fn interleave(self, a: Self::B) -> Self::B {
        // SAFETY: see above.
        unsafe {
            let low = _mm256_unpacklo_epi32(a[0], a[1]);
            let high = _mm256_unpackhi_epi32(a[0], a[1]);
            [
                _mm256_permute2x128_si256::<0x20>(low, high),
                _mm256_permute2x128_si256::<0x31>(low, high),
            ]
        }
    }
    #[inline(always)]
    fn two(self, [a, b]: [f32; 2]) -> Self::F {
        // SAFETY: see above.
        unsafe {
            let two = _mm256_set1_pd(two_in_one(a, b));
            [_mm256_castpd_ps(two); 2]
        }
    }
    #[inline(always)]
    fn transpose(self, rows: &mut [Self::B; 16]) {
        // SAFETY: see above. Squares of eight fours each, of which two change places.
        unsafe {
            let mut squares = [[_mm256_setzero_si256(); 8]; 4];
            for i in 0..8 {
                squares[0][i] = rows[i][0];
                squares[1][i] = rows[8 + i][0];
                squares[2][i] = rows[i][1];
                squares[3][i] = rows[8 + i][1];
            }
            for square in &mut squares {
                transpose_eight(square);
            }
            for i in 0..8 {
                rows[i] = [squares[0][i], squares[1][i]];
                rows[8 + i] = [squares[2][i], squares[3][i]];
            }
        }
    }
    #[inline(always)]
    fn transpose_floats(self, rows: &mut [Self::F; 16]) {
        // SAFETY: see above.
        unsafe {
            let mut fours = [[_mm256_setzero_si256(); 2]; 16];
            for i in 0..16 {
                fours[i] = [_mm256_castps_si256(rows[i][0]), _mm256_castps_si256(rows[i][1])];
            }
            self.transpose(&mut fours);
            for i in 0..16 {
                rows[i] = [_mm256_castsi256_ps(fours[i][0]), _mm256_castsi256_ps(fours[i][1])];
            }
        }
    }
    #[inline(always)]
    fn dot(self, sums: Self::I, a: Self::B, b: Self::B) -> Self::I {
        // SAFETY: see above.
        unsafe {
            if VNNI {
                return [
                    _mm256_dpbusd_avx_epi32(sums[0], a[0], b[0]),
                    _mm256_dpbusd_avx_epi32(sums[1], a[1], b[1]),
                ];
            }
            let ones = _mm256_set1_epi16(1);
            let low = _mm256_madd_epi16(_mm256_maddubs_epi16(a[0], b[0]), ones);
            let high = _mm256_madd_epi16(_mm256_maddubs_epi16(a[1], b[1]), ones);
            [_mm256_add_epi32(sums[0], low), _mm256_add_epi32(sums[1], high)]
        }
    }
    #[inline(always)]
    fn dot_signed(self, sums: Self::I, a: Self::B, b: Self::B) -> Self::I {
        // SAFETY: see above.
        unsafe {
            // The sign goes to the other factor, so that sums of two products fit into 16 bits.
            let (low, high) = (_mm256_sign_epi8(b[0], a[0]), _mm256_sign_epi8(b[1], a[1]));
            self.dot(sums, [_mm256_abs_epi8(a[0]), _mm256_abs_epi8(a[1])], [low, high])
        }
    }
    #[inline(always)]
    fn quarters(self, a: [Self::I; 4]) -> Self::I {
        // SAFETY: see above.
        unsafe {
            // Blocks 0 to 3 and 4 to 7 of the eight.
            [
                sums_of_quarters([a[0][0], a[0][1], a[1][0], a[1][1]]),
                sums_of_quarters([a[2][0], a[2][1], a[3][0], a[3][1]]),
            ]
        }
    }
    #[inline(always)]
    fn halves(self, a: Self::I, b: Self::I) -> (Self::I, Self::I) {
        // SAFETY: see above.
        unsafe {
            let first = [
                _mm256_permute2x128_si256::<0x20>(a[0], a[1]),
                _mm256_permute2x128_si256::<0x20>(b[0], b[1]),
            ];
            let second = [
                _mm256_permute2x128_si256::<0x31>(a[0], a[1]),
                _mm256_permute2x128_si256::<0x31>(b[0], b[1]),
            ];
            (first, second)
        }
    }
    #[inline(always)]
    fn int(self, value: i32) -> Self::I {
        // SAFETY: see above.
        unsafe { [_mm256_set1_epi32(value); 2] }
    }
    #[inline(always)]
    fn ints(self, from: &[i32; 16]) -> Self::I {
        // SAFETY: see above.
        unsafe {
            let from = from.as_ptr();
            [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(8).cast())]
        }
    }
    #[inline(always)]
    fn add_ints(self, a: Self::I, b: Self::I) -> Self::I {
        // SAFETY: see above.
        unsafe { [_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])] }
    }
    #[inline(always)]
    fn to_f32(self, a: Self::I) -> Self::F {
        // SAFETY: see above.
        unsafe { [_mm256_cvtepi32_ps(a[0]), _mm256_cvtepi32_ps(a[1])] }
    }
    #[inline(always)]
    fn float(self, value: f32) -> Self::F {
        // SAFETY: see above.
        unsafe { [_mm256_set1_ps(value); 2] }
    }
    #[inline(always)]
    fn floats(self, from: &[f32; 16]) -> Self::F {
        // SAFETY: see above.
        unsafe { [_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from.as_ptr().add(8))] }
    }
    #[inline(always)]
    fn put_floats(self, value: Self::F, to: &mut [f32; 16]) {
        // SAFETY: see above.
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), value[0]);
            _mm256_storeu_ps(to.as_mut_ptr().add(8), value[1]);
        }
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: see above.
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: see above.
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // SAFETY: see above.
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }
    #[inline(always)]
    fn sub_mul(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // SAFETY: see above.
        unsafe { [_mm256_fnmadd_ps(a[0], b[0], c[0]), _mm256_fnmadd_ps(a[1], b[1], c[1])] }
    }
    #[inline(always)]
    fn widen(self, bits: [u16; 16]) -> Self::F {
        // SAFETY: see above.
        unsafe {
            let [low, high] = halves_of(bits);
            [_mm256_cvtph_ps(low), _mm256_cvtph_ps(high)]
        }
    }
    #[inline(always)]
    fn widen_two(self, low: u16, high: u16) -> Self::F {
        // SAFETY: see above.
        unsafe {
            let both =
                _mm_cvtph_ps(_mm_set1_epi32(i32::from(high.cast_signed()) << 16 | i32::from(low)));
            let (low, high) = (both, _mm_permute_ps::<1>(both));
            [_mm256_broadcastss_ps(low), _mm256_broadcastss_ps(high)]
        }
    }
    #[inline(always)]
    fn small(self, low: u64, high: u64) -> Self::F {
        // SAFETY: see above.
        unsafe {
            let of = |bytes: u64| {
                let bytes = _mm_cvtsi64_si128(bytes.cast_signed());
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes))
            };
            [of(low), of(high)]
        }
    }
    #[inline(always)]
    fn signed_pairs(self, low: &[u8; 16], high: &[u8; 16]) -> (Self::F, Self::F) {
        // SAFETY: see above.
        unsafe {
            let low = _mm256_cvtepi16_epi32(_mm_loadu_si128(low.as_ptr().cast()));
            let high = _mm256_cvtepi16_epi32(_mm_loadu_si128(high.as_ptr().cast()));
            let even = |a| _mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(_mm256_slli_epi32::<24>(a)));
            let odd = |a| _mm256_cvtepi32_ps(_mm256_srai_epi32::<8>(a));
            ([even(low), even(high)], [odd(low), odd(high)])
        }
    }
}
