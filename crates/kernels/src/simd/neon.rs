//! NEON.

#[allow(
    clippy::wildcard_imports,
    reason = "the names of the intrinsics say where they are from"
)]
use std::arch::aarch64::*;
use std::arch::asm;

use half::{bf16, f16};

use super::{Kernel, Simd};

/// Eight lanes in two vectors of NEON, which every processor of the architecture has.
#[derive(Clone, Copy)]
pub(crate) struct Neon;

/// Runs a kernel with NEON.
#[inline(never)]
pub(crate) fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Neon)
}

/// Applies an instruction to both vectors of each operand.
macro_rules! each {
    ($instruction:ident($($operand:expr),+)) => {
        // SAFETY: every processor of the architecture has NEON.
        unsafe { [$instruction($($operand[0]),+), $instruction($($operand[1]),+)] }
    };
}

// SAFETY of every block below: every processor of the architecture has NEON, and loads and stores
// check the length of their slice first.

impl Simd for Neon {
    type V = [float32x4_t; 2];
    const LANES: usize = 8;
    const TILE: (usize, usize) = (3, 3);
    const OUTER: (usize, usize) = (6, 2);

    #[inline(always)]
    fn apart<K: Kernel>(self, kernel: K) -> K::Output {
        run(kernel)
    }
    #[inline(always)]
    fn splat(self, value: f32) -> Self::V {
        // SAFETY: see above.
        unsafe { [vdupq_n_f32(value); 2] }
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::V {
        let from = &from[..8];
        // SAFETY: see above.
        unsafe { [vld1q_f32(from.as_ptr()), vld1q_f32(from.as_ptr().add(4))] }
    }
    #[inline(always)]
    fn load_bf16(self, from: &[bf16]) -> Self::V {
        let from = &from[..8];
        // SAFETY: see above; eight bf16 are 16 bytes.
        unsafe {
            let raw = vld1q_u16(from.as_ptr().cast());
            let (low, high) = (vshll_n_u16::<16>(vget_low_u16(raw)), vshll_high_n_u16::<16>(raw));
            [vreinterpretq_f32_u32(low), vreinterpretq_f32_u32(high)]
        }
    }
    #[inline(always)]
    fn load_f16(self, from: &[f16]) -> Self::V {
        let from = &from[..8];
        // SAFETY: see above; eight f16 are 16 bytes.
        unsafe { widen_halves(vld1q_u16(from.as_ptr().cast())) }
    }
    #[inline(always)]
    fn load_i8(self, from: &[u8]) -> Self::V {
        let from = &from[..8];
        // SAFETY: see above; eight bytes.
        unsafe {
            let wide = vmovl_s8(vreinterpret_s8_u8(vld1_u8(from.as_ptr())));
            let (low, high) = (vmovl_s16(vget_low_s16(wide)), vmovl_high_s16(wide));
            [vcvtq_f32_s32(low), vcvtq_f32_s32(high)]
        }
    }
    #[inline(always)]
    fn store(self, value: Self::V, to: &mut [f32]) {
        let to = &mut to[..8];
        // SAFETY: see above.
        unsafe {
            vst1q_f32(to.as_mut_ptr(), value[0]);
            vst1q_f32(to.as_mut_ptr().add(4), value[1]);
        }
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        each!(vaddq_f32(a, b))
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        each!(vsubq_f32(a, b))
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        each!(vmulq_f32(a, b))
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        each!(vdivq_f32(a, b))
    }
    #[inline(always)]
    fn sqrt(self, a: Self::V) -> Self::V {
        each!(vsqrtq_f32(a))
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        // Not the instruction of that name, which makes no number of `a` that is none.
        let larger = each!(vcgtq_f32(a, b));
        each!(vbslq_f32(larger, a, b))
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        let smaller = each!(vcltq_f32(a, b));
        each!(vbslq_f32(smaller, a, b))
    }
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each!(vfmaq_f32(c, a, b))
    }
    #[inline(always)]
    fn round(self, a: Self::V) -> Self::V {
        each!(vrndnq_f32(a))
    }
    #[inline(always)]
    fn exp2_of_integer(self, a: Self::V) -> Self::V {
        // SAFETY: see above.
        let bias = unsafe { [vdupq_n_s32(127); 2] };
        let integers = each!(vcvtnq_s32_f32(a));
        let biased = each!(vaddq_s32(integers, bias));
        // SAFETY: see above.
        unsafe {
            let float = |biased| vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased));
            [float(biased[0]), float(biased[1])]
        }
    }
    #[inline(always)]
    fn sum(self, a: Self::V) -> f32 {
        let four = |a: float32x4_t| {
            // SAFETY: see above.
            unsafe { vaddv_f32(vadd_f32(vget_low_f32(a), vget_high_f32(a))) }
        };
        four(a[0]) + four(a[1])
    }
}

/// Widens numbers in half precision.
#[inline(always)]
pub(crate) fn widen_halves(halves: uint16x8_t) -> [float32x4_t; 2] {
    let (low, high);
    // SAFETY: see above; the instructions only compute in registers. The intrinsics for them need a
    // type that the language has not settled yet.
    unsafe {
        asm!(
            "fcvtl {low:v}.4s, {from:v}.4h",
            "fcvtl2 {high:v}.4s, {from:v}.8h",
            from = in(vreg) halves,
            low = out(vreg) low,
            high = lateout(vreg) high,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    [low, high]
}
