use kernels::{cross_entropy, cross_entropy_grad};

use crate::support::{Random, assert_close, at_every_level, on_threads};

#[test]
fn loss_and_gradient_equal_the_formula_whatever_is_added_to_a_row() {
    let mut random = Random(51);
    for (rows, width) in [(1, 1), (3, 2), (5, 17), (9, 48), (40, 1003)] {
        let mut logits: Vec<f32> = random.floats(rows * width).iter().map(|x| x * 8.0).collect();
        for (row, logits) in logits.chunks_exact_mut(width).enumerate() {
            let shift = [0.0, 500.0, -500.0][row % 3];
            for x in logits {
                *x += shift;
            }
        }
        let targets: Vec<u32> = (0..rows).map(|_| random.below(width) as u32).collect();
        let (mut loss, mut grad) = (0.0, Vec::new());
        for (row, target) in logits.chunks_exact(width).zip(&targets) {
            let row: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
            let largest = row.iter().copied().fold(f64::MIN, f64::max);
            let total: f64 = row.iter().map(|x| (x - largest).exp()).sum();
            loss += total.ln() + largest - row[*target as usize];
            grad.extend(row.iter().enumerate().map(|(i, x)| {
                0.25 * ((x - largest).exp() / total - f64::from(u8::from(i == *target as usize)))
            }));
        }
        at_every_level(|level| {
            let what = format!("{level:?} {rows}x{width}");
            let all = || {
                let mut grad = logits.clone();
                (
                    cross_entropy_grad(&mut grad, &targets, 0.25),
                    grad,
                    cross_entropy(&logits, &targets),
                )
            };
            let found = on_threads(1, all);
            assert!((found.0 - loss).abs() <= 1e-6 * loss.abs().max(1.0), "{what}: {}", found.0);
            assert_eq!(found.0.to_bits(), found.2.to_bits(), "{what}");
            assert_close(&found.1, &grad, 1e-6, &what);
            assert!(on_threads(3, all) == found, "{what}");
        });
    }
}

#[test]
fn one_logit_that_is_not_a_number_spoils_the_loss_and_its_row() {
    at_every_level(|level| {
        for at in [0, 5, 20] {
            let mut logits = vec![1.0; 2 * 21];
            logits[at] = f32::NAN;
            assert!(cross_entropy(&logits, &[3, 3]).is_nan(), "{level:?}");
            assert!(cross_entropy_grad(&mut logits, &[3, 3], 1.0).is_nan(), "{level:?}");
            assert!(logits[..21].iter().all(|x| x.is_nan()), "{level:?}");
            assert!(logits[21..].iter().all(|x| x.is_finite()), "{level:?}");
        }
    });
}

#[test]
fn no_rows_have_no_loss() {
    assert!(cross_entropy(&[], &[]) == 0.0);
    assert!(cross_entropy_grad(&mut [], &[], 1.0) == 0.0);
}
