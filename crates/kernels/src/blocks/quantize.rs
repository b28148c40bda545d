//! From f32 to blocks.

use half::f16;

use super::search::{rounded, scale_and_minimum, symmetric_scale};
use super::{BlockFormat, LARGE, SMALL, pack_scales};
use crate::parallel::{chunks, chunks_mut, for_each};

/// Blocks of a task.
const TASK: usize = 64;

/// Writes the blocks that come close to `values`.
///
/// In [`BlockFormat::Q8_0`] and [`BlockFormat::Q4_0`] the element of the largest magnitude of a
/// block gets the integer farthest from zero, and the others are rounded to nearest, which is what
/// every program that writes these formats does. For the larger blocks scales are searched that
/// keep a weighted sum of squared differences small.
///
/// # Panics
/// If the values are not whole blocks or `out` has another length than they need.
pub fn quantize(format: BlockFormat, values: &[f32], out: &mut [u8]) {
    assert_eq!(out.len(), format.num_bytes(values.len()), "bytes of {} elements", values.len());
    let block: fn(&[f32], &mut [u8]) = match format {
        BlockFormat::Q8_0 => q8_0,
        BlockFormat::Q4_0 => q4_0,
        BlockFormat::Q4K => q4_k,
        BlockFormat::Q5K => q5_k,
        BlockFormat::Q6K => q6_k,
    };
    let (from, to) = (format.block_len(), format.block_bytes());
    let pieces = (chunks(values, TASK * from), chunks_mut(out, TASK * to));
    for_each(pieces, 1, |_, (values, out)| {
        for (values, out) in values.chunks_exact(from).zip(out.chunks_exact_mut(to)) {
            block(values, out);
        }
    });
}

/// Writes a number in half precision, and returns what it became.
fn put_half(value: f32, to: &mut [u8]) -> f32 {
    let half = f16::from_f32(value);
    to.copy_from_slice(&half.to_le_bytes());
    half.to_f32()
}

/// Returns `1 / value`, zero for zero.
fn inverse(value: f32) -> f32 {
    if value == 0.0 { 0.0 } else { 1.0 / value }
}

/// Rounds to the nearest integer from 0 to `most`.
fn nearest(value: f32, most: u8) -> u8 {
    whole(rounded(value), most)
}

/// Drops what is after the point of a number from 0 to `most`; numbers beyond become these.
#[allow(clippy::cast_sign_loss, reason = "numbers below zero become zero")]
fn whole(value: f32, most: u8) -> u8 {
    (value as u8).min(most)
}

fn q8_0(values: &[f32], out: &mut [u8]) {
    // What is no number stays the largest, and then nothing of the block is a number.
    let larger = |a: f32, b: &f32| if b.abs() > a || b.is_nan() { b.abs() } else { a };
    let d = values.iter().fold(0.0, larger) / 127.0;
    let inverse = inverse(d);
    let (head, out) = out.split_at_mut(2);
    put_half(d, head);
    for (out, value) in out.iter_mut().zip(values) {
        *out = ((value * inverse).round() as i8).cast_unsigned();
    }
}

fn q4_0(values: &[f32], out: &mut [u8]) {
    let larger = |a: f32, b: &f32| if b.abs() > a.abs() { *b } else { a };
    let d = values.iter().fold(0.0, larger) / -8.0;
    let inverse = inverse(d);
    let (head, out) = out.split_at_mut(2);
    put_half(d, head);
    let integer = |value: f32| whole(value * inverse + 8.5, 15);
    let (low, high) = values.split_at(SMALL / 2);
    for ((out, low), high) in out.iter_mut().zip(low).zip(high) {
        *out = integer(*low) | integer(*high) << 4;
    }
}

fn q4_k(values: &[f32], out: &mut [u8]) {
    let (head, out) = out.split_at_mut(16);
    let integers = with_minima(values, head, 15);
    put_nibbles(&integers, out);
}

fn q5_k(values: &[f32], out: &mut [u8]) {
    let (head, out) = out.split_at_mut(16);
    let (high, low) = out.split_at_mut(SMALL);
    let integers = with_minima(values, head, 31);
    high.fill(0);
    for (group, integers) in integers.chunks_exact(SMALL).enumerate() {
        for (high, integer) in high.iter_mut().zip(integers) {
            *high |= integer >> 4 << group;
        }
    }
    put_nibbles(&integers, low);
}

/// Writes the low four bits of each integer, two groups side by side.
fn put_nibbles(integers: &[u8; LARGE], out: &mut [u8]) {
    let pairs = integers.chunks_exact(2 * SMALL);
    for (pair, out) in pairs.zip(out.chunks_exact_mut(SMALL)) {
        let (low, high) = pair.split_at(SMALL);
        for ((out, low), high) in out.iter_mut().zip(low).zip(high) {
            *out = low & 15 | high << 4;
        }
    }
}

/// Writes the scales and minima of a block's groups, and returns its integers from 0 to `most`.
fn with_minima(values: &[f32], head: &mut [u8], most: u8) -> [u8; LARGE] {
    let mut found = [(0.0_f32, 0.0_f32); 8];
    for (found, group) in found.iter_mut().zip(values.chunks_exact(SMALL)) {
        *found = scale_and_minimum(group, f32::from(most));
    }
    let largest = found.iter().fold((0.0_f32, 0.0_f32), |l, f| (l.0.max(f.0), l.1.max(f.1)));
    let d = put_half(largest.0 / 63.0, &mut head[..2]);
    let e = put_half(largest.1 / 63.0, &mut head[2..4]);
    let (per_d, per_e) = (inverse(d), inverse(e));
    let scales = found.map(|(scale, _)| nearest(scale * per_d, 63));
    let minima = found.map(|(_, minimum)| nearest(minimum * per_e, 63));
    head[4..].copy_from_slice(&pack_scales(scales, minima));
    let mut integers = [0; LARGE];
    let groups = integers.chunks_exact_mut(SMALL).zip(values.chunks_exact(SMALL));
    for (group, (integers, values)) in groups.enumerate() {
        let per_scale = inverse(d * f32::from(scales[group]));
        let minimum = e * f32::from(minima[group]);
        for (integer, value) in integers.iter_mut().zip(values) {
            *integer = nearest((value + minimum) * per_scale, most);
        }
    }
    integers
}

fn q6_k(values: &[f32], out: &mut [u8]) {
    let mut found = [0.0_f32; 16];
    for (found, group) in found.iter_mut().zip(values.chunks_exact(16)) {
        *found = symmetric_scale(group);
    }
    let (low, rest) = out.split_at_mut(LARGE / 2);
    let (high, rest) = rest.split_at_mut(LARGE / 4);
    let (scales, head) = rest.split_at_mut(LARGE / 16);
    let largest = found.iter().fold(0.0, |a: f32, b| if b.abs() > a.abs() { *b } else { a });
    let d = put_half(largest / -128.0, head);
    let per_d = inverse(d);
    let found = found.map(|scale| (scale * per_d).round_ties_even() as i8);
    for (to, scale) in scales.iter_mut().zip(found) {
        *to = scale.cast_unsigned();
    }
    low.fill(0);
    high.fill(0);
    for (i, value) in values.iter().enumerate() {
        let per_scale = inverse(d * f32::from(found[i / 16]));
        let q = nearest(value * per_scale + 32.0, 63);
        let (half, quarter, place) = (i / 128, i / 32 % 4, i % 32);
        low[half * 64 + quarter % 2 * 32 + place] |= (q & 15) << (quarter / 2 * 4);
        high[half * 32 + place] |= q >> 4 << (2 * quarter);
    }
}
