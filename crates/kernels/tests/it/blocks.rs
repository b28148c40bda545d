//! Blocks of few bits: what is written, and how close it comes.

use half::f16;
use kernels::{BlockFormat, Blocks, dequantize, quantize};

use crate::support::Random;

fn quantized(format: BlockFormat, values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0xaa; format.num_bytes(values.len())];
    quantize(format, values, &mut bytes);
    bytes
}

fn restored(format: BlockFormat, bytes: &[u8]) -> Vec<f32> {
    let len = Blocks { format, bytes }.len();
    let mut values = vec![f32::NAN; len];
    dequantize(Blocks { format, bytes }, &mut values);
    values
}

/// Numbers that are distributed as weights are: a bell.
fn bell(random: &mut Random, len: usize) -> Vec<f32> {
    (0..len).map(|_| random.floats(12).iter().sum::<f32>() * 0.01).collect()
}

fn relative_rms(found: &[f32], expected: &[f32]) -> f64 {
    let square = |v: f32| f64::from(v) * f64::from(v);
    let error: f64 = found.iter().zip(expected).map(|(f, e)| square(f - e)).sum();
    (error / expected.iter().map(|e| square(*e)).sum::<f64>()).sqrt()
}

#[test]
fn blocks_have_the_sizes_of_the_file_format() {
    let sizes = BlockFormat::ALL.map(|format| (format.block_len(), format.block_bytes()));
    assert_eq!(sizes, [(32, 34), (32, 18), (256, 144), (256, 176), (256, 210)]);
}

#[test]
fn eight_bits_are_the_reference_rounding() {
    let mut values = [0.0; 32];
    values[..6].copy_from_slice(&[127.0, -63.5, 0.5, -0.5, 0.49, -126.51]);
    let bytes = quantized(BlockFormat::Q8_0, &values);
    assert_eq!(bytes[..2], f16::from_f32(1.0).to_le_bytes());
    // Halves are rounded away from zero.
    assert_eq!(bytes[2..8], [127_i8, -64, 1, -1, 0, -127].map(i8::cast_unsigned));
    assert!(bytes[8..].iter().all(|q| *q == 0));
}

#[test]
fn four_bits_are_the_reference_rounding() {
    let mut values = [0.0; 32];
    // The largest magnitude gets the integer farthest from zero, whatever its sign.
    values[0] = 16.0;
    values[1] = -14.0;
    values[2] = -16.0;
    values[16] = 1.0;
    values[17] = 3.1;
    let bytes = quantized(BlockFormat::Q4_0, &values);
    assert_eq!(bytes[..2], f16::from_f32(-2.0).to_le_bytes());
    // -8 and 7, which -16 is cut to; 1 / -2 is halfway and goes up, 3.1 / -2 does not.
    assert_eq!(bytes[2..6], [0x80, 0x6f, 0x8f, 0x88]);
    assert!(bytes[6..].iter().all(|q| *q == 0x88));
}

#[test]
fn larger_blocks_are_read_as_the_layout_says() {
    let mut random = Random(3);
    for _ in 0..20 {
        let mut block: Vec<u8> = (0..210).map(|_| random.next() as u8).collect();
        let (d, e) = (0.25, -0.5);
        block[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
        block[2..4].copy_from_slice(&f16::from_f32(e).to_le_bytes());
        block[208..].copy_from_slice(&f16::from_f32(d).to_le_bytes());
        let four = restored(BlockFormat::Q4K, &block[..144]);
        let five = restored(BlockFormat::Q5K, &block[..176]);
        let six = restored(BlockFormat::Q6K, &block);
        let packed = &block[4..16];
        for i in 0..256 {
            let group = i / 32;
            let (scale, minimum) = if group < 4 {
                (packed[group] & 63, packed[group + 4] & 63)
            } else {
                let (low, j) = (packed[group + 4], group - 4);
                (low & 15 | packed[j] >> 6 << 4, low >> 4 | packed[j + 4] >> 6 << 4)
            };
            let byte = block[16 + i / 64 * 32 + i % 32];
            let q = if group % 2 == 0 { byte & 15 } else { byte >> 4 };
            let expected = d * f32::from(scale) * f32::from(q) - e * f32::from(minimum);
            assert_eq!(four[i].to_bits(), expected.to_bits(), "{i}");
            let byte = block[48 + i / 64 * 32 + i % 32];
            let q = if group % 2 == 0 { byte & 15 } else { byte >> 4 };
            let q = q + (block[16 + i % 32] >> group & 1) * 16;
            let expected = d * f32::from(scale) * f32::from(q) - e * f32::from(minimum);
            assert_eq!(five[i].to_bits(), expected.to_bits(), "{i}");
            let (half, j) = (i / 128, i % 128);
            let low = block[half * 64 + j % 64];
            let low = if j < 64 { low & 15 } else { low >> 4 };
            let high = block[128 + half * 32 + j % 32] >> (j / 32 * 2) & 3;
            let scale = d * f32::from(block[192 + i / 16].cast_signed());
            let expected = scale * (f32::from(low + 16 * high) - 32.0);
            assert_eq!(six[i].to_bits(), expected.to_bits(), "{i}");
        }
    }
}

#[test]
fn what_is_restored_is_as_close_as_the_bits_allow() {
    let mut random = Random(4);
    let values = bell(&mut random, 64 * 256);
    // A search that is left out costs 10% at four bits and 20% at six.
    for (format, bound) in [
        (BlockFormat::Q8_0, 0.0056),
        (BlockFormat::Q4_0, 0.089),
        (BlockFormat::Q4K, 0.0725),
        (BlockFormat::Q5K, 0.036),
        (BlockFormat::Q6K, 0.0178),
    ] {
        let error = relative_rms(&restored(format, &quantized(format, &values)), &values);
        assert!(error < bound, "{format:?}: {error}");
        assert!(error > 0.7 * bound, "{format:?}: {error}, so the bound is too wide");
    }
}

#[test]
fn every_element_of_a_block_is_within_a_step() {
    let mut random = Random(5);
    for format in BlockFormat::ALL {
        for _ in 0..200 {
            let size = (random.floats(1)[0] * 4.0).exp2();
            let values: Vec<f32> = random.floats(256).into_iter().map(|v| v * size).collect();
            let found = restored(format, &quantized(format, &values));
            let largest = values.iter().fold(0.0_f32, |l, v| l.max(v.abs()));
            let steps = match format {
                BlockFormat::Q8_0 => 225.0,
                BlockFormat::Q4_0 => 8.0,
                BlockFormat::Q4K => 9.0,
                BlockFormat::Q5K => 14.0,
                BlockFormat::Q6K => 28.0,
            };
            for (found, value) in found.iter().zip(&values) {
                let error = (found - value).abs();
                assert!(error <= largest / steps * 1.01, "{format:?}: {found} for {value}");
            }
        }
    }
}

#[test]
fn zeros_stay_zeros_and_constants_constants() {
    for format in BlockFormat::ALL {
        assert_eq!(restored(format, &quantized(format, &[0.0; 512])), [0.0; 512], "{format:?}");
        for constant in [1.0_f32, -3.0, 0.1] {
            for found in restored(format, &quantized(format, &[constant; 256])) {
                assert!((found / constant - 1.0).abs() < 2e-3, "{format:?}: {found}");
            }
        }
    }
}

#[test]
fn any_number_is_taken() {
    for format in BlockFormat::ALL {
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE, 1e-42]
        {
            let mut values = [0.5; 512];
            values[300] = odd;
            let found = restored(format, &quantized(format, &values));
            // The other block is not touched by it.
            assert!(found[..256].iter().all(|v| (v - 0.5).abs() < 1e-3), "{format:?} {odd}");
            restored(format, &quantized(format, &[odd; 256]));
        }
    }
}
