//! What a group of each format looks like to a kernel.

use super::dots::Dots;
use super::{BLOCK, GROUP};
use crate::blocks::{BlockFormat, unpack_scales};

/// A format of weights, in groups of [`GROUP`] elements.
pub(super) trait Format: Copy + Send + Sync {
    /// Which it is.
    const FORMAT: BlockFormat;
    /// Whether the halves of a block have scales of their own.
    const SPLIT: bool;
    /// Whether something is taken away from each element.
    const HAS_MIN: bool;
    /// Bytes of a group.
    const BYTES: usize = GROUP / Self::FORMAT.block_len() * Self::FORMAT.block_bytes();

    /// Returns the bytes of a row.
    fn row_bytes(width: usize) -> usize {
        width / Self::FORMAT.block_len() * Self::FORMAT.block_bytes()
    }

    /// Returns what the integers of [`Format::vectors`] are too large by.
    fn offset<D: Dots>() -> i32;
    /// Returns four vectors of integers: the first or the second half of a group.
    fn vectors<D: Dots>(dots: D, group: &[u8], half: usize) -> [D::B; 4];
    /// Returns the scales and the minima of the blocks of a group.
    fn scales<D: Dots>(dots: D, group: &[u8]) -> Scales<D>;
    /// Adds products to `sums`.
    #[inline(always)]
    fn dot<D: Dots>(dots: D, sums: D::I, weight: D::B, x: D::B) -> D::I {
        dots.dot(sums, weight, x)
    }
}

/// The scales of the blocks of a group.
#[derive(Clone, Copy)]
pub(super) struct Scales<D: Dots> {
    /// Of the blocks, or of their first halves.
    pub(super) scale: D::F,
    /// Of the second halves where [`Format::SPLIT`].
    pub(super) second: D::F,
    /// What is taken away from each element where [`Format::HAS_MIN`].
    pub(super) minimum: D::F,
}

/// Returns some of the bytes.
#[inline(always)]
fn part<const N: usize>(bytes: &[u8], at: usize) -> &[u8; N] {
    bytes[at..].first_chunk().expect("a group is whole")
}

/// Returns the bits of a number in half precision.
#[inline(always)]
fn bits(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(*part(bytes, at))
}

#[derive(Clone, Copy)]
pub(super) struct Q8_0;

impl Format for Q8_0 {
    const FORMAT: BlockFormat = BlockFormat::Q8_0;
    const SPLIT: bool = false;
    const HAS_MIN: bool = false;

    #[inline(always)]
    fn offset<D: Dots>() -> i32 {
        if D::SIGNED { 0 } else { 128 }
    }

    #[inline(always)]
    fn vectors<D: Dots>(dots: D, group: &[u8], half: usize) -> [D::B; 4] {
        let mut vectors = [dots.four([0; 4]); 4];
        for (i, vector) in vectors.iter_mut().enumerate() {
            let at = (4 * half + i) * 68;
            let both = dots.join(part(group, at + 2), part(group, at + 36));
            *vector = if D::SIGNED { both } else { dots.flip(both) };
        }
        vectors
    }

    #[inline(always)]
    fn scales<D: Dots>(dots: D, group: &[u8]) -> Scales<D> {
        let mut halves = [0; 16];
        for (i, half) in halves.iter_mut().enumerate() {
            *half = bits(group, 34 * i);
        }
        let scale = dots.widen(halves);
        Scales { scale, second: scale, minimum: scale }
    }

    #[inline(always)]
    fn dot<D: Dots>(dots: D, sums: D::I, weight: D::B, x: D::B) -> D::I {
        if D::SIGNED { dots.dot_signed(sums, weight, x) } else { dots.dot(sums, weight, x) }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Q4_0;

impl Format for Q4_0 {
    const FORMAT: BlockFormat = BlockFormat::Q4_0;
    const SPLIT: bool = false;
    const HAS_MIN: bool = false;

    #[inline(always)]
    fn offset<D: Dots>() -> i32 {
        8
    }

    #[inline(always)]
    fn vectors<D: Dots>(dots: D, group: &[u8], half: usize) -> [D::B; 4] {
        let mut vectors = [dots.four([0; 4]); 4];
        for (i, vector) in vectors.iter_mut().enumerate() {
            let at = (4 * half + i) * 36;
            *vector = dots.nibbles_of_two(part(group, at + 2), part(group, at + 20));
        }
        vectors
    }

    #[inline(always)]
    fn scales<D: Dots>(dots: D, group: &[u8]) -> Scales<D> {
        let mut halves = [0; 16];
        for (i, half) in halves.iter_mut().enumerate() {
            *half = bits(group, 18 * i);
        }
        let scale = dots.widen(halves);
        Scales { scale, second: scale, minimum: scale }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Q4K;

impl Format for Q4K {
    const FORMAT: BlockFormat = BlockFormat::Q4K;
    const SPLIT: bool = false;
    const HAS_MIN: bool = true;

    #[inline(always)]
    fn offset<D: Dots>() -> i32 {
        0
    }

    #[inline(always)]
    fn vectors<D: Dots>(dots: D, group: &[u8], half: usize) -> [D::B; 4] {
        let mut vectors = [dots.four([0; 4]); 4];
        for (i, vector) in vectors.iter_mut().enumerate() {
            *vector = dots.nibbles(part(group, 144 * half + 16 + BLOCK * i));
        }
        vectors
    }

    #[inline(always)]
    fn scales<D: Dots>(dots: D, group: &[u8]) -> Scales<D> {
        let (scales, minima) = unpack_scales(*part(group, 4));
        let (more_scales, more_minima) = unpack_scales(*part(group, 148));
        let scale = dots.widen_two(bits(group, 0), bits(group, 144));
        let minimum = dots.widen_two(bits(group, 2), bits(group, 146));
        let scale = dots.mul(scale, dots.small(scales, more_scales));
        let minimum = dots.mul(minimum, dots.small(minima, more_minima));
        Scales { scale, second: scale, minimum }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Q6K;

impl Format for Q6K {
    const FORMAT: BlockFormat = BlockFormat::Q6K;
    const SPLIT: bool = true;
    const HAS_MIN: bool = false;

    #[inline(always)]
    fn offset<D: Dots>() -> i32 {
        32
    }

    #[inline(always)]
    fn vectors<D: Dots>(dots: D, group: &[u8], half: usize) -> [D::B; 4] {
        let block = &group[210 * half..];
        let [a, b] = dots.six_bits(part(block, 0), part(block, 128));
        let [c, d] = dots.six_bits(part(block, 64), part(block, 160));
        [a, b, c, d]
    }

    #[inline(always)]
    fn scales<D: Dots>(dots: D, group: &[u8]) -> Scales<D> {
        let (even, odd) = dots.signed_pairs(part(group, 192), part(group, 402));
        let d = dots.widen_two(bits(group, 208), bits(group, 418));
        let scale = dots.mul(d, even);
        Scales { scale, second: dots.mul(d, odd), minimum: scale }
    }
}
