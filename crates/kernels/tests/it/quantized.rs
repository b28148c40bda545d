//! The linear layer over blocks of few bits.

use kernels::{BlockFormat, Blocks, Matrix, dequantize, linear, linear_grad_input, linear_packed};

use crate::support::{Random, assert_close, at_every_level, on_threads};

/// Returns blocks of any integers and scales of moderate size.
fn blocks(random: &mut Random, format: BlockFormat, elements: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        (0..format.num_bytes(elements)).map(|_| (random.next() >> 7) as u8).collect();
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        let places: &[usize] = match format {
            BlockFormat::Q8_0 | BlockFormat::Q4_0 => &[0],
            BlockFormat::Q4K | BlockFormat::Q5K => &[0, 2],
            BlockFormat::Q6K => &[208],
        };
        for at in places {
            let scale = half::f16::from_f32(random.floats(1)[0]);
            block[*at..at + 2].copy_from_slice(&scale.to_le_bytes());
        }
    }
    bytes
}

/// Rounds as the doc comment says, so many elements to a scale.
fn rounded(x: &[f32], width: usize, at_once: usize) -> Vec<f64> {
    let block = |x: &[f32]| {
        let largest = x.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        let (scale, inverse) = (largest / 127.0, 127.0 / largest);
        let round = move |x: &f32| f64::from(scale) * f64::from((x * inverse).round_ties_even());
        x.iter().map(round).collect::<Vec<_>>()
    };
    x.chunks(width).flat_map(|row| row.chunks(at_once)).flat_map(block).collect()
}

/// Asserts that products in tiles are what they are with rounded weights: every element of these is moved by
/// at most 0.63 of the 127th part of what 256 of them can hold, in either direction.
fn assert_near(
    found: &[f32],
    (x, expected): (&[f64], &[f64]),
    (weight, width): (&[f32], usize),
    what: &str,
) {
    let columns = weight.len() / width;
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let row = &x[i / columns * width..][..width];
        let weight = &weight[i % columns * width..][..width];
        let variance: f64 = row
            .chunks(256)
            .zip(weight.chunks(256))
            .map(|(x, weight)| {
                // What they hold is at least so much of what they can.
                let most = weight.iter().fold(0.0_f32, |most, w| most.max(w.abs())) * 1.6;
                let squares: f64 = x.iter().map(|x| x * x).sum();
                squares * (f64::from(most) / 127.0).powi(2) / 12.0
            })
            .sum();
        let error = (f64::from(*found) - expected).abs();
        let bound = 6.0 * variance.sqrt() + 1e-5 * expected.abs();
        assert!(error <= bound, "{what}: {found} at {i}, expected {expected}: {error} > {bound}");
    }
}

fn widened(format: BlockFormat, bytes: &[u8]) -> Vec<f32> {
    let blocks = Blocks { format, bytes };
    let mut values = vec![0.0; blocks.len()];
    dequantize(blocks, &mut values);
    values
}

/// The plain composition, its bias, and the sum of magnitudes that errors are relative to.
fn expected(x: &[f64], weight: &[f32], bias: Option<&[f32]>, width: usize) -> Vec<f64> {
    x.chunks_exact(width)
        .flat_map(|x| {
            weight.chunks_exact(width).enumerate().map(move |(column, w)| {
                let dot: f64 = x.iter().zip(w).map(|(x, w)| x * f64::from(*w)).sum();
                dot + bias.map_or(0.0, |bias| f64::from(bias[column]))
            })
        })
        .collect()
}

fn shapes(random: &mut Random, format: BlockFormat) -> Vec<(usize, usize, usize)> {
    let mut shapes = vec![(1, 1, 1), (2, 3, 2), (4, 17, 3), (5, 1, 1), (6, 32, 17), (13, 49, 5)];
    shapes.extend([(1, 33, 36), (23, 70, 8), (11, 31, 33)]);
    shapes.extend(
        (0..20).map(|_| (1 + random.below(20), 1 + random.below(70), 1 + random.below(40))),
    );
    // More rows than stay in a cache over all of the width.
    shapes.push((200, 3, 136));
    let len = format.block_len();
    shapes
        .into_iter()
        .map(|(r, c, b)| (r, c, if len == 256 { b.div_ceil(4) } else { b } * len))
        .collect()
}

#[test]
fn every_format_equals_the_formula_at_every_level() {
    let mut random = Random(11);
    for format in BlockFormat::ALL {
        for (rows, columns, width) in shapes(&mut random, format) {
            let x = random.floats(rows * width);
            let bytes = blocks(&mut random, format, columns * width);
            let bias = random.floats(columns);
            let (x_used, weight) = (rounded(&x, width, 32), widened(format, &bytes));
            let matrix = Matrix::Blocks(Blocks { format, bytes: &bytes });
            let x_of_256 = rounded(&x, width, 256);
            for bias in [None, Some(bias.as_slice())] {
                let of_256 = expected(&x_of_256, &weight, bias, width);
                let expected = expected(&x_used, &weight, bias, width);
                at_every_level(|level| {
                    let mut out = vec![f32::NAN; rows * columns];
                    linear(&x, matrix, bias, width, &mut out);
                    let what = format!("{level:?} {format:?} {rows}x{columns}x{width}");
                    assert_close(&out, &expected, 3e-6, &what);
                    out.fill(f32::NAN);
                    on_threads(1, || linear_packed(&x, matrix, bias, width, &mut out));
                    if level.has_blocks_of_bytes() {
                        assert_near(&out, (&x_of_256, &of_256), (&weight, width), &what);
                    } else {
                        assert_close(&out, &expected, 3e-6, &what);
                    }
                });
            }
        }
    }
}

#[test]
fn blocks_of_bytes_are_exact_where_blocks_have_the_same_scale() {
    let mut random = Random(16);
    let mut shapes = vec![(203, 37, 8256), (730, 5, 1152), (1, 1, 32), (70, 290, 320)];
    shapes.extend(
        (0..20).map(|_| (1 + random.below(70), 1 + random.below(70), 32 + random.below(40) * 32)),
    );
    let format = BlockFormat::Q8_0;
    for (rows, columns, width) in shapes {
        let x = random.floats(rows * width);
        let mut bytes = blocks(&mut random, format, columns * width);
        for block in bytes.chunks_exact_mut(format.block_bytes()) {
            block[..2].copy_from_slice(&half::f16::from_f32(0.01).to_le_bytes());
            block[2..].iter_mut().for_each(|byte| *byte = (*byte).max(1).wrapping_add(0x80));
        }
        let bias = random.floats(columns);
        let weight = widened(format, &bytes);
        let of_256 = expected(&rounded(&x, width, 256), &weight, Some(&bias), width);
        let plain = expected(&rounded(&x, width, 32), &weight, Some(&bias), width);
        at_every_level(|level| {
            let expected = if level.has_blocks_of_bytes() { &of_256 } else { &plain };
            let mut out = vec![f32::NAN; rows * columns];
            let matrix = Matrix::Blocks(Blocks { format, bytes: &bytes });
            linear_packed(&x, matrix, Some(&bias), width, &mut out);
            assert_close(&out, expected, 5e-6, &format!("{level:?} {rows}x{columns}x{width}"));
        });
    }
}

#[test]
fn a_row_of_a_product_with_blocks_does_not_depend_on_the_others_or_on_the_threads() {
    let mut random = Random(12);
    for format in BlockFormat::ALL {
        for (rows, columns, width) in [(29, 71, 2304), (7, 90, 256)] {
            let x = random.floats(rows * width);
            let bytes = blocks(&mut random, format, columns * width);
            let matrix = Matrix::Blocks(Blocks { format, bytes: &bytes });
            at_every_level(|level| {
                for linear in [linear, linear_packed] {
                    let mut together = vec![0.0; rows * columns];
                    linear(&x, matrix, None, width, &mut together);
                    for (threads, at_once) in
                        [(1, 1), (3, 2), (2, 3), (4, 4), (1, 6), (2, 8), (3, 11), (2, 16)]
                    {
                        let mut out = vec![0.0; rows * columns];
                        on_threads(threads, || {
                            let outs = out.chunks_mut(at_once * columns);
                            for (x, out) in x.chunks(at_once * width).zip(outs) {
                                linear(x, matrix, None, width, out);
                            }
                        });
                        assert_eq!(out, together, "{level:?} {format:?} {at_once} rows");
                    }
                }
            });
        }
    }
}

#[test]
fn blocks_may_lie_anywhere() {
    let mut random = Random(13);
    let (columns, width) = (19, 768);
    for format in BlockFormat::ALL {
        let bytes = blocks(&mut random, format, columns * width);
        let weight = widened(format, &bytes);
        for rows in [2, 7, 9] {
            let x = random.floats(rows * width + 3);
            at_every_level(|level| {
                for shift in 0..4 {
                    let moved = [&vec![0xff; shift], bytes.as_slice()].concat();
                    let x = &x[shift.min(3)..][..rows * width];
                    let mut out = vec![0.0; rows * columns];
                    let blocks = Blocks { format, bytes: &moved[shift..] };
                    linear(x, Matrix::Blocks(blocks), None, width, &mut out);
                    let expected = expected(&rounded(x, width, 32), &weight, None, width);
                    assert_close(&out, &expected, 3e-6, &format!("{level:?} {format:?}"));
                }
            });
        }
    }
}

#[test]
fn what_is_no_number_stays_none_and_tiny_numbers_are_zero() {
    let mut random = Random(14);
    let (rows, columns, width) = (7, 5, 512);
    for format in BlockFormat::ALL {
        let bytes = blocks(&mut random, format, columns * width);
        let matrix = Matrix::Blocks(Blocks { format, bytes: &bytes });
        at_every_level(|level| {
            for linear in [linear, linear_packed] {
                for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    let mut x = vec![0.5; rows * width];
                    x[width + 100] = odd;
                    let mut out = vec![0.0; rows * columns];
                    linear(&x, matrix, None, width, &mut out);
                    for (row, out) in out.chunks(columns).enumerate() {
                        assert!(out.iter().all(|v| v.is_nan() == (row == 1)), "{level:?} {odd}");
                    }
                }
                let mut out = vec![1.0; rows * columns];
                linear(&vec![1e-40; rows * width], matrix, None, width, &mut out);
                assert_eq!(out, vec![0.0; rows * columns], "{level:?}");
            }
        });
    }
}

#[test]
fn no_rows_and_no_outputs_of_blocks_are_fine() {
    for format in BlockFormat::ALL {
        at_every_level(|_| {
            let bytes = vec![0; format.num_bytes(256)];
            linear(&[], Matrix::Blocks(Blocks { format, bytes: &bytes }), None, 256, &mut []);
            let none = Matrix::Blocks(Blocks { format, bytes: &[] });
            linear(&[1.0; 256], none, None, 256, &mut []);
        });
    }
}

#[test]
fn the_gradient_of_the_input_is_that_of_the_elements() {
    let mut random = Random(15);
    let (rows, columns, width) = (5, 9, 256);
    for format in BlockFormat::ALL {
        let bytes = blocks(&mut random, format, columns * width);
        let dy = random.floats(rows * columns);
        let (mut found, mut expected) = (vec![0.0; rows * width], vec![0.0; rows * width]);
        at_every_level(|level| {
            let matrix = Matrix::Blocks(Blocks { format, bytes: &bytes });
            linear_grad_input(Matrix::F32(&dy), matrix, width, &mut found);
            let weight = widened(format, &bytes);
            linear_grad_input(Matrix::F32(&dy), Matrix::F32(&weight), width, &mut expected);
            assert_eq!(found, expected, "{level:?} {format:?}");
        });
    }
}
