//! What a group of each format looks like to a kernel.

use super::activation::FOURS;
use super::dots::Dots;
use super::{BLOCK, GROUP, LANES};
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
    #[inline(always)]
    fn offset<D: Dots>() -> i32 {
        0
    }
    /// Returns four vectors of integers: the first or the second half of a group.
    fn vectors<D: Dots>(dots: D, group: &[u8], half: usize) -> [D::B; 4];
    /// Vectors in which the integers of a group lie packed: two or four blocks in each.
    const PACKED: usize;
    /// Returns such a vector.
    fn packed<D: Dots>(dots: D, group: &[u8], index: usize) -> D::B;
    /// Returns fours `k` of integers of a block in such vectors of sixteen columns, rows and columns
    /// exchanged.
    #[inline(always)]
    fn fours<D: Dots>(_: D, square: &[D::B; LANES], block: usize, k: usize) -> D::B {
        // Vectors of two blocks, whose integers are whole bytes.
        square[FOURS * block + k]
    }
    /// Returns the scales and the minima of the blocks of a group.
    fn scales<D: Dots>(dots: D, group: &[u8]) -> Scales<D>;
    /// Returns the scales of the blocks of a group of sixteen columns, those of second halves, and the
    /// minima: a column in each lane.
    #[inline(always)]
    fn scales_of_sixteen<D: Dots>(dots: D, groups: &[&[u8]; LANES]) -> [[D::F; LANES]; 3] {
        let mut scales = [[dots.float(0.0); LANES]; 3];
        for (column, group) in groups.iter().enumerate() {
            let found = Self::scales(dots, group);
            scales[0][column] = found.scale;
            if Self::SPLIT {
                scales[1][column] = found.second;
            }
            if Self::HAS_MIN {
                scales[2][column] = found.minimum;
            }
        }
        dots.transpose_floats(&mut scales[0]);
        if Self::SPLIT {
            dots.transpose_floats(&mut scales[1]);
        }
        if Self::HAS_MIN {
            dots.transpose_floats(&mut scales[2]);
        }
        scales
    }
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
            *vector = Self::packed(dots, group, 4 * half + i);
        }
        vectors
    }

    const PACKED: usize = 8;

    #[inline(always)]
    fn packed<D: Dots>(dots: D, group: &[u8], index: usize) -> D::B {
        let at = index * 68;
        let both = dots.join(part(group, at + 2), part(group, at + 36));
        if D::SIGNED { both } else { dots.flip(both) }
    }

    #[inline(always)]
    fn scales<D: Dots>(dots: D, group: &[u8]) -> Scales<D> {
        with_scale(dots, group, Self::FORMAT.block_bytes())
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

    const PACKED: usize = 4;

    #[inline(always)]
    fn packed<D: Dots>(dots: D, group: &[u8], index: usize) -> D::B {
        let at = index * 72 + 2;
        let blocks = [at, at + 18, at + 36, at + 54];
        dots.join_four(blocks.map(|at| part(group, at)))
    }

    #[inline(always)]
    fn fours<D: Dots>(dots: D, square: &[D::B; LANES], block: usize, k: usize) -> D::B {
        let [low, high] = dots.split(square[FOURS / 2 * block + k % (FOURS / 2)]);
        if k < FOURS / 2 { low } else { high }
    }

    #[inline(always)]
    fn scales<D: Dots>(dots: D, group: &[u8]) -> Scales<D> {
        with_scale(dots, group, Self::FORMAT.block_bytes())
    }
}

/// Returns the scales of blocks of so many bytes that begin with them.
#[inline(always)]
fn with_scale<D: Dots>(dots: D, group: &[u8], bytes: usize) -> Scales<D> {
    let mut halves = [0; 16];
    for (i, half) in halves.iter_mut().enumerate() {
        *half = bits(group, bytes * i);
    }
    let scale = dots.widen(halves);
    Scales { scale, second: scale, minimum: scale }
}

/// Returns the scales and minima of two blocks that begin with them, the second at `next`.
#[inline(always)]
fn with_minima<D: Dots>(dots: D, group: &[u8], next: usize) -> Scales<D> {
    let (scales, minima) = unpack_scales(*part(group, 4));
    let (more_scales, more_minima) = unpack_scales(*part(group, next + 4));
    let scale = dots.widen_two(bits(group, 0), bits(group, next));
    let minimum = dots.widen_two(bits(group, 2), bits(group, next + 2));
    let scale = dots.mul(scale, dots.small(scales, more_scales));
    let minimum = dots.mul(minimum, dots.small(minima, more_minima));
    Scales { scale, second: scale, minimum }
}

/// Returns the same of sixteen columns, a column in each lane, as [`Format::scales_of_sixteen`] does.
#[inline(always)]
fn with_minima_of_sixteen<D: Dots>(
    dots: D,
    groups: &[&[u8]; LANES],
    next: usize,
) -> [[D::F; LANES]; 3] {
    let mut all = [[dots.float(0.0); LANES]; 3];
    for half in 0..2 {
        // The four words before the integers: a row for each.
        let mut words = [dots.four([0; 4]); LANES];
        for (word, group) in words.iter_mut().zip(groups) {
            *word = dots.bytes(part(group, next * half));
        }
        dots.transpose(&mut words);
        let (scale, minimum) = dots.widen_words(words[0]);
        let (scales, minima) = dots.small_of_words([words[1], words[2], words[3]]);
        for block in 0..8 {
            all[0][8 * half + block] = dots.mul(scale, scales[block]);
            all[2][8 * half + block] = dots.mul(minimum, minima[block]);
        }
    }
    all
}

#[derive(Clone, Copy)]
pub(super) struct Q4K;

impl Format for Q4K {
    const FORMAT: BlockFormat = BlockFormat::Q4K;
    const SPLIT: bool = false;
    const HAS_MIN: bool = true;

    #[inline(always)]
    fn vectors<D: Dots>(dots: D, group: &[u8], half: usize) -> [D::B; 4] {
        let mut vectors = [dots.four([0; 4]); 4];
        for (i, vector) in vectors.iter_mut().enumerate() {
            *vector = dots.nibbles(part(group, 144 * half + 16 + BLOCK * i));
        }
        vectors
    }

    const PACKED: usize = 4;

    #[inline(always)]
    fn packed<D: Dots>(dots: D, group: &[u8], index: usize) -> D::B {
        dots.bytes(part(group, index / 2 * 144 + 16 + index % 2 * 64))
    }

    #[inline(always)]
    fn fours<D: Dots>(dots: D, square: &[D::B; LANES], block: usize, k: usize) -> D::B {
        let [low, high] = dots.split(square[FOURS * (block / 2) + k]);
        if block.is_multiple_of(2) { low } else { high }
    }

    #[inline(always)]
    fn scales<D: Dots>(dots: D, group: &[u8]) -> Scales<D> {
        with_minima(dots, group, Self::FORMAT.block_bytes())
    }

    #[inline(always)]
    fn scales_of_sixteen<D: Dots>(dots: D, groups: &[&[u8]; LANES]) -> [[D::F; LANES]; 3] {
        with_minima_of_sixteen(dots, groups, Self::FORMAT.block_bytes())
    }
}

#[derive(Clone, Copy)]
pub(super) struct Q5K;

impl Format for Q5K {
    const FORMAT: BlockFormat = BlockFormat::Q5K;
    const SPLIT: bool = false;
    const HAS_MIN: bool = true;

    #[inline(always)]
    fn vectors<D: Dots>(dots: D, group: &[u8], half: usize) -> [D::B; 4] {
        let mut vectors = [dots.four([0; 4]); 4];
        for (i, vector) in vectors.iter_mut().enumerate() {
            let block = &group[176 * half..];
            let low = dots.nibbles(part(block, 48 + BLOCK * i));
            *vector = dots.or_fifth(low, part(block, 16), i);
        }
        vectors
    }

    const PACKED: usize = 8;

    #[inline(always)]
    fn packed<D: Dots>(dots: D, group: &[u8], index: usize) -> D::B {
        let block = &group[index / 4 * 176..];
        let low = dots.nibbles(part(block, 48 + index % 4 * BLOCK));
        dots.or_fifth(low, part(block, 16), index % 4)
    }

    #[inline(always)]
    fn scales<D: Dots>(dots: D, group: &[u8]) -> Scales<D> {
        with_minima(dots, group, Self::FORMAT.block_bytes())
    }

    #[inline(always)]
    fn scales_of_sixteen<D: Dots>(dots: D, groups: &[&[u8]; LANES]) -> [[D::F; LANES]; 3] {
        with_minima_of_sixteen(dots, groups, Self::FORMAT.block_bytes())
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

    const PACKED: usize = 8;

    #[inline(always)]
    fn packed<D: Dots>(dots: D, group: &[u8], index: usize) -> D::B {
        let block = &group[index / 4 * 210..];
        let at = index / 2 % 2;
        let [even, odd] = dots.six_bits(part(block, 64 * at), part(block, 128 + 32 * at));
        // An array whose index is not known would lie in memory.
        if index.is_multiple_of(2) { even } else { odd }
    }

    #[inline(always)]
    fn scales<D: Dots>(dots: D, group: &[u8]) -> Scales<D> {
        let (even, odd) = dots.signed_pairs(part(group, 192), part(group, 402));
        let d = dots.widen_two(bits(group, 208), bits(group, 418));
        let scale = dots.mul(d, even);
        Scales { scale, second: dots.mul(d, odd), minimum: scale }
    }
}
