use kernels::{AdamW, Moments, adamw, sum_of_squares};

use crate::support::{Random, assert_close, at_every_level, on_threads};

const OPTIONS: AdamW =
    AdamW { lr: 1e-2, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1, grad_scale: 0.5 };

#[test]
fn steps_of_the_optimizer_equal_the_formula() {
    for len in [1, 7, 16, 33, 40_001] {
        let mut random = Random(61);
        let start = random.floats(len);
        let grads: Vec<Vec<f32>> = (0..5).map(|_| random.floats(len)).collect();
        let mut w: Vec<f64> = start.iter().map(|w| f64::from(*w)).collect();
        let (mut m, mut v) = (vec![0.0; len], vec![0.0; len]);
        for (step, grad) in (1..).zip(&grads) {
            for i in 0..len {
                let g = 0.5 * f64::from(grad[i]);
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let first = m[i] / (1.0 - 0.9_f64.powi(step));
                let second: f64 = v[i] / (1.0 - 0.999_f64.powi(step));
                w[i] = w[i] * (1.0 - 1e-2 * 0.1) - 1e-2 * first / (second.sqrt() + 1e-8);
            }
        }
        at_every_level(|level| {
            let all = || {
                let (mut w, mut m, mut v) = (start.clone(), vec![0.0; len], vec![0.0; len]);
                for (step, grad) in (1..).zip(&grads) {
                    let moments = Moments { first: &mut m, second: &mut v };
                    adamw(OPTIONS, step, &mut w, grad, moments);
                }
                (w, m, v)
            };
            let found = on_threads(1, all);
            let what = format!("{level:?} {len}");
            assert_close(&found.0, &w, 1e-6, &what);
            assert_close(&found.1, &m, 1e-6, &what);
            assert_close(&found.2, &v, 1e-6, &what);
            assert!(on_threads(3, all) == found, "{what}");
        });
    }
}

#[test]
fn the_sum_of_squares_is_exact_and_the_same_everywhere() {
    // Whole numbers, so that every sum is exact and rounding in f32 would show.
    let x: Vec<f32> = (0..100_003).map(|i| (i % 5000) as f32).collect();
    let expected: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
    at_every_level(|level| {
        assert_eq!(sum_of_squares(&x).to_bits(), expected.to_bits(), "{level:?}");
    });
    let x = Random(62).floats(100_003);
    let found = on_threads(1, || sum_of_squares(&x));
    at_every_level(|level| {
        let again = on_threads(3, || sum_of_squares(&x));
        assert_eq!(again.to_bits(), found.to_bits(), "{level:?}");
    });
    assert!(sum_of_squares(&[1.0, f32::NAN]).is_nan());
    assert!(sum_of_squares(&[]) == 0.0);
}
