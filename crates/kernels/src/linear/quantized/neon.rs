//! NEON, without and with dot products of bytes.

#[allow(
    clippy::wildcard_imports,
    reason = "the names of the intrinsics say where they are from"
)]
use std::arch::aarch64::*;
use std::arch::asm;

use super::dots::{Dots, Work};
use crate::simd::neon::widen_halves;

/// Four vectors of NEON, with dot products of bytes if `DOTPROD`; such a value exists only inside
/// [`run_dotprod`].
#[derive(Clone, Copy)]
pub(super) struct Neon<const DOTPROD: bool>(());

/// Runs with NEON.
pub(super) fn run<W: Work>(work: W) {
    work.run(Neon::<false>(()));
}

/// Runs with NEON and its dot products.
///
/// # Safety
/// The processor must have the dot products.
#[target_feature(enable = "dotprod")]
pub(super) unsafe fn run_dotprod<W: Work>(work: W) {
    work.run(Neon::<true>(()));
}

// SAFETY of every block below: every processor of the architecture has NEON, a value of the type
// with dot products is the proof that this one has them, and references to arrays are as long as
// what is read or written.

/// Makes four of something.
#[inline(always)]
fn four<T>(make: impl Fn(usize) -> T) -> [T; 4] {
    [make(0), make(1), make(2), make(3)]
}

/// Exchanges rows and columns of four vectors of four.
#[inline(always)]
fn transpose_four([a, b, c, d]: [uint32x4_t; 4]) -> [uint32x4_t; 4] {
    // SAFETY: see above.
    unsafe {
        let (ab, ab_odd) = (vtrn1q_u32(a, b), vtrn2q_u32(a, b));
        let (cd, cd_odd) = (vtrn1q_u32(c, d), vtrn2q_u32(c, d));
        let pair = |x, y| (vreinterpretq_u64_u32(x), vreinterpretq_u64_u32(y));
        let low = |(x, y)| vreinterpretq_u32_u64(vtrn1q_u64(x, y));
        let high = |(x, y)| vreinterpretq_u32_u64(vtrn2q_u64(x, y));
        [
            low(pair(ab, cd)),
            low(pair(ab_odd, cd_odd)),
            high(pair(ab, cd)),
            high(pair(ab_odd, cd_odd)),
        ]
    }
}

/// Exchanges rows and columns of a square of sixteen numbers of 32 bits.
#[inline(always)]
fn transpose(rows: &mut [[uint32x4_t; 4]; 16]) {
    let old = *rows;
    for r in 0..4 {
        for c in 0..4 {
            let square = transpose_four(four(|i| old[4 * r + i][c]));
            for (i, row) in square.into_iter().enumerate() {
                rows[4 * c + i][r] = row;
            }
        }
    }
}

/// Adds the products of sixteen bytes with signs, four to a sum.
#[inline(always)]
fn dot_sixteen<const DOTPROD: bool>(sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    if DOTPROD {
        let mut sum = sum;
        // SAFETY: see above; the instruction only computes in registers.
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
                sum = inout(vreg) sum,
                a = in(vreg) a,
                b = in(vreg) b,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        return sum;
    }
    // SAFETY: see above. The factors are above -128, so that two products fit into 16 bits.
    unsafe {
        let low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
        let high = vmull_high_s8(a, b);
        vpadalq_s16(sum, vpaddq_s16(low, high))
    }
}

impl<const DOTPROD: bool> Dots for Neon<DOTPROD> {
    type B = [uint8x16_t; 4];
    type I = [int32x4_t; 4];
    type F = [float32x4_t; 4];
    const SIGNED: bool = true;
    const TILE: (usize, usize) = (2, 1);

    #[inline(always)]
    fn bytes(self, from: &[u8; 64]) -> Self::B {
        // SAFETY: see above.
        four(|i| unsafe { vld1q_u8(from.as_ptr().add(16 * i)) })
    }
    #[inline(always)]
    fn put_bytes(self, value: Self::B, to: &mut [u8; 64]) {
        for (i, value) in value.into_iter().enumerate() {
            // SAFETY: see above.
            unsafe { vst1q_u8(to.as_mut_ptr().add(16 * i), value) }
        }
    }
    #[inline(always)]
    fn join(self, low: &[u8; 32], high: &[u8; 32]) -> Self::B {
        four(|i| {
            let from = if i < 2 { low } else { high };
            // SAFETY: see above.
            unsafe { vld1q_u8(from.as_ptr().add(i % 2 * 16)) }
        })
    }
    #[inline(always)]
    fn split(self, a: Self::B) -> [Self::B; 2] {
        // SAFETY: see above.
        unsafe { [four(|i| vandq_u8(a[i], vdupq_n_u8(15))), four(|i| vshrq_n_u8::<4>(a[i]))] }
    }
    #[inline(always)]
    fn nibbles(self, from: &[u8; 32]) -> Self::B {
        // SAFETY: see above.
        unsafe {
            let (a, b) = (vld1q_u8(from.as_ptr()), vld1q_u8(from.as_ptr().add(16)));
            let mask = vdupq_n_u8(15);
            [vandq_u8(a, mask), vandq_u8(b, mask), vshrq_n_u8::<4>(a), vshrq_n_u8::<4>(b)]
        }
    }
    #[inline(always)]
    fn nibbles_of_two(self, a: &[u8; 16], b: &[u8; 16]) -> Self::B {
        // SAFETY: see above.
        unsafe {
            let (a, b) = (vld1q_u8(a.as_ptr()), vld1q_u8(b.as_ptr()));
            let mask = vdupq_n_u8(15);
            [vandq_u8(a, mask), vshrq_n_u8::<4>(a), vandq_u8(b, mask), vshrq_n_u8::<4>(b)]
        }
    }
    #[inline(always)]
    fn six_bits(self, low: &[u8; 64], high: &[u8; 32]) -> [Self::B; 2] {
        let low = self.bytes(low);
        // SAFETY: see above.
        unsafe {
            let high = [vld1q_u8(high.as_ptr()), vld1q_u8(high.as_ptr().add(16))];
            let (mask, top) = (vdupq_n_u8(15), vdupq_n_u8(48));
            let or = |low, high| vorrq_u8(vandq_u8(low, mask), vandq_u8(high, top));
            [
                [
                    or(low[0], vshlq_n_u8::<4>(high[0])),
                    or(low[1], vshlq_n_u8::<4>(high[1])),
                    or(low[2], vshlq_n_u8::<2>(high[0])),
                    or(low[3], vshlq_n_u8::<2>(high[1])),
                ],
                [
                    or(vshrq_n_u8::<4>(low[0]), high[0]),
                    or(vshrq_n_u8::<4>(low[1]), high[1]),
                    or(vshrq_n_u8::<4>(low[2]), vshrq_n_u8::<2>(high[0])),
                    or(vshrq_n_u8::<4>(low[3]), vshrq_n_u8::<2>(high[1])),
                ],
            ]
        }
    }
    #[inline(always)]
    fn or_fifth(self, low: Self::B, high: &[u8; 32], pair: usize) -> Self::B {
        // SAFETY: see above.
        unsafe {
            let high = [vld1q_u8(high.as_ptr()), vld1q_u8(high.as_ptr().add(16))];
            let sixteen = vdupq_n_u8(16);
            four(|i| {
                let bit = vdupq_n_u8(1 << (2 * pair + i / 2));
                vorrq_u8(low[i], vandq_u8(vtstq_u8(high[i % 2], bit), sixteen))
            })
        }
    }
    #[inline(always)]
    fn flip(self, a: Self::B) -> Self::B {
        // SAFETY: see above.
        four(|i| unsafe { veorq_u8(a[i], vdupq_n_u8(128)) })
    }
    #[inline(always)]
    fn four(self, from: [u8; 4]) -> Self::B {
        // SAFETY: see above.
        unsafe { [vreinterpretq_u8_u32(vdupq_n_u32(u32::from_le_bytes(from))); 4] }
    }
    #[inline(always)]
    fn transpose(self, rows: &mut [Self::B; 16]) {
        // SAFETY: see above.
        unsafe {
            let mut square = [[vdupq_n_u32(0); 4]; 16];
            for (to, row) in square.iter_mut().zip(&*rows) {
                *to = four(|i| vreinterpretq_u32_u8(row[i]));
            }
            transpose(&mut square);
            for (row, from) in rows.iter_mut().zip(square) {
                *row = four(|i| vreinterpretq_u8_u32(from[i]));
            }
        }
    }
    #[inline(always)]
    fn transpose_floats(self, rows: &mut [Self::F; 16]) {
        // SAFETY: see above.
        unsafe {
            let mut square = [[vdupq_n_u32(0); 4]; 16];
            for (to, row) in square.iter_mut().zip(&*rows) {
                *to = four(|i| vreinterpretq_u32_f32(row[i]));
            }
            transpose(&mut square);
            for (row, from) in rows.iter_mut().zip(square) {
                *row = four(|i| vreinterpretq_f32_u32(from[i]));
            }
        }
    }
    #[inline(always)]
    fn dot(self, sums: Self::I, a: Self::B, b: Self::B) -> Self::I {
        // Bytes without sign are below 64 here, and the same with one.
        self.dot_signed(sums, a, b)
    }
    #[inline(always)]
    fn dot_signed(self, sums: Self::I, a: Self::B, b: Self::B) -> Self::I {
        // SAFETY: see above.
        unsafe {
            four(|i| {
                let (a, b) = (vreinterpretq_s8_u8(a[i]), vreinterpretq_s8_u8(b[i]));
                dot_sixteen::<DOTPROD>(sums[i], a, b)
            })
        }
    }
    #[inline(always)]
    fn quarters(self, a: [Self::I; 4]) -> Self::I {
        // SAFETY: see above.
        unsafe { four(|q| vpaddq_s32(vpaddq_s32(a[0][q], a[1][q]), vpaddq_s32(a[2][q], a[3][q]))) }
    }
    #[inline(always)]
    fn halves(self, a: Self::I, b: Self::I) -> (Self::I, Self::I) {
        // SAFETY: see above. Lane `i` of a quarter is of vector `i`, whose two blocks' first halves
        // are quarters 0 and 2.
        unsafe {
            let zipped = |x: usize, y: usize| {
                [
                    vzip1q_s32(a[x], a[y]),
                    vzip2q_s32(a[x], a[y]),
                    vzip1q_s32(b[x], b[y]),
                    vzip2q_s32(b[x], b[y]),
                ]
            };
            (zipped(0, 2), zipped(1, 3))
        }
    }
    #[inline(always)]
    fn int(self, value: i32) -> Self::I {
        // SAFETY: see above.
        unsafe { [vdupq_n_s32(value); 4] }
    }
    #[inline(always)]
    fn ints(self, from: &[i32; 16]) -> Self::I {
        // SAFETY: see above.
        four(|i| unsafe { vld1q_s32(from.as_ptr().add(4 * i)) })
    }
    #[inline(always)]
    fn add_ints(self, a: Self::I, b: Self::I) -> Self::I {
        // SAFETY: see above.
        four(|i| unsafe { vaddq_s32(a[i], b[i]) })
    }
    #[inline(always)]
    fn to_f32(self, a: Self::I) -> Self::F {
        // SAFETY: see above.
        four(|i| unsafe { vcvtq_f32_s32(a[i]) })
    }
    #[inline(always)]
    fn float(self, value: f32) -> Self::F {
        // SAFETY: see above.
        unsafe { [vdupq_n_f32(value); 4] }
    }
    #[inline(always)]
    fn floats(self, from: &[f32; 16]) -> Self::F {
        // SAFETY: see above.
        four(|i| unsafe { vld1q_f32(from.as_ptr().add(4 * i)) })
    }
    #[inline(always)]
    fn put_floats(self, value: Self::F, to: &mut [f32; 16]) {
        for (i, value) in value.into_iter().enumerate() {
            // SAFETY: see above.
            unsafe { vst1q_f32(to.as_mut_ptr().add(4 * i), value) }
        }
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: see above.
        four(|i| unsafe { vaddq_f32(a[i], b[i]) })
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: see above.
        four(|i| unsafe { vmulq_f32(a[i], b[i]) })
    }
    #[inline(always)]
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // SAFETY: see above.
        four(|i| unsafe { vfmaq_f32(c[i], a[i], b[i]) })
    }
    #[inline(always)]
    fn sub_mul(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // SAFETY: see above.
        four(|i| unsafe { vfmsq_f32(c[i], a[i], b[i]) })
    }
    #[inline(always)]
    fn widen(self, bits: [u16; 16]) -> Self::F {
        // SAFETY: see above.
        unsafe {
            let low = widen_halves(vld1q_u16(bits.as_ptr()));
            let high = widen_halves(vld1q_u16(bits.as_ptr().add(8)));
            [low[0], low[1], high[0], high[1]]
        }
    }
    #[inline(always)]
    fn widen_two(self, low: u16, high: u16) -> Self::F {
        // SAFETY: see above.
        unsafe {
            let [low, _] = widen_halves(vdupq_n_u16(low));
            let [high, _] = widen_halves(vdupq_n_u16(high));
            [low, low, high, high]
        }
    }
    #[inline(always)]
    fn small(self, low: u64, high: u64) -> Self::F {
        // SAFETY: see above.
        unsafe {
            let of = |bytes: u64| {
                let wide = vmovl_u8(vcreate_u8(bytes));
                let (low, high) = (vmovl_u16(vget_low_u16(wide)), vmovl_high_u16(wide));
                [vcvtq_f32_u32(low), vcvtq_f32_u32(high)]
            };
            let (low, high) = (of(low), of(high));
            [low[0], low[1], high[0], high[1]]
        }
    }
    #[inline(always)]
    fn signed_pairs(self, low: &[u8; 16], high: &[u8; 16]) -> (Self::F, Self::F) {
        // SAFETY: see above.
        unsafe {
            let of = |bytes: int8x8_t| {
                let wide = vmovl_s8(bytes);
                let (low, high) = (vmovl_s16(vget_low_s16(wide)), vmovl_high_s16(wide));
                [vcvtq_f32_s32(low), vcvtq_f32_s32(high)]
            };
            let low = vreinterpretq_s8_u8(vld1q_u8(low.as_ptr()));
            let high = vreinterpretq_s8_u8(vld1q_u8(high.as_ptr()));
            let even = vuzp1q_s8(low, high);
            let odd = vuzp2q_s8(low, high);
            let all = |bytes: int8x16_t| {
                let (low, high) = (of(vget_low_s8(bytes)), of(vget_high_s8(bytes)));
                [low[0], low[1], high[0], high[1]]
            };
            (all(even), all(odd))
        }
    }
}
