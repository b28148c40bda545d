use half::{bf16, f16};
use kernels::{Matrix, linear_grad_bias, linear_grad_input, linear_grad_weight};

use crate::support::{Random, assert_close, at_every_level, on_threads};

/// Rows, outputs and width: less than a tile, odd, several pieces of the depth and of the breadth.
fn shapes(random: &mut Random) -> Vec<(usize, usize, usize)> {
    let mut shapes = vec![(1, 1, 1), (14, 32, 32), (15, 33, 31), (13, 25, 100), (84, 84, 64)];
    shapes.extend([(2, 801, 3), (803, 2, 5), (3, 7, 1153), (400, 50, 520), (50, 400, 77)]);
    // Either matrix the smaller one, over more of the depth than is packed at once.
    shapes.extend([(300, 900, 20), (900, 300, 20)]);
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
        let short_dy: Vec<bf16> = dy.iter().map(|w| bf16::from_f32(*w)).collect();
        let widened_dy: Vec<f32> = short_dy.iter().map(|w| w.to_f32()).collect();
        let (long, short_dy) = (Matrix::F32(&dy), Matrix::Bf16(&short_dy));
        for (given, used_dy, matrix, used) in [
            (long, &dy, Matrix::F32(&weight), &weight),
            (long, &dy, Matrix::Bf16(&short), &widened),
            (long, &dy, Matrix::F16(&half), &widened_half),
            (short_dy, &widened_dy, Matrix::Bf16(&short), &widened),
            (short_dy, &widened_dy, Matrix::F32(&weight), &weight),
        ] {
            let expected = product(used_dy, used, rows, out_width);
            at_every_level(|level| {
                let mut dx = vec![f32::NAN; rows * width];
                linear_grad_input(given, matrix, width, &mut dx);
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
        let [short_dy, short_x] =
            [dy, x].map(|it| it.iter().map(|v| bf16::from_f32(*v)).collect::<Vec<_>>());
        let [widened_dy, widened_x] =
            [&short_dy, &short_x].map(|it| it.iter().map(|v| v.to_f32()).collect::<Vec<_>>());
        let before = random.floats(shift + out_width * width);
        let sum = |expected: &[f64], before: &[f32]| -> Vec<f64> {
            expected.iter().zip(before).map(|(e, b)| e + f64::from(*b)).collect()
        };
        for ((dy, x), (used_dy, used_x)) in [
            ((Matrix::F32(dy), Matrix::F32(x)), (dy, x)),
            ((Matrix::Bf16(&short_dy), Matrix::Bf16(&short_x)), (&widened_dy[..], &widened_x[..])),
        ] {
            let expected = product(&transposed(used_dy, out_width), used_x, out_width, rows);
            let expected_bias = product(&vec![1.0; rows], used_dy, 1, rows);
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
}

#[test]
fn what_no_cache_holds_is_cut_and_summed_as_the_formula_says() {
    let mut random = Random(24);
    let (rows, out_width, width) = (5003, 3, 450);
    let short = |x: &[f32]| x.iter().map(|v| bf16::from_f32(*v)).collect::<Vec<_>>();
    let widened = |x: &[bf16]| x.iter().map(|v| v.to_f32()).collect::<Vec<_>>();
    let (dy, x) = (random.floats(rows * out_width), random.floats(rows * width));
    let (dy, x) = (short(&dy), short(&x));
    let expected = product(&transposed(&widened(&dy), out_width), &widened(&x), out_width, rows);
    at_every_level(|level| {
        let mut dw = vec![f32::NAN; out_width * width];
        // One thread has all of it to do.
        on_threads(1, || {
            linear_grad_weight(Matrix::Bf16(&dy), Matrix::Bf16(&x), width, &mut dw, false);
        });
        assert_close(&dw, &expected, 2e-6, &format!("{level:?}"));
    });
}

#[test]
fn sums_depend_neither_on_the_number_of_threads_nor_on_the_other_rows() {
    let mut random = Random(23);
    let (rows, out_width, width) = (411, 90, 200);
    let (dy, x) = (random.floats(rows * out_width), random.floats(rows * width));
    let weight = random.floats(out_width * width);
    let short = |x: &[f32]| x.iter().map(|v| bf16::from_f32(*v)).collect::<Vec<_>>();
    let (short_dy, short_x, short_weight) = (short(&dy), short(&x), short(&weight));
    at_every_level(|level| {
        let all = |dy: Matrix<'_>, x: Matrix<'_>, weight: Matrix<'_>| {
            let mut dx = vec![0.0; x.len()];
            linear_grad_input(dy, weight, width, &mut dx);
            let (mut dw, mut db) = (vec![0.0; weight.len()], vec![0.0; out_width]);
            linear_grad_weight(dy, x, width, &mut dw, false);
            linear_grad_bias(dy, &mut db, false);
            (dx, dw, db)
        };
        for is_short in [false, true] {
            let of_rows = |first: usize| {
                let (dy_at, x_at) = (first * out_width, first * width);
                if is_short {
                    let (dy, x) = (&short_dy[dy_at..], &short_x[x_at..]);
                    all(Matrix::Bf16(dy), Matrix::Bf16(x), Matrix::Bf16(&short_weight))
                } else {
                    let (dy, x) = (&dy[dy_at..], &x[x_at..]);
                    all(Matrix::F32(dy), Matrix::F32(x), Matrix::F32(&weight))
                }
            };
            let one = on_threads(1, || of_rows(0));
            assert!(on_threads(3, || of_rows(0)) == one, "{level:?}");
            let (last, _, _) = of_rows(rows - 1);
            assert_eq!(last, one.0[(rows - 1) * width..], "{level:?}");
        }
    });
}

#[test]
fn no_rows_give_no_gradient_and_no_panic() {
    at_every_level(|_| {
        let (mut dw, mut db) = ([5.0; 6], [5.0; 3]);
        linear_grad_weight(Matrix::F32(&[]), Matrix::F32(&[]), 2, &mut dw, true);
        linear_grad_bias(Matrix::F32(&[]), &mut db, true);
        assert!(dw.iter().chain(&db).all(|d| d.to_bits() == 5.0_f32.to_bits()));
        linear_grad_weight(Matrix::F32(&[]), Matrix::F32(&[]), 2, &mut dw, false);
        linear_grad_bias(Matrix::F32(&[]), &mut db, false);
        assert!(dw.iter().chain(&db).all(|d| *d == 0.0));
        let mut dw = [5.0; 6];
        linear_grad_weight(Matrix::Bf16(&[]), Matrix::Bf16(&[]), 2, &mut dw, true);
        assert!(dw.iter().all(|d| d.to_bits() == 5.0_f32.to_bits()));
        linear_grad_weight(Matrix::Bf16(&[]), Matrix::Bf16(&[]), 2, &mut dw, false);
        assert!(dw.iter().all(|d| *d == 0.0));
        let mut dx = [5.0; 4];
        linear_grad_input(Matrix::F32(&[]), Matrix::F32(&[]), 2, &mut dx);
        assert!(dx.iter().all(|d| *d == 0.0));
        linear_grad_input(Matrix::F32(&[]), Matrix::F32(&[1.0, 2.0]), 2, &mut []);
    });
}

#[test]
fn what_is_not_a_number_is_not_hidden_in_a_gradient() {
    at_every_level(|level| {
        let (mut dx, mut dw) = ([0.0; 6], [0.0; 2]);
        linear_grad_input(Matrix::F32(&[1.0, f32::NAN, 1.0]), Matrix::F32(&[0.0, 1.0]), 2, &mut dx);
        assert_eq!(dx.map(f32::is_nan), [false, false, true, true, false, false], "{level:?}");
        linear_grad_weight(
            Matrix::F32(&[0.0, 1.0, 1.0]),
            Matrix::F32(&[f32::NAN, 1.0, 1.0, 1.0, 1.0, 1.0]),
            2,
            &mut dw,
            false,
        );
        assert_eq!(dw.map(f32::is_nan), [true, false], "{level:?}");
    });
}
