//! Normalisation over the last dimension.

/// Writes `(x - mean) / sqrt(variance + eps) * weight + bias` of each row to `out`.
///
/// Rows are as wide as `weight`; the variance is the biased one.
///
/// # Panics
/// If the lengths do not fit.
pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    let width = weight.len();
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let mean = x.iter().sum::<f32>() / width as f32;
        let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / width as f32;
        let inverse = 1.0 / (variance + eps).sqrt();
        for (i, out) in out.iter_mut().enumerate() {
            *out = (x[i] - mean) * inverse * weight[i] + bias[i];
        }
    }
}

/// Writes `x / sqrt(mean(x^2) + eps) * weight` of each row to `out`.
///
/// # Panics
/// If the lengths do not fit.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let width = weight.len();
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let mean = x.iter().map(|v| v * v).sum::<f32>() / width as f32;
        let inverse = 1.0 / (mean + eps).sqrt();
        for (i, out) in out.iter_mut().enumerate() {
            *out = x[i] * inverse * weight[i];
        }
    }
}
