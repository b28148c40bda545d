use kernels::{Rows, gelu_erf_grad, gelu_tanh_grad, rope, silu_gate_grad};

use crate::support::{Random, assert_close, at_every_level, on_threads};

/// From -12 to 12 and far out.
fn inputs(len: usize) -> Vec<f32> {
    let mut x: Vec<f32> = (0..len).map(|i| (i as f32 / len as f32 - 0.5) * 24.0).collect();
    for (x, far) in x.iter_mut().zip([0.0, -1e9, 1e9, -300.0, 300.0, f32::MIN, f32::MAX]) {
        *x = far;
    }
    x
}

fn tanh_slope(x: f64) -> f64 {
    let c = (2.0 / std::f64::consts::PI).sqrt();
    let x = x.clamp(-100.0, 100.0);
    let t = (c * (x + 0.044_715 * x.powi(3))).tanh();
    0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * c * (1.0 + 3.0 * 0.044_715 * x * x)
}

fn erf_slope(x: f64) -> f64 {
    let x = x.clamp(-100.0, 100.0);
    let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
    0.5 * libm::erfc(-x / 2f64.sqrt()) + x * density
}

#[test]
fn slopes_of_gelu_equal_their_formulas_from_end_to_end() {
    for len in [1, 5, 16, 33, 20_001] {
        let (x, dy) = (inputs(len), Random(41).floats(len));
        let expected = |slope: fn(f64) -> f64| -> Vec<f64> {
            x.iter().zip(&dy).map(|(x, dy)| f64::from(*dy) * slope(f64::from(*x))).collect()
        };
        let (tanh, erf) = (expected(tanh_slope), expected(erf_slope));
        at_every_level(|level| {
            let mut dx = vec![f32::NAN; len];
            gelu_tanh_grad(&x, &dy, &mut dx);
            assert_close(&dx, &tanh, 1e-6, &format!("tanh {level:?}"));
            let threads = on_threads(3, || {
                let mut dx = vec![0.0; len];
                gelu_tanh_grad(&x, &dy, &mut dx);
                dx
            });
            assert_eq!(threads, dx, "{level:?}");
            gelu_erf_grad(&x, &dy, &mut dx);
            assert_close(&dx, &erf, 1e-6, &format!("erf {level:?}"));
        });
    }
}

#[test]
fn slopes_of_what_is_not_a_number_are_none() {
    at_every_level(|level| {
        let mut dx = [0.0];
        gelu_tanh_grad(&[f32::NAN], &[1.0], &mut dx);
        assert!(dx[0].is_nan(), "{level:?}");
        gelu_erf_grad(&[f32::NAN], &[1.0], &mut dx);
        assert!(dx[0].is_nan(), "{level:?}");
        let mut dx = [0.0; 2];
        silu_gate_grad(&[f32::NAN, 1.0], 1, &[1.0], &mut dx);
        assert!(dx[0].is_nan() && dx[1].is_nan(), "{level:?}");
    });
}

#[test]
fn the_gate_and_what_it_lets_through_have_their_gradients() {
    for (rows, width) in [(1, 1), (3, 7), (2, 16), (50, 801)] {
        let mut random = Random(42);
        let x: Vec<f32> = random.floats(rows * 2 * width).iter().map(|x| x * 20.0).collect();
        let dy = random.floats(rows * width);
        let mut expected = Vec::new();
        for (x, dy) in x.chunks_exact(2 * width).zip(dy.chunks_exact(width)) {
            let of = |i: usize| (f64::from(x[i]), f64::from(x[width + i]), f64::from(dy[i]));
            let sigmoid = |gate: f64| 1.0 / (1.0 + (-gate).exp());
            expected.extend((0..width).map(of).map(|(gate, up, dy)| {
                let s = sigmoid(gate);
                dy * up * (s + gate * s * (1.0 - s))
            }));
            expected.extend((0..width).map(of).map(|(gate, _, dy)| dy * gate * sigmoid(gate)));
        }
        at_every_level(|level| {
            let all = || {
                let mut found = vec![f32::NAN; x.len()];
                silu_gate_grad(&x, width, &dy, &mut found);
                found
            };
            let found = on_threads(1, all);
            assert_close(&found, &expected, 1e-6, &format!("{level:?} {rows}x{width}"));
            assert_eq!(on_threads(3, all), found);
        });
    }
}

#[test]
fn the_gradient_of_a_rotation_is_its_inverse() {
    let mut random = Random(43);
    let (rows, heads, head_dim) = (300, 3, 24);
    let x = random.floats(rows * heads * head_dim);
    let angles = random.floats(rows * head_dim / 2);
    let (cos, sin): (Vec<f32>, Vec<f32>) = angles.iter().map(|a| (a.cos(), a.sin())).unzip();
    let back: Vec<f32> = sin.iter().map(|sin| -sin).collect();
    let rotated = |x: &[f32], sin: &[f32]| {
        let mut out = vec![f32::NAN; x.len()];
        rope(Rows { data: x, stride: heads * head_dim }, (&cos, sin), head_dim, &mut out);
        out
    };
    let there = rotated(&x, &sin);
    assert!(there != x);
    let there_and_back = rotated(&there, &back);
    let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
    assert_close(&there_and_back, &x, 1e-6, "rotated back");
}
