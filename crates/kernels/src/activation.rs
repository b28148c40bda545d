//! Elementwise activations.

use crate::parallel;
use crate::simd::{Kernel, Simd, dispatch};

/// Writes `0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))` to `out`.
///
/// # Panics
/// If the lengths differ.
pub fn gelu_tanh(x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    parallel::rows((x, 1), (out, 1), |x, out| dispatch(Map { x, function: Tanh, out }));
}

/// Writes `0.5 x (1 + erf(x / sqrt(2)))` to `out`.
///
/// # Panics
/// If the lengths differ.
pub fn gelu_erf(x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    parallel::rows((x, 1), (out, 1), |x, out| dispatch(Map { x, function: Erf, out }));
}

/// Writes `silu(gate) * up` to `out`, where a row of `gate_up` holds `width` gates, then `width`
/// ups, and a row of `out` has `width` elements; `silu(x) = x / (1 + exp(-x))`.
///
/// # Panics
/// If the lengths do not fit.
pub fn silu_gate(gate_up: &[f32], width: usize, out: &mut [f32]) {
    assert_eq!(gate_up.len(), 2 * out.len());
    if width == 0 {
        return;
    }
    parallel::rows((gate_up, 2 * width), (out, width), |gate_up, out| {
        for (row, out) in gate_up.chunks_exact(2 * width).zip(out.chunks_exact_mut(width)) {
            let (gate, up) = row.split_at(width);
            dispatch(Map { x: gate, function: Silu, out: &mut *out });
            for (out, up) in out.iter_mut().zip(up) {
                *out *= up;
            }
        }
    });
}

/// A function of every lane. Not a closure, whose code would not get the level's instructions.
trait Function: Copy {
    fn of<S: Simd>(self, simd: S, x: S::V) -> S::V;
}

#[derive(Clone, Copy)]
struct Tanh;

impl Function for Tanh {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, x: S::V) -> S::V {
        // 0.5 (1 + tanh(u)) = 1 / (1 + exp(-2 u)).
        let slope = -2.0 * (2.0 / std::f32::consts::PI).sqrt();
        let cube = simd.mul(simd.mul(x, x), x);
        let u = simd.mul_add(cube, simd.splat(0.044_715), x);
        let e = simd.exp(simd.mul(u, simd.splat(slope)));
        simd.div(x, simd.add(e, simd.splat(1.0)))
    }
}

#[derive(Clone, Copy)]
struct Erf;

impl Function for Erf {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, x: S::V) -> S::V {
        // x where it is positive, less |x| times the tail beyond it: the small results of negative
        // numbers keep their digits.
        let normal = Normal::at(simd, x);
        let beyond = simd.mul(normal.magnitude, normal.tail);
        simd.sub(simd.max(simd.splat(0.0), x), beyond)
    }
}

/// The standard normal distribution at a point, which is kept within 20 of zero.
pub(crate) struct Normal<V> {
    /// The point.
    pub(crate) x: V,
    /// Its distance from zero.
    pub(crate) magnitude: V,
    /// The density times `sqrt(2 pi)`: `exp(-x^2 / 2)`.
    pub(crate) bell: V,
    /// The probability of more than the magnitude: `0.5 erfc(magnitude / sqrt(2))`, with a
    /// relative error below 4e-6.
    pub(crate) tail: V,
}

impl<V: Copy> Normal<V> {
    #[inline(always)]
    pub(crate) fn at<S: Simd<V = V>>(simd: S, x: V) -> Self {
        let x = simd.min(simd.splat(20.0), simd.max(simd.splat(-20.0), x));
        let magnitude = simd.max(simd.sub(simd.splat(0.0), x), x);
        let square = simd.mul(x, x);
        // What rounding took from the square, as far as the processor tells.
        let rest = simd.mul_add(x, x, simd.sub(simd.splat(0.0), square));
        let bell = simd.exp(simd.mul(square, simd.splat(-0.5)));
        let bell = simd.mul_add(simd.mul(rest, simd.splat(-0.5)), bell, bell);
        // tail / bell as a polynomial of t = 1 / (1 + 0.4 magnitude), the coefficients fitted for
        // the least relative error up to 14.5 (Lawson's iteration); beyond, the tail is as good as zero.
        let t =
            simd.div(simd.splat(1.0), simd.mul_add(magnitude, simd.splat(0.4), simd.splat(1.0)));
        let mut p = simd.splat(TAIL[0]);
        for c in &TAIL[1..] {
            p = simd.mul_add(p, t, simd.splat(*c));
        }
        Self { x, magnitude, bell, tail: simd.mul(bell, simd.mul(p, t)) }
    }
}

/// Of the ninth power first.
const TAIL: [f32; 10] = [
    0.032_208_32,
    -0.176_770_09,
    0.382_166_98,
    -0.373_784_84,
    0.119_220_145,
    -0.026_659_522,
    0.091_259_76,
    0.133_158_12,
    0.159_625_08,
    0.159_576_03,
];

#[derive(Clone, Copy)]
struct Silu;

impl Function for Silu {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, x: S::V) -> S::V {
        let e = simd.exp(simd.sub(simd.splat(0.0), x));
        simd.div(x, simd.add(e, simd.splat(1.0)))
    }
}

/// Applies a function to every element, the last ones in a vector that is filled up.
struct Map<'a, F> {
    x: &'a [f32],
    function: F,
    out: &'a mut [f32],
}

impl<F: Function> Kernel for Map<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, function, out } = self;
        let whole = x.len() - x.len() % S::LANES;
        let mut at = 0;
        while at < whole {
            simd.store(function.of(simd, simd.load(&x[at..])), &mut out[at..]);
            at += S::LANES;
        }
        let left = x.len() - whole;
        if left > 0 {
            let (mut from, mut to) = ([0.0; 16], [0.0; 16]);
            from[..left].copy_from_slice(&x[whole..]);
            simd.store(function.of(simd, simd.load(&from)), &mut to);
            out[whole..].copy_from_slice(&to[..left]);
        }
    }
}
