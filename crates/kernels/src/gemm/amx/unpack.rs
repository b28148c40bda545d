//! Blocks of few bits as lines of bf16.

use std::ops::Range;

use super::copy::stride_of;
use super::panels::put_rounded;
use super::unit::BLOCK;
use crate::blocks::dequantize::{q4_0, q4_k, q5_k, q6_k, q8_0};
use crate::blocks::{BlockFormat, Blocks, LARGE, SMALL};

/// Unpacks a part of the depth of at most 32 lines of blocks, which are so wide, each element rounded to
/// bf16, with zeros where there are none. The part consists of whole blocks.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) fn unpack_lines(
    (read, width): (&Blocks<'_>, usize),
    lines: Range<usize>,
    depth: Range<usize>,
    to: &mut [f32],
) {
    let Blocks { format, bytes } = *read;
    let part = format.num_bytes(depth.start)..format.num_bytes(depth.end);
    let lines = bytes.chunks_exact(format.num_bytes(width)).skip(lines.start).take(lines.len());
    let mut to = to.chunks_exact_mut(stride_of(depth.len())).take(BLOCK);
    for (bytes, to) in lines.zip(&mut to) {
        let blocks = bytes[part.clone()].chunks_exact(format.block_bytes());
        // A function that is called by its name gets the instructions of this one.
        macro_rules! unpack {
            ($block:ident, $len:ident) => {
                for (block, to) in blocks.zip(to.chunks_exact_mut($len / 2)) {
                    let mut elements = [0.0; $len];
                    $block(block, &mut elements);
                    put_rounded(&elements, to);
                }
            };
        }
        match format {
            BlockFormat::Q8_0 => unpack!(q8_0, SMALL),
            BlockFormat::Q4_0 => unpack!(q4_0, SMALL),
            BlockFormat::Q4K => unpack!(q4_k, LARGE),
            BlockFormat::Q5K => unpack!(q5_k, LARGE),
            BlockFormat::Q6K => unpack!(q6_k, LARGE),
        }
    }
    to.for_each(|to| to.fill(0.0));
}
