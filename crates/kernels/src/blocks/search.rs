//! Scales that keep the error of a group of elements small.
//!
//! For fixed integers the best scale is a quotient of two sums; so a search tries some ways of
//! rounding, takes the best scale of each, and keeps that with the smallest error.

/// How many steps of an integer the range is widened and narrowed by.
const WIDEST: f32 = 1.0;
const STEP: f32 = 0.1;
const STEPS: i32 = 20;

/// Returns `scale` and `minimum`, both not negative, so that `scale q - minimum` comes close to the
/// values for integers `q` from 0 to `most`. Large values count more.
pub(super) fn scale_and_minimum(values: &[f32], most: f32) -> (f32, f32) {
    let count = values.len() as f32;
    let typical = (values.iter().map(|v| v * v).sum::<f32>() / count).sqrt();
    let low = values.iter().fold(0.0_f32, |low, v| low.min(*v));
    let high = values.iter().fold(0.0_f32, |high, v| high.max(*v));
    // What is not a number, or too large for the sums, has no good scale.
    if !(high - low).is_finite() || !typical.is_finite() || high <= low {
        return (0.0, -low);
    }
    let mut best = ((high - low) / most, -low);
    let mut least = f32::INFINITY;
    for step in -1..=STEPS {
        // The first is the plain range itself.
        let widened = if step < 0 { 0.0 } else { STEP * step as f32 - WIDEST };
        let per_scale = (most + widened) / (high - low);
        let integer = |v: f32| rounded((v - low) * per_scale).clamp(0.0, most);
        let mut sums = Sums::default();
        for v in values {
            sums.add(typical + v.abs(), integer(*v), *v);
        }
        let (scale, minimum) = sums.best();
        let error = sums.error(scale, minimum);
        if error < least && scale > 0.0 {
            (best, least) = ((scale, minimum), error);
        }
    }
    best
}

/// Rounds a small number to the nearest integer, ties to even: what is added leaves no bits after
/// the point. Unlike the method of f32 it is two additions at every level of the processor.
pub(super) fn rounded(value: f32) -> f32 {
    const ROUNDER: f32 = 12_582_912.0;
    value + ROUNDER - ROUNDER
}

/// Weighted sums of integers, values and their products.
#[derive(Default)]
struct Sums {
    weight: f32,
    q: f32,
    qq: f32,
    v: f32,
    qv: f32,
    vv: f32,
}

impl Sums {
    fn add(&mut self, weight: f32, q: f32, v: f32) {
        self.weight += weight;
        self.q += weight * q;
        self.qq += weight * q * q;
        self.v += weight * v;
        self.qv += weight * q * v;
        self.vv += weight * v * v;
    }

    /// Returns the scale and the minimum of the smallest error.
    fn best(&self) -> (f32, f32) {
        let determinant = self.weight * self.qq - self.q * self.q;
        if determinant > 0.0 {
            let scale = (self.weight * self.qv - self.q * self.v) / determinant;
            let minimum = (self.q * self.qv - self.qq * self.v) / determinant;
            if minimum >= 0.0 {
                return (scale, minimum);
            }
        }
        // A minimum cannot be below zero: the best with none.
        (if self.qq > 0.0 { self.qv / self.qq } else { 0.0 }, 0.0)
    }

    /// Returns the weighted sum of squares of `scale q - minimum - v`.
    fn error(&self, scale: f32, minimum: f32) -> f32 {
        self.vv
            + scale * (scale * self.qq - 2.0 * minimum * self.q - 2.0 * self.qv)
            + minimum * (minimum * self.weight + 2.0 * self.v)
    }
}

/// Returns a scale of either sign, so that `scale q` comes close to the values for integers `q`
/// from -32 to 31. Large values count more.
pub(super) fn symmetric_scale(values: &[f32]) -> f32 {
    const FARTHEST: f32 = 32.0;
    let largest = values.iter().fold(0.0, |a: f32, b| if b.abs() > a.abs() { *b } else { a });
    let square: f32 = values.iter().map(|v| v * v).sum();
    if largest == 0.0 || !(1e-30..=1e30).contains(&square) {
        return largest / -FARTHEST;
    }
    let mut best = largest / -FARTHEST;
    let mut gain = 0.0;
    for step in -9..=9 {
        let per_scale = -(FARTHEST + STEP * step as f32) / largest;
        let (mut qv, mut qq) = (0.0, 0.0);
        for v in values {
            let q = rounded(v * per_scale).clamp(-FARTHEST, FARTHEST - 1.0);
            let weight = v * v;
            qv += weight * q * v;
            qq += weight * q * q;
        }
        // With the best scale for these integers the error is smaller by this much.
        if qq > 0.0 && qv * qv > gain * qq {
            (best, gain) = (qv / qq, qv * qv / qq);
        }
    }
    best
}
