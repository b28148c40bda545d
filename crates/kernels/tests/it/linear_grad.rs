use half::{bf16, f16};
use kernels::{Matrix, linear_grad_bias, linear_grad_input, linear_grad_weight};

use crate::support::{Random, assert_close, at_every_level, on_threads};

/// Rows, outputs and width: less than a tile, odd, several pieces of the depth and of the breadth.
fn shapes(random: &mut Random) -> Vec<(usize, usize, usize)> {
    let mut shapes = vec![(1, 1, 1), (14, 32, 32), (15, 33, 31), (13, 25, 100), (84, 84, 64)];
    shapes.extend([(2, 801, 3), (803, 2, 5), (3, 7, 1153), (400, 50, 520), (50, 400, 77)]);
    shapes.extend(
        (0..30).map(|_| (1 + random.below(60), 1 + random.below(60), 1 + random.below(150))),
    );
    shapes
}

/// `a b` in f64, `a` of so many rows.
fn product(a: &[f32], b: &[f32], rows: usize, depth: usize) -> Vec<f64> {
    let columns = b.len() / depth;
    let mut out = vec![0.0; rows * columns];
    for row in 0..rows {
        for k in 0..depth {
            let a = f64::from(a[row * depth + k]);
            for column in 0..columns {
                out[row * columns + column] += a * f64::from(b[k * columns + column]);
            }
        }
    }
    out
}

fn transposed(a: &[f32], columns: usize) -> Vec<f32> {
    let rows = a.len() / columns;
    (0..a.len()).map(|i| a[i % rows * columns + i / rows]).collect()
}

#[test]
fn the_gradient_of_the_input_equals_the_formula_for_every_weight_type() {
    let mut random = Random(21);
    for (rows, out_width, width) in shapes(&mut random) {
        let dy = random.floats(rows * out_width);
        let weight = random.floats(out_width * width);
        let short: Vec<bf16> = weight.iter().map(|w| bf16::from_f32(*w)).collect();
        let half: Vec<f16> = weight.iter().map(|w| f16::from_f32(*w)).collect();
        let widened: Vec<f32> = short.iter().map(|w| w.to_f32()).collect();
        let widened_half: Vec<f32> = half.iter().map(|w| w.to_f32()).collect();
        for (matrix, used) in [
            (Matrix::F32(&weight), &weight),
            (Matrix::Bf16(&short), &widened),
            (Matrix::F16(&half), &widened_half),
        ] {
            let expected = product(&dy, used, rows, out_width);
            at_every_level(|level| {
                let mut dx = vec![f32::NAN; rows * width];
                linear_grad_input(&dy, matrix, width, &mut dx);
                assert_close(
                    &dx,
                    &expected,
                    2e-6,
                    &format!("{level:?} {rows} {out_width} {width}"),
                );
            });
        }
    }
}

#[test]
fn the_gradients_of_weights_and_bias_equal_the_formula_and_add_to_what_is_there() {
    let mut random = Random(22);
    for (rows, out_width, width) in shapes(&mut random) {
        // Operands and results that start anywhere.
        let shift = random.below(17);
        let (dy, x) =
            (random.floats(shift + rows * out_width), random.floats(shift + rows * width));
        let (dy, x) = (&dy[shift..], &x[shift..]);
        let expected = product(&transposed(dy, out_width), x, out_width, rows);
        let ones = vec![1.0; rows];
        let expected_bias = product(&ones, dy, 1, rows);
        let before = random.floats(shift + out_width * width);
        let sum = |expected: &[f64], before: &[f32]| -> Vec<f64> {
            expected.iter().zip(before).map(|(e, b)| e + f64::from(*b)).collect()
        };
        at_every_level(|level| {
            let what = format!("{level:?} {rows} {out_width} {width}");
            let mut found = before.clone();
            let dw = &mut found[shift..];
            linear_grad_weight(dy, x, width, dw, true);
            assert_close(dw, &sum(&expected, &before[shift..]), 2e-6, &what);
            dw.fill(f32::NAN);
            linear_grad_weight(dy, x, width, dw, false);
            assert_close(dw, &expected, 2e-6, &what);
            assert_eq!(found[..shift], before[..shift]);
            let mut db = before[..out_width].to_vec();
            linear_grad_bias(dy, &mut db, true);
            assert_close(&db, &sum(&expected_bias, &before), 2e-6, &what);
            db.fill(f32::NAN);
            linear_grad_bias(dy, &mut db, false);
            assert_close(&db, &expected_bias, 2e-6, &what);
        });
    }
}

#[test]
fn sums_depend_neither_on_the_number_of_threads_nor_on_the_other_rows() {
    let mut random = Random(23);
    let (rows, out_width, width) = (411, 90, 200);
    let (dy, x) = (random.floats(rows * out_width), random.floats(rows * width));
    let weight = random.floats(out_width * width);
    at_every_level(|level| {
        let all = |dy: &[f32], x: &[f32]| {
            let mut dx = vec![0.0; x.len()];
            linear_grad_input(dy, Matrix::F32(&weight), width, &mut dx);
            let (mut dw, mut db) = (vec![0.0; weight.len()], vec![0.0; out_width]);
            linear_grad_weight(dy, x, width, &mut dw, false);
            linear_grad_bias(dy, &mut db, false);
            (dx, dw, db)
        };
        let one = on_threads(1, || all(&dy, &x));
        assert!(on_threads(3, || all(&dy, &x)) == one, "{level:?}");
        let (last, _, _) = all(&dy[(rows - 1) * out_width..], &x[(rows - 1) * width..]);
        assert_eq!(last, one.0[(rows - 1) * width..], "{level:?}");
    });
}

#[test]
fn no_rows_give_no_gradient_and_no_panic() {
    at_every_level(|_| {
        let (mut dw, mut db) = ([5.0; 6], [5.0; 3]);
        linear_grad_weight(&[], &[], 2, &mut dw, true);
        linear_grad_bias(&[], &mut db, true);
        assert!(dw.iter().chain(&db).all(|d| d.to_bits() == 5.0_f32.to_bits()));
        linear_grad_weight(&[], &[], 2, &mut dw, false);
        linear_grad_bias(&[], &mut db, false);
        assert!(dw.iter().chain(&db).all(|d| *d == 0.0));
        let mut dx = [5.0; 4];
        linear_grad_input(&[], Matrix::F32(&[]), 2, &mut dx);
        assert!(dx.iter().all(|d| *d == 0.0));
        linear_grad_input(&[], Matrix::F32(&[1.0, 2.0]), 2, &mut []);
    });
}

#[test]
fn what_is_not_a_number_is_not_hidden_in_a_gradient() {
    at_every_level(|level| {
        let (mut dx, mut dw) = ([0.0; 6], [0.0; 2]);
        linear_grad_input(&[1.0, f32::NAN, 1.0], Matrix::F32(&[0.0, 1.0]), 2, &mut dx);
        assert_eq!(dx.map(f32::is_nan), [false, false, true, true, false, false], "{level:?}");
        linear_grad_weight(
            &[0.0, 1.0, 1.0],
            &[f32::NAN, 1.0, 1.0, 1.0, 1.0, 1.0],
            2,
            &mut dw,
            false,
        );
        assert_eq!(dw.map(f32::is_nan), [true, false], "{level:?}");
    });
}
