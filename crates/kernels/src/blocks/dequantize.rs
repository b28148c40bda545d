//! From blocks to f32. What unpacks a block gets the instructions of whoever calls it.

use half::f16;

use super::{BlockFormat, Blocks, LARGE, SMALL, unpack_scales};
use crate::parallel::{chunks, chunks_mut, for_each};

/// Blocks of a task.
const TASK: usize = 256;

/// Writes the elements of blocks, each rounded to f32 once.
///
/// # Panics
/// If the lengths do not fit.
pub fn dequantize(blocks: Blocks<'_>, out: &mut [f32]) {
    let Blocks { format, bytes } = blocks;
    assert_eq!(bytes.len(), format.num_bytes(out.len()), "bytes of {} elements", out.len());
    let block: fn(&[u8], &mut [f32]) = match format {
        BlockFormat::Q8_0 => q8_0,
        BlockFormat::Q4_0 => q4_0,
        BlockFormat::Q4K => q4_k,
        BlockFormat::Q5K => q5_k,
        BlockFormat::Q6K => q6_k,
    };
    let (from, to) = (format.block_bytes(), format.block_len());
    let pieces = (chunks(bytes, TASK * from), chunks_mut(out, TASK * to));
    for_each(pieces, 1, |_, (bytes, out)| {
        for (bytes, out) in bytes.chunks_exact(from).zip(out.chunks_exact_mut(to)) {
            block(bytes, out);
        }
    });
}

/// Returns the number in half precision at a place.
pub(crate) fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

#[inline(always)]
pub(crate) fn q8_0(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 0);
    for (out, q) in out.iter_mut().zip(&block[2..]) {
        *out = d * f32::from(q.cast_signed());
    }
}

#[inline(always)]
pub(crate) fn q4_0(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 0);
    let (low, high) = out.split_at_mut(SMALL / 2);
    for ((low, high), q) in low.iter_mut().zip(high).zip(&block[2..]) {
        *low = d * (f32::from(q & 15) - 8.0);
        *high = d * (f32::from(q >> 4) - 8.0);
    }
}

#[inline(always)]
pub(crate) fn q4_k(block: &[u8], out: &mut [f32]) {
    let quants = &block[16..];
    with_minima(block, out, |group, i| quants[group / 2 * SMALL + i] >> (group % 2 * 4) & 15);
}

#[inline(always)]
pub(crate) fn q5_k(block: &[u8], out: &mut [f32]) {
    let (high, low) = block[16..].split_at(SMALL);
    with_minima(block, out, |group, i| {
        let fifth = high[i] >> group & 1;
        low[group / 2 * SMALL + i] >> (group % 2 * 4) & 15 | fifth << 4
    });
}

/// Writes the elements of a block whose groups have scales and minima; `integer` returns that of a
/// group and a place.
#[inline(always)]
fn with_minima(block: &[u8], out: &mut [f32], integer: impl Fn(usize, usize) -> u8) {
    let (d, e) = (half_at(block, 0), half_at(block, 2));
    let packed = std::array::from_fn(|i| block[4 + i]);
    let (scales, minima) = unpack_scales(packed);
    let (scales, minima) = (scales.to_le_bytes(), minima.to_le_bytes());
    for (group, out) in out.chunks_exact_mut(SMALL).enumerate() {
        let (scale, minimum) = (d * f32::from(scales[group]), e * f32::from(minima[group]));
        for (i, out) in out.iter_mut().enumerate() {
            *out = scale * f32::from(integer(group, i)) - minimum;
        }
    }
}

#[inline(always)]
pub(crate) fn q6_k(block: &[u8], out: &mut [f32]) {
    let (low, rest) = block.split_at(LARGE / 2);
    let (high, rest) = rest.split_at(LARGE / 4);
    let (scales, d) = rest.split_at(LARGE / 16);
    let d = half_at(d, 0);
    for (run, out) in out.chunks_exact_mut(16).enumerate() {
        // Each half of the block has its own 64 and 32 bytes, which its quarters share.
        let (half, quarter, place) = (run / 8, run / 2 % 4, run % 2 * 16);
        let low = &low[half * 64 + quarter % 2 * 32 + place..][..16];
        let high = &high[half * 32 + place..][..16];
        let scale = d * f32::from(scales[run].cast_signed());
        for ((out, low), high) in out.iter_mut().zip(low).zip(high) {
            let integer = low >> (quarter / 2 * 4) & 15 | (high >> (2 * quarter) & 3) << 4;
            *out = scale * (f32::from(integer) - 32.0);
        }
    }
}
