use kernels::{Rows, gelu_erf, gelu_tanh, rope, silu_gate};

use crate::support::{Random, assert_close, at_every_level};

/// A grid of values, the far ends included.
fn grid(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i as f32 / len as f32 - 0.5) * 240.0 * (i as f32 / len as f32)).collect()
}

#[test]
fn activations_equal_their_formulas_from_end_to_end() {
    for len in [1, 5, 16, 33, 40_001] {
        let x = grid(len);
        let wide: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
        let tanh: Vec<f64> = wide
            .iter()
            .map(|x| {
                let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
                0.5 * x * (1.0 + u.tanh())
            })
            .collect();
        let erf: Vec<f64> =
            wide.iter().map(|x| 0.5 * x * (1.0 + libm::erf(x / 2f64.sqrt()))).collect();
        at_every_level(|level| {
            for i in 0..len {
                let mut out = [0.0];
                gelu_tanh(&x[i..=i], &mut out);
                // Relative to each value, so that the flat tail counts as much as the slope.
                assert_close(&out, &tanh[i..=i], 2e-6, &format!("tanh {level:?} {}", x[i]));
                if i % 997 != 0 {
                    continue;
                }
                gelu_erf(&x[i..=i], &mut out);
                assert_close(&out, &erf[i..=i], 1e-6, &format!("erf {level:?} {}", x[i]));
            }
            let mut out = vec![0.0; len];
            gelu_tanh(&x, &mut out);
            assert_close(&out, &tanh, 1e-6, &format!("tanh {level:?}"));
            gelu_erf(&x, &mut out);
            assert_close(&out, &erf, 1e-6, &format!("erf {level:?}"));
        });
    }
}

#[test]
fn the_tail_of_gelu_keeps_its_digits() {
    let x: Vec<f32> = (0..4_001).map(|i| i as f32 / -400.0).collect();
    at_every_level(|level| {
        let mut out = vec![0.0; x.len()];
        gelu_erf(&x, &mut out);
        for (x, out) in x.iter().zip(out) {
            let wide = f64::from(*x);
            let expected = 0.5 * wide * libm::erfc(-wide / 2f64.sqrt());
            let error = (f64::from(out) - expected).abs();
            assert!(error <= 4e-6 * expected.abs(), "{level:?} {x}: {out}, expected {expected}");
        }
        let mut out = [0.0; 4];
        gelu_erf(&[f32::NAN, f32::MIN, f32::MAX, f32::INFINITY], &mut out);
        assert!(out[0].is_nan() && out[1].abs() < 1e-30, "{level:?} {out:?}");
        assert_eq!(&out[2..], [f32::MAX, f32::INFINITY], "{level:?}");
    });
}

#[test]
fn the_gate_multiplies_the_activated_half_with_the_other() {
    for (rows, width) in [(1, 1), (3, 7), (2, 16), (50, 801)] {
        let mut random = Random(7);
        let x: Vec<f32> = random.floats(rows * 2 * width).iter().map(|x| x * 50.0).collect();
        let expected: Vec<f64> = x
            .chunks_exact(2 * width)
            .flat_map(|row| {
                (0..width).map(|i| {
                    let gate = f64::from(row[i]);
                    gate / (1.0 + (-gate).exp()) * f64::from(row[width + i])
                })
            })
            .collect();
        at_every_level(|level| {
            let mut out = vec![0.0; rows * width];
            silu_gate(&x, width, &mut out);
            assert_close(&out, &expected, 1e-6, &format!("{level:?} {rows}x{width}"));
        });
    }
}

#[test]
fn rope_rotates_halves_against_each_other() {
    // Two rows of two heads of four, between numbers that are not theirs: the first pair of the first row by 90
    // degrees, the second not at all, and in the second row the other way round.
    let x: Vec<f32> = (1..=22).map(|i| i as f32).collect();
    let rows = Rows { data: &x, stride: 11 };
    let mut out = [f32::NAN; 16];
    rope(rows, (&[0.0, 1.0, 1.0, 0.0], &[1.0, 0.0, 0.0, 1.0]), 4, &mut out);
    let first = [-3.0, 2.0, 1.0, 4.0, -7.0, 6.0, 5.0, 8.0];
    let second = [12.0, -15.0, 14.0, 13.0, 16.0, -19.0, 18.0, 17.0];
    assert_close(&out, &[first, second].concat(), 0.0, "rope");
}
