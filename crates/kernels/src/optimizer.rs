//! What an optimizer does with every parameter.

use crate::parallel::{chunks, chunks_mut, for_each};
use crate::simd::{Kernel, Simd, dispatch, load_some, store_some};

/// Elements of a task; whole vectors.
const TASK: usize = 1 << 14;

/// The settings of a step of [`adamw`].
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    /// The learning rate.
    pub lr: f64,
    /// The decay of the first moment.
    pub beta1: f64,
    /// The decay of the second moment.
    pub beta2: f64,
    /// What is added to the square root of the second moment.
    pub eps: f64,
    /// The weight decay, which is multiplied with the learning rate.
    pub weight_decay: f64,
    /// What gradients are multiplied with first, to clip their norm; 1 leaves them as they are.
    pub grad_scale: f32,
}

/// The moments of a parameter's gradient, in its shape, zero before the first step.
#[derive(Debug)]
pub struct Moments<'a> {
    /// The decayed mean of the gradient.
    pub first: &'a mut [f32],
    /// The decayed mean of its square.
    pub second: &'a mut [f32],
}

/// Takes one step of `AdamW`, the first of which is number 1.
///
/// With `g = grad_scale grad`: `m = beta1 m + (1 - beta1) g`, `v = beta2 v + (1 - beta2) g^2`,
/// `w = w (1 - lr weight_decay) - lr / (1 - beta1^step) m / (sqrt(v / (1 - beta2^step)) + eps)`.
///
/// # Panics
/// If the lengths differ.
pub fn adamw(options: AdamW, step: u64, weight: &mut [f32], grad: &[f32], moments: Moments<'_>) {
    let Moments { first, second } = moments;
    let len = weight.len();
    assert_eq!((grad.len(), first.len(), second.len()), (len, len, len));
    let steps = step as f64;
    let correction1 = 1.0 - options.beta1.powf(steps);
    let correction2 = 1.0 - options.beta2.powf(steps);
    let factors = Factors {
        grad: options.grad_scale,
        keep: (1.0 - options.lr * options.weight_decay) as f32,
        new1: (1.0 - options.beta1) as f32,
        beta2: options.beta2 as f32,
        new2: (1.0 - options.beta2) as f32,
        step: (options.lr / correction1) as f32,
        root: (1.0 / correction2.sqrt()) as f32,
        eps: options.eps as f32,
    };
    let moments = (chunks_mut(first, TASK), chunks_mut(second, TASK));
    let pieces = ((chunks_mut(weight, TASK), chunks(grad, TASK)), moments);
    for_each(pieces, 1, |_, ((weight, grad), (first, second))| {
        dispatch(Step { factors, weight, grad, moments: Moments { first, second } });
    });
}

/// The numbers of a step, corrected for its place.
#[derive(Clone, Copy)]
struct Factors {
    grad: f32,
    keep: f32,
    new1: f32,
    beta2: f32,
    new2: f32,
    step: f32,
    root: f32,
    eps: f32,
}

struct Step<'a> {
    factors: Factors,
    weight: &'a mut [f32],
    grad: &'a [f32],
    moments: Moments<'a>,
}

impl Kernel for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { factors, weight, grad, moments: Moments { first, second } } = self;
        for at in (0..weight.len()).step_by(S::LANES) {
            let (weight, first, second) = (&mut weight[at..], &mut first[at..], &mut second[at..]);
            let g = simd.mul(load_some(simd, &grad[at..]), simd.splat(factors.grad));
            let m = load_some(simd, first);
            let m = simd.mul_add(simd.sub(g, m), simd.splat(factors.new1), m);
            let v = simd.mul(load_some(simd, second), simd.splat(factors.beta2));
            let v = simd.mul_add(simd.mul(g, g), simd.splat(factors.new2), v);
            let root = simd.mul(simd.sqrt(v), simd.splat(factors.root));
            let change = simd.div(m, simd.add(root, simd.splat(factors.eps)));
            let w = simd.mul(load_some(simd, weight), simd.splat(factors.keep));
            let w = simd.sub(w, simd.mul(change, simd.splat(factors.step)));
            store_some(simd, w, weight);
            store_some(simd, m, first);
            store_some(simd, v, second);
        }
    }
}

/// Returns the sum of the squares of all elements, in f64 and in an order that depends on nothing
/// but their number.
pub fn sum_of_squares(x: &[f32]) -> f64 {
    let mut sums = vec![0.0; x.len().div_ceil(TASK)];
    for_each((chunks(x, TASK), chunks_mut(&mut sums, 1)), 1, |_, (x, sum)| {
        sum[0] = dispatch(SumOfSquares { x });
    });
    sums.iter().sum()
}

struct SumOfSquares<'a> {
    x: &'a [f32],
}

impl Kernel for SumOfSquares<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        let mut sums = [0.0; 32];
        let (blocks, rest) = self.x.as_chunks::<32>();
        for block in blocks {
            for (sum, x) in sums.iter_mut().zip(block) {
                *sum += f64::from(*x) * f64::from(*x);
            }
        }
        for (sum, x) in sums.iter_mut().zip(rest) {
            *sum += f64::from(*x) * f64::from(*x);
        }
        sums.iter().sum()
    }
}
