//! Normalisation over the last dimension.

use crate::parallel;
use crate::simd::{Kernel, Simd, dispatch};

/// Writes `(x - mean) / sqrt(variance + eps) * weight + bias` of each row to `out`.
///
/// Rows are as wide as `weight`; the variance is the biased one, taken about the mean.
///
/// # Panics
/// If the lengths do not fit.
pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    normalise(x, Norm { weight, bias: Some(bias), eps }, out);
}

/// Writes `x / sqrt(mean(x^2) + eps) * weight` of each row to `out`.
///
/// # Panics
/// If the lengths do not fit.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    normalise(x, Norm { weight, bias: None, eps }, out);
}

/// A norm: about the mean if there is a bias, about zero if not.
#[derive(Clone, Copy)]
struct Norm<'a> {
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    eps: f32,
}

fn normalise(x: &[f32], norm: Norm<'_>, out: &mut [f32]) {
    let width = norm.weight.len();
    assert_eq!(x.len(), out.len(), "output of a norm");
    assert!(norm.bias.is_none_or(|bias| bias.len() == width), "bias of a norm of {width}");
    if width == 0 {
        return;
    }
    assert_eq!(x.len() % width, 0, "rows of {width}");
    parallel::rows((x, width), (out, width), |x, out| {
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            dispatch(Row { x, norm, out });
        }
    });
}

struct Row<'a> {
    x: &'a [f32],
    norm: Norm<'a>,
    out: &'a mut [f32],
}

impl Kernel for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, norm, out } = self;
        let count = x.len() as f32;
        let mean = match norm.bias {
            Some(_) => sum(simd, x) / count,
            None => 0.0,
        };
        let centre = simd.splat(mean);
        let variance = sum_of_squares(simd, x, mean) / count;
        let inverse = 1.0 / (variance + norm.eps).sqrt();
        let factor = simd.splat(inverse);
        let whole = x.len() - x.len() % S::LANES;
        let mut at = 0;
        while at < whole {
            let v = simd.mul(simd.sub(simd.load(&x[at..]), centre), factor);
            let v = simd.mul(v, simd.load(&norm.weight[at..]));
            let v = match norm.bias {
                Some(bias) => simd.add(v, simd.load(&bias[at..])),
                None => v,
            };
            simd.store(v, &mut out[at..]);
            at += S::LANES;
        }
        for i in whole..x.len() {
            let v = (x[i] - mean) * inverse * norm.weight[i];
            out[i] = norm.bias.map_or(v, |bias| v + bias[i]);
        }
    }
}

/// Returns the sum of all elements.
#[inline(always)]
pub(crate) fn sum<S: Simd>(simd: S, x: &[f32]) -> f32 {
    let mut total = simd.splat(0.0);
    let chunks = x.chunks_exact(S::LANES);
    let rest: f32 = chunks.remainder().iter().sum();
    for chunk in chunks {
        total = simd.add(total, simd.load(chunk));
    }
    simd.sum(total) + rest
}

/// Returns the sum of the squared distances from `mean`.
#[inline(always)]
pub(crate) fn sum_of_squares<S: Simd>(simd: S, x: &[f32], mean: f32) -> f32 {
    let mut total = simd.splat(0.0);
    let chunks = x.chunks_exact(S::LANES);
    let rest: f32 = chunks.remainder().iter().map(|x| (x - mean) * (x - mean)).sum();
    for chunk in chunks {
        let distance = simd.sub(simd.load(chunk), simd.splat(mean));
        total = simd.mul_add(distance, distance, total);
    }
    simd.sum(total) + rest
}
