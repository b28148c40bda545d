//! Gradients of the norms.

use crate::linear::sum_of_rows;
use crate::norm::{sum, sum_of_squares};
use crate::parallel::{chunks_mut, for_each};
use crate::simd::{Kernel, Simd, dispatch, load_some, store_some};

/// Rows whose gradients of the weights are summed by one task; the sums of the tasks are added in
/// their order.
const ROWS: usize = 32;

/// Where the gradients of a norm go.
#[derive(Debug)]
pub struct NormGrad<'a> {
    /// Of the input, in its shape.
    pub dx: &'a mut [f32],
    /// Of the weights, where they are trained.
    pub dweight: Option<&'a mut [f32]>,
    /// Of the bias, where there is one and it is trained.
    pub dbias: Option<&'a mut [f32]>,
    /// Whether the gradients of the weights and of the bias are added to what is there; that of
    /// the input is always written.
    pub accumulate: bool,
}

/// Computes the gradients of [`layer_norm`](crate::layer_norm) from that of its output.
///
/// With `y = (x - mean) / sqrt(variance + eps)` and `g = dy weight`:
/// `dx = (g - mean(g) - y mean(g y)) / sqrt(variance + eps)`, `dweight = sum(dy y)`,
/// `dbias = sum(dy)`, means over a row and sums over the rows.
///
/// # Panics
/// If the lengths do not fit.
pub fn layer_norm_grad(x: &[f32], weight: &[f32], eps: f32, dy: &[f32], grad: NormGrad<'_>) {
    run(Call { x, weight, eps, dy, centred: true }, grad);
}

/// Computes the gradients of [`rms_norm`](crate::rms_norm) from that of its output.
///
/// With `y = x / sqrt(mean(x^2) + eps)` and `g = dy weight`:
/// `dx = (g - y mean(g y)) / sqrt(mean(x^2) + eps)`, `dweight = sum(dy y)`, means over a row and
/// sums over the rows.
///
/// # Panics
/// If the lengths do not fit, or there is a gradient of a bias.
pub fn rms_norm_grad(x: &[f32], weight: &[f32], eps: f32, dy: &[f32], grad: NormGrad<'_>) {
    assert!(grad.dbias.is_none(), "bias of a norm that has none");
    run(Call { x, weight, eps, dy, centred: false }, grad);
}

#[derive(Clone, Copy)]
struct Call<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    dy: &'a [f32],
    centred: bool,
}

fn run(call: Call<'_>, grad: NormGrad<'_>) {
    let NormGrad { dx, dweight, dbias, accumulate } = grad;
    let width = call.weight.len();
    assert_eq!(call.x.len(), call.dy.len(), "gradient of the output of a norm");
    assert_eq!(call.x.len(), dx.len(), "gradient of the input of a norm");
    for parameter in [&dweight, &dbias].into_iter().flatten() {
        assert_eq!(parameter.len(), width, "gradient of a parameter of a norm");
    }
    if width == 0 {
        return;
    }
    assert_eq!(call.x.len() % width, 0, "rows of {width}");
    if let Some(dbias) = dbias {
        sum_of_rows(call.dy, dbias, accumulate);
    }
    let tasks = call.x.len().div_ceil(ROWS * width);
    let mut sums = vec![0.0; if dweight.is_some() { tasks * width } else { tasks }];
    let per_task = sums.len() / tasks.max(1);
    let pieces = (chunks_mut(dx, ROWS * width), chunks_mut(&mut sums, per_task.max(1)));
    for_each(pieces, 1, |task, (dx, sums)| {
        let part = task * ROWS * width..task * ROWS * width + dx.len();
        let call = Call { x: &call.x[part.clone()], dy: &call.dy[part], ..call };
        dispatch(Rows { call, dx, sums: dweight.is_some().then_some(sums) });
    });
    if let Some(dweight) = dweight {
        sum_of_rows(&sums, dweight, accumulate);
    }
}

/// Some rows, and the sums of the gradients of the weights over them.
struct Rows<'a> {
    call: Call<'a>,
    dx: &'a mut [f32],
    sums: Option<&'a mut [f32]>,
}

impl Kernel for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { call, dx, mut sums } = self;
        let width = call.weight.len();
        let rows = call.x.chunks_exact(width).zip(call.dy.chunks_exact(width));
        for ((x, dy), dx) in rows.zip(dx.chunks_exact_mut(width)) {
            row(simd, call, (x, dy), dx, sums.as_deref_mut());
        }
    }
}

#[inline(always)]
fn row<S: Simd>(
    simd: S,
    call: Call<'_>,
    (x, dy): (&[f32], &[f32]),
    dx: &mut [f32],
    mut sums: Option<&mut [f32]>,
) {
    let (width, weight) = (x.len(), &call.weight[..x.len()]);
    let count = width as f32;
    let mean = if call.centred { sum(simd, x) / count } else { 0.0 };
    let inverse = 1.0 / (sum_of_squares(simd, x, mean) / count + call.eps).sqrt();
    let (centre, factor) = (simd.splat(mean), simd.splat(inverse));
    let (mut sum_g, mut sum_gy) = (simd.splat(0.0), simd.splat(0.0));
    for at in (0..width).step_by(S::LANES) {
        // What is not there adds nothing: its gradient is zero.
        let dy = load_some(simd, &dy[at..]);
        let y = simd.mul(simd.sub(load_some(simd, &x[at..]), centre), factor);
        let g = simd.mul(dy, load_some(simd, &weight[at..]));
        sum_g = simd.add(sum_g, g);
        sum_gy = simd.mul_add(g, y, sum_gy);
        if let Some(sums) = &mut sums {
            let sums = &mut sums[at..];
            store_some(simd, simd.mul_add(dy, y, load_some(simd, sums)), sums);
        }
    }
    let mean_g = if call.centred { simd.sum(sum_g) / count } else { 0.0 };
    let (mean_g, mean_gy) = (simd.splat(mean_g), simd.splat(simd.sum(sum_gy) / count));
    for at in (0..width).step_by(S::LANES) {
        let y = simd.mul(simd.sub(load_some(simd, &x[at..]), centre), factor);
        let g = simd.mul(load_some(simd, &dy[at..]), load_some(simd, &weight[at..]));
        let g = simd.sub(simd.sub(g, mean_g), simd.mul(y, mean_gy));
        store_some(simd, simd.mul(g, factor), &mut dx[at..]);
    }
}
