//! Gradients of the activations.

use crate::activation::Normal;
use crate::parallel::{chunks, chunks_mut, for_each};
use crate::simd::{Kernel, Simd, dispatch, load_some, store_some};

/// Elements of a task; whole vectors.
const TASK: usize = 1 << 13;

/// Writes `dy gelu'(x)` of [`gelu_tanh`](crate::gelu_tanh) to `dx`.
///
/// With `u = sqrt(2 / pi) (x + 0.044715 x^3)` and `s = 1 / (1 + exp(-2 u))`:
/// `gelu'(x) = s + 2 x s (1 - s) du/dx`.
///
/// # Panics
/// If the lengths differ.
pub fn gelu_tanh_grad(x: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert_eq!((x.len(), dy.len()), (dx.len(), dx.len()));
    for_each(chunks_mut(dx, TASK), 1, |task, dx| {
        let part = task * TASK..task * TASK + dx.len();
        dispatch(Grad { x: &x[part.clone()], dy: &dy[part], dx, slope: TanhSlope });
    });
}

/// Writes `dy gelu'(x)` of [`gelu_erf`](crate::gelu_erf) to `dx`:
/// `gelu'(x) = 0.5 (1 + erf(x / sqrt(2))) + x exp(-x^2 / 2) / sqrt(2 pi)`.
///
/// # Panics
/// If the lengths differ.
pub fn gelu_erf_grad(x: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert_eq!((x.len(), dy.len()), (dx.len(), dx.len()));
    for_each(chunks_mut(dx, TASK), 1, |task, dx| {
        let part = task * TASK..task * TASK + dx.len();
        dispatch(Grad { x: &x[part.clone()], dy: &dy[part], dx, slope: ErfSlope });
    });
}

/// Writes the gradient of the input of [`silu_gate`](crate::silu_gate) to `dgate_up`.
///
/// With `s = 1 / (1 + exp(-gate))`: `dgate = dy up s (1 + gate (1 - s))` and `dup = dy gate s`. A
/// row of `gate_up` and `dgate_up` holds `width` gates, then `width` ups.
///
/// # Panics
/// If the lengths do not fit.
pub fn silu_gate_grad(gate_up: &[f32], width: usize, dy: &[f32], dgate_up: &mut [f32]) {
    assert_eq!((gate_up.len(), dgate_up.len()), (2 * dy.len(), 2 * dy.len()));
    if dy.is_empty() || width == 0 {
        return;
    }
    let rows = (TASK / width).max(1);
    let inputs = (chunks(gate_up, rows * 2 * width), chunks(dy, rows * width));
    for_each(
        (inputs, chunks_mut(dgate_up, rows * 2 * width)),
        1,
        |_, ((gate_up, dy), dgate_up)| {
            dispatch(SiluGateGrad { gate_up, width, dy, dgate_up });
        },
    );
}

/// The slope of a function in every lane. Not a closure, whose code would not get the level's
/// instructions.
trait Slope: Copy {
    fn of<S: Simd>(self, simd: S, x: S::V) -> S::V;
}

/// Multiplies gradients with slopes.
struct Grad<'a, F> {
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    slope: F,
}

impl<F: Slope> Kernel for Grad<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, dy, dx, slope } = self;
        for at in (0..dx.len()).step_by(S::LANES) {
            let grad = slope.of(simd, load_some(simd, &x[at..]));
            store_some(simd, simd.mul(load_some(simd, &dy[at..]), grad), &mut dx[at..]);
        }
    }
}

#[derive(Clone, Copy)]
struct TanhSlope;

impl Slope for TanhSlope {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, x: S::V) -> S::V {
        let twice = 2.0 * (2.0 / std::f32::consts::PI).sqrt();
        let one = simd.splat(1.0);
        // Beyond, the slope is flat; the cube must not overflow.
        let x = simd.min(simd.splat(20.0), simd.max(simd.splat(-20.0), x));
        let square = simd.mul(x, x);
        let u = simd.mul(x, simd.mul_add(square, simd.splat(0.044_715), one));
        let e = simd.exp(simd.mul(u, simd.splat(-twice)));
        let s = simd.div(one, simd.add(e, one));
        let slope = simd.mul_add(square, simd.splat(3.0 * 0.044_715), one);
        // s (1 - s) = s (e s), which keeps its digits.
        let bend = simd.mul(simd.mul(s, simd.mul(e, s)), simd.splat(twice));
        simd.mul_add(simd.mul(x, bend), slope, s)
    }
}

#[derive(Clone, Copy)]
struct ErfSlope;

impl Slope for ErfSlope {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, x: S::V) -> S::V {
        let density_at_zero =
            0.5 * std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::FRAC_1_SQRT_2;
        let (half, one) = (simd.splat(0.5), simd.splat(1.0));
        let Normal { x, bell, tail, .. } = Normal::at(simd, x);
        // The sign, and next to zero, where the tail is a half, whatever is between.
        let sign = simd.mul(x, simd.splat(1e30));
        let sign = simd.min(one, simd.max(simd.sub(simd.splat(0.0), one), sign));
        // The tail below zero and what it leaves of one above; a small one keeps its digits.
        let below = simd.sub(simd.mul_add(sign, half, half), simd.mul(sign, tail));
        simd.mul_add(x, simd.mul(bell, simd.splat(density_at_zero)), below)
    }
}

struct SiluGateGrad<'a> {
    gate_up: &'a [f32],
    width: usize,
    dy: &'a [f32],
    dgate_up: &'a mut [f32],
}

impl Kernel for SiluGateGrad<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { gate_up, width, dy, dgate_up } = self;
        let rows = gate_up.chunks_exact(2 * width).zip(dy.chunks_exact(width));
        let one = simd.splat(1.0);
        for ((gate_up, dy), dgate_up) in rows.zip(dgate_up.chunks_exact_mut(2 * width)) {
            let (gate, up) = gate_up.split_at(width);
            let (dgate, dup) = dgate_up.split_at_mut(width);
            for at in (0..width).step_by(S::LANES) {
                let (gate, up) = (load_some(simd, &gate[at..]), load_some(simd, &up[at..]));
                let dy = load_some(simd, &dy[at..]);
                let e = simd.exp(simd.sub(simd.splat(0.0), gate));
                let s = simd.div(one, simd.add(e, one));
                let rest = simd.mul_add(gate, simd.mul(e, s), one);
                store_some(simd, simd.mul(simd.mul(dy, up), simd.mul(s, rest)), &mut dgate[at..]);
                store_some(simd, simd.mul(dy, simd.mul(gate, s)), &mut dup[at..]);
            }
        }
    }
}
