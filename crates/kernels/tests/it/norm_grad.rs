use kernels::{NormGrad, layer_norm_grad, rms_norm_grad};

use crate::support::{Random, assert_close, at_every_level, on_threads};

/// The sum of `dy norm(x)` over a row in f64, whose derivatives the gradients are.
fn objective(x: &[f64], weight: &[f64], dy: &[f64], centred: bool) -> f64 {
    let count = x.len() as f64;
    let mean = if centred { x.iter().sum::<f64>() / count } else { 0.0 };
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
    let inverse = (variance + 1e-5).powf(-0.5);
    x.iter().zip(weight).zip(dy).map(|((x, w), dy)| (x - mean) * inverse * w * dy).sum()
}

/// Returns the central differences of `f` about `x`.
fn differences(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let step = 1e-5;
    let moved = |i: usize, by: f64| {
        let mut x = x.to_vec();
        x[i] += by;
        f(&x)
    };
    (0..x.len()).map(|i| (moved(i, step) - moved(i, -step)) / (2.0 * step)).collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

type Norm = fn(&[f32], &[f32], f32, &[f32], NormGrad<'_>);

#[test]
fn gradients_of_norms_equal_the_differences_of_their_formulas() {
    let mut random = Random(31);
    for width in [1, 2, 7, 8, 15, 16, 17, 33, 100] {
        let rows = 70;
        let x: Vec<f32> = random.floats(rows * width).iter().map(|x| x * 2.0 + 0.5).collect();
        let (dy, weight) = (random.floats(rows * width), random.floats(width));
        for centred in [true, false] {
            let (mut dx, mut dweight, mut dbias) = (vec![], vec![0.0; width], vec![0.0; width]);
            for (x, dy) in x.chunks_exact(width).zip(dy.chunks_exact(width)) {
                let (x, dy, weight) = (wide(x), wide(dy), wide(&weight));
                dx.extend(differences(&x, |x| objective(x, &weight, &dy, centred)));
                let dw = differences(&weight, |weight| objective(&x, weight, &dy, centred));
                for i in 0..width {
                    dweight[i] += dw[i];
                    dbias[i] += dy[i];
                }
            }
            let twice = |x: &[f64]| x.iter().map(|x| 2.0 * x).collect::<Vec<_>>();
            at_every_level(|level| {
                let what = format!("{level:?} {width} {centred}");
                let norm: Norm = if centred { layer_norm_grad } else { rms_norm_grad };
                let mut found = (vec![f32::NAN; x.len()], vec![7.0; width], vec![7.0; width]);
                for accumulate in [false, true] {
                    let (dweight, dbias) = (Some(&mut *found.1), centred.then_some(&mut *found.2));
                    norm(&x, &weight, 1e-5, &dy, {
                        NormGrad { dx: &mut found.0, dweight, dbias, accumulate }
                    });
                }
                // A width of one has no variance: what is left of large terms that cancel.
                let bound = if width <= 2 { 3e-3 } else { 1e-5 };
                assert_close(&found.0, &dx, bound, &what);
                assert_close(&found.1, &twice(&dweight), 1e-5, &what);
                if centred {
                    assert_close(&found.2, &twice(&dbias), 1e-5, &what);
                }
                let mut alone = vec![0.0; x.len()];
                let none =
                    NormGrad { dx: &mut alone, dweight: None, dbias: None, accumulate: false };
                norm(&x, &weight, 1e-5, &dy, none);
                assert_eq!(alone, found.0, "{what}");
            });
        }
    }
}

#[test]
fn gradients_of_norms_do_not_depend_on_the_number_of_threads() {
    let mut random = Random(32);
    let (rows, width) = (333, 70);
    let (x, dy) = (random.floats(rows * width), random.floats(rows * width));
    let weight = random.floats(width);
    at_every_level(|level| {
        let all = || {
            let mut found = (vec![0.0; x.len()], vec![0.0; width], vec![0.0; width]);
            let (dweight, dbias) = (Some(&mut *found.1), Some(&mut *found.2));
            let grad = NormGrad { dx: &mut found.0, dweight, dbias, accumulate: false };
            layer_norm_grad(&x, &weight, 1e-5, &dy, grad);
            found
        };
        assert!(on_threads(1, all) == on_threads(3, all), "{level:?}");
    });
}
