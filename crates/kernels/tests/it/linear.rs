use half::{bf16, f16};
use kernels::parallel::with_num_threads;
use kernels::{Matrix, linear, linear_packed};

use crate::support::{Random, assert_close, at_every_level};

fn expected(x: &[f32], weight: &[f32], bias: Option<&[f32]>, width: usize) -> Vec<f64> {
    let columns = weight.len() / width;
    x.chunks_exact(width)
        .flat_map(|x| {
            weight.chunks_exact(width).enumerate().map(move |(c, w)| {
                let dot: f64 = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                dot + bias.map_or(0.0, |bias| f64::from(bias[c]))
            })
        })
        .inspect(|_| assert!(columns > 0))
        .collect()
}

fn shapes(random: &mut Random) -> Vec<(usize, usize, usize)> {
    let mut shapes =
        vec![(1, 1, 1), (1, 96, 33), (6, 4, 32), (7, 5, 31), (13, 25, 100), (203, 48, 64)];
    // Rows that are multiplied in pieces, few and many of them.
    shapes.extend([
        (2, 5, 1152),
        (3, 7, 1153),
        (14, 53, 2500),
        (12, 97, 1168),
        (43, 290, 1030),
        (450, 37, 901),
        // Rows that meet several columns, few because they are long.
        (8, 50, 1100),
        (4, 9, 8200),
    ]);
    shapes.extend(
        (0..40).map(|_| (1 + random.below(20), 1 + random.below(60), 1 + random.below(150))),
    );
    shapes
}

#[test]
fn every_weight_type_equals_the_formula_at_every_level() {
    let mut random = Random(1);
    for (rows, columns, width) in shapes(&mut random) {
        let x = random.floats(rows * width);
        let weight = random.floats(columns * width);
        let bias = random.floats(columns);
        let short: Vec<bf16> = weight.iter().map(|w| bf16::from_f32(*w)).collect();
        let half: Vec<f16> = weight.iter().map(|w| f16::from_f32(*w)).collect();
        let widened: Vec<f32> = short.iter().map(|w| w.to_f32()).collect();
        let widened_half: Vec<f32> = half.iter().map(|w| w.to_f32()).collect();
        let rounded: Vec<f32> = x.iter().map(|x| bf16::from_f32(*x).to_f32()).collect();
        at_every_level(|level| {
            let what = format!("{level:?} {rows}x{columns}x{width}");
            for bias in [None, Some(bias.as_slice())] {
                for (matrix, x_used, w_used) in [
                    (Matrix::F32(&weight), &x, &weight),
                    (Matrix::Bf16(&short), &rounded, &widened),
                    (Matrix::F16(&half), &x, &widened_half),
                ] {
                    let mut out = vec![f32::NAN; rows * columns];
                    linear(&x, matrix, bias, width, &mut out);
                    let expected = expected(x_used, w_used, bias, width);
                    assert_close(&out, &expected, 2e-6, &what);
                    out.fill(f32::NAN);
                    linear_packed(&x, matrix, bias, width, &mut out);
                    assert_close(&out, &expected, 2e-6, &format!("packed {what}"));
                }
            }
        });
    }
}

#[test]
fn rounding_the_input_under_bf16_weights_moves_a_sum_by_at_most_2_to_the_minus_8_of_its_terms() {
    let mut random = Random(4);
    for (rows, columns, width) in [(1, 7, 300), (15, 40, 1100), (40, 33, 63)] {
        let x = random.floats(rows * width);
        let weight: Vec<bf16> =
            random.floats(columns * width).into_iter().map(bf16::from_f32).collect();
        let widened: Vec<f32> = weight.iter().map(|w| w.to_f32()).collect();
        let exact = expected(&x, &widened, None, width);
        let magnitudes = |x: &[f32]| x.iter().map(|x| x.abs()).collect::<Vec<_>>();
        let terms = expected(&magnitudes(&x), &magnitudes(&widened), None, width);
        at_every_level(|level| {
            for linear in [linear, linear_packed] {
                let mut out = vec![0.0; rows * columns];
                linear(&x, Matrix::Bf16(&weight), None, width, &mut out);
                for ((found, exact), terms) in out.iter().zip(&exact).zip(&terms) {
                    // And what summing in f32 costs.
                    let bound = terms * (2_f64.powi(-8) + 1e-6);
                    let error = (f64::from(*found) - exact).abs();
                    assert!(error <= bound, "{level:?} {rows}x{columns}x{width}: {found}, {exact}");
                }
            }
        });
    }
}

#[test]
fn a_row_does_not_depend_on_its_neighbours_or_on_the_number_of_threads() {
    let mut random = Random(2);
    let (rows, columns, width) = (29, 53, 1277);
    let x = random.floats(rows * width);
    let weight = random.floats(columns * width);
    let short: Vec<bf16> = weight.iter().map(|w| bf16::from_f32(*w)).collect();
    let half: Vec<f16> = weight.iter().map(|w| f16::from_f32(*w)).collect();
    at_every_level(|level| {
        for linear in [linear, linear_packed] {
            for matrix in [Matrix::F32(&weight), Matrix::Bf16(&short), Matrix::F16(&half)] {
                let mut together = vec![0.0; rows * columns];
                linear(&x, matrix, None, width, &mut together);
                for (x, expected) in x.chunks_exact(width).zip(together.chunks_exact(columns)) {
                    let mut out = vec![0.0; columns];
                    with_num_threads(1, || linear(x, matrix, None, width, &mut out));
                    assert_eq!(out, expected, "{level:?}");
                }
            }
        }
    });
}

#[test]
fn weights_need_no_alignment_beyond_that_of_their_elements() {
    let mut random = Random(3);
    let (columns, width) = (9, 45);
    let weight: Vec<bf16> =
        random.floats(columns * width + 7).into_iter().map(bf16::from_f32).collect();
    let x = random.floats(2 * width + 7);
    at_every_level(|level| {
        for shift in 0..7 {
            let (x, weight) = (&x[shift..][..2 * width], &weight[shift..][..columns * width]);
            let widened: Vec<f32> = weight.iter().map(|w| w.to_f32()).collect();
            let rounded: Vec<f32> = x.iter().map(|x| bf16::from_f32(*x).to_f32()).collect();
            let mut out = vec![0.0; 2 * columns];
            linear(x, Matrix::Bf16(weight), None, width, &mut out);
            assert_close(
                &out,
                &expected(&rounded, &widened, None, width),
                2e-6,
                &format!("{level:?}"),
            );
        }
    });
}

#[test]
fn no_rows_and_no_outputs_are_fine() {
    at_every_level(|_| {
        linear(&[], Matrix::F32(&[1.0, 2.0]), None, 2, &mut []);
        linear(&[1.0, 2.0], Matrix::F32(&[]), None, 2, &mut []);
        linear_packed(&[], Matrix::F32(&[1.0, 2.0]), None, 2, &mut []);
        linear_packed(&[1.0, 2.0], Matrix::F32(&[]), None, 2, &mut []);
    });
}
