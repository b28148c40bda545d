//! Elementwise activations.

/// Writes `0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))` to `out`.
///
/// # Panics
/// If the lengths differ.
pub fn gelu_tanh(x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    for (x, out) in x.iter().zip(out) {
        let inner = (2.0 / std::f32::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
        *out = 0.5 * x * (1.0 + inner.tanh());
    }
}

/// Writes `0.5 x (1 + erf(x / sqrt(2)))` to `out`.
///
/// # Panics
/// If the lengths differ.
pub fn gelu_erf(x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    for (x, out) in x.iter().zip(out) {
        *out = 0.5 * x * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2));
    }
}

/// Writes `silu(gate) * up` to `out`, where a row of `gate_up` holds `width` gates, then `width`
/// ups, and a row of `out` has `width` elements; `silu(x) = x / (1 + exp(-x))`.
///
/// # Panics
/// If the lengths do not fit.
pub fn silu_gate(gate_up: &[f32], width: usize, out: &mut [f32]) {
    assert_eq!(gate_up.len(), 2 * out.len());
    for (row, out) in gate_up.chunks_exact(2 * width).zip(out.chunks_exact_mut(width)) {
        let (gate, up) = row.split_at(width);
        for (i, out) in out.iter_mut().enumerate() {
            *out = gate[i] / (1.0 + (-gate[i]).exp()) * up[i];
        }
    }
}
