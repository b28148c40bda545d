//! Cross-entropy of rows of logits.

use crate::parallel::{chunks, chunks_mut, for_each};
use crate::simd::{Kernel, Simd, dispatch, load_some, store_some};

/// Logits of a task.
const TASK: usize = 1 << 14;

/// Returns the sum over rows of `log(sum(exp(logits))) - logits[target]`.
///
/// `logits` is `[rows, width]` with a target for each row. The sum is in f64 and in the order of
/// the rows.
///
/// # Panics
/// If the lengths do not fit or a target is not below the width.
pub fn cross_entropy(logits: &[f32], targets: &[u32]) -> f64 {
    let width = width(logits, targets);
    let mut losses = vec![0.0; targets.len()];
    let rows = (chunks(logits, width), (chunks(targets, 1), chunks_mut(&mut losses, 1)));
    for_each(rows, TASK / width, |_, (row, (target, to))| {
        let Softmax { largest, total } = dispatch(Denominator { row });
        to[0] = loss(row[target[0] as usize], largest, total);
    });
    losses.iter().sum()
}

/// Returns what [`cross_entropy`] does, and replaces the logits by the gradient of `scale` times
/// it: `scale (softmax(logits) - [1 at the target])`.
///
/// # Panics
/// As [`cross_entropy`].
pub fn cross_entropy_grad(logits: &mut [f32], targets: &[u32], scale: f32) -> f64 {
    let width = width(logits, targets);
    let mut losses = vec![0.0; targets.len()];
    let rows = (chunks_mut(logits, width), (chunks(targets, 1), chunks_mut(&mut losses, 1)));
    for_each(rows, TASK / width, |_, (row, (target, to))| {
        let target = target[0] as usize;
        let Softmax { largest, total } = dispatch(Denominator { row });
        to[0] = loss(row[target], largest, total);
        dispatch(Probabilities { row, largest, factor: scale / total });
        row[target] -= scale;
    });
    losses.iter().sum()
}

/// Returns the width of the rows, at least one.
fn width(logits: &[f32], targets: &[u32]) -> usize {
    let width = logits.len().checked_div(targets.len()).unwrap_or(0);
    assert_eq!(logits.len(), width * targets.len(), "logits of {} rows", targets.len());
    for target in targets {
        assert!((*target as usize) < width, "target {target} of {width}");
    }
    width.max(1)
}

fn loss(logit: f32, largest: f32, total: f32) -> f64 {
    f64::from(largest) - f64::from(logit) + f64::from(total).ln()
}

/// The denominator of a softmax is `total exp(largest)`.
struct Softmax {
    largest: f32,
    total: f32,
}

struct Denominator<'a> {
    row: &'a [f32],
}

impl Kernel for Denominator<'_> {
    type Output = Softmax;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Softmax {
        let mut largest = [f32::NEG_INFINITY; 16];
        let (blocks, rest) = self.row.as_chunks::<16>();
        // What is not a number is passed over here; it comes back with the exponentials.
        let mut peaks = [simd.splat(f32::NEG_INFINITY); 2];
        for block in blocks {
            for (i, peak) in peaks.iter_mut().take(16 / S::LANES).enumerate() {
                *peak = simd.max(simd.load(&block[i * S::LANES..]), *peak);
            }
        }
        for (i, peak) in peaks.into_iter().take(16 / S::LANES).enumerate() {
            simd.store(peak, &mut largest[i * S::LANES..]);
        }
        let largest = largest.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
        let shift = simd.splat(largest);
        let mut totals = [simd.splat(0.0); 2];
        for block in blocks {
            for (i, total) in totals.iter_mut().take(16 / S::LANES).enumerate() {
                let e = simd.exp(simd.sub(simd.load(&block[i * S::LANES..]), shift));
                *total = simd.add(*total, e);
            }
        }
        let mut total = simd.sum(totals[0]) + simd.sum(totals[1]);
        for logits in rest.chunks(S::LANES) {
            let mut e = [0.0; 16];
            simd.store(simd.exp(simd.sub(load_some(simd, logits), shift)), &mut e);
            total += e[..logits.len()].iter().sum::<f32>();
        }
        Softmax { largest, total }
    }
}

/// Replaces logits by `factor exp(logit - largest)`.
struct Probabilities<'a> {
    row: &'a mut [f32],
    largest: f32,
    factor: f32,
}

impl Kernel for Probabilities<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (shift, factor) = (simd.splat(self.largest), simd.splat(self.factor));
        for logits in self.row.chunks_mut(S::LANES) {
            let e = simd.exp(simd.sub(load_some(simd, logits), shift));
            store_some(simd, simd.mul(e, factor), logits);
        }
    }
}
