//! Blocks of few bits as lines of bytes.
//!
//! The elements of a line that follow each other, 256 of them, become integers of eight bits times one
//! scale, so what their blocks scale differently is rounded once more: every element differs from what
//! [`dequantize`](crate::dequantize()) gives by at most 0.63 of the scale, which is a 127th of the largest
//! that the blocks of these 256 can hold.

#[allow(
    clippy::wildcard_imports,
    reason = "the names of the intrinsics say where they are from"
)]
use std::arch::x86_64::*;
use std::ops::Range;

use super::minima;
use super::unit::{BLOCK, SIDE, TILE};
use crate::blocks::{BlockFormat, Blocks, LARGE, SMALL};

/// Elements that share a scale.
pub(super) const GROUP: usize = LARGE;
/// The largest integer.
pub(super) const MOST: f32 = 127.0;
/// Elements that are all smaller become zero: the inverse of their scale would be too large.
pub(super) const LEAST: f32 = 1e-30;
/// A factor of 127 to 128, in parts of 32768.
const WHOLE: f32 = 32512.0;
/// A number in each half.
pub(super) const TWO: [u16; 32] = lanes([0, 0, 1, 1], 0);

/// Returns eight words for each lane, from the lane's own on.
pub(super) const fn lanes(first: [u16; 4], step: u16) -> [u16; 32] {
    let mut words = [0; 32];
    let mut i = 0;
    while i < words.len() {
        words[i] = first[i / 8] + i as u16 % 8 * step;
        i += 1;
    }
    words
}

/// Where lines of bytes go.
pub(super) struct Unpacked<'a> {
    /// Two of sixteen lines for each step.
    pub(super) tiles: &'a mut [f32],
    /// Side by side for each group. `// [groups, 32]`
    pub(super) scales: &'a mut [f32],
    /// What the bytes differ in from integers with signs.
    pub(super) flipped_bits: u8,
}

/// Unpacks a part of the depth of at most 32 lines of blocks, which are so wide. Lines that are not there
/// are zero. The part begins with a group.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn unpack_lines(
    (read, width): (&Blocks<'_>, usize),
    lines: Range<usize>,
    depth: Range<usize>,
    unpacked: Unpacked<'_>,
    mut after_each: impl FnMut(),
) {
    let format = read.format;
    let mut parts = parts(read, width, lines.clone(), depth);
    if matches!(format, BlockFormat::Q4K | BlockFormat::Q5K) {
        let mut all = [&[] as &[u8]; BLOCK];
        all.iter_mut().zip(parts).for_each(|(line, part)| *line = part);
        minima::unpack_lines((&all[..lines.len().min(BLOCK)], format), unpacked, after_each);
        return;
    }
    let Unpacked { tiles: to, scales, flipped_bits } = unpacked;
    let flipped_bits = bytes(flipped_bits);
    for line in 0..BLOCK {
        let groups = parts.next().unwrap_or_default();
        let mut to = Line::new(to, line, 0, flipped_bits);
        let scales = scales.chunks_exact_mut(BLOCK).map(|scales| &mut scales[line]);
        let groups = groups.chunks(format.num_bytes(GROUP));
        // A function that is called by its name gets the instructions of this one.
        macro_rules! unpack {
            ($group:ident) => {
                for (group, scale) in groups.zip(scales) {
                    *scale = $group(group, &mut to);
                }
            };
        }
        if line >= lines.len() {
            scales.for_each(|scale| *scale = 0.0);
            to.put_zeros();
            continue;
        }
        match format {
            BlockFormat::Q8_0 => unpack!(q8_0),
            BlockFormat::Q4_0 => unpack!(q4_0),
            BlockFormat::Q6K => unpack!(q6_k),
            BlockFormat::Q4K | BlockFormat::Q5K => unreachable!("unpacked above"),
        }
        after_each();
    }
}

/// Returns the bytes of a part of the depth of some lines of blocks, which are so wide, as far as there are.
pub(super) fn parts<'a>(
    Blocks { format, bytes }: &Blocks<'a>,
    width: usize,
    lines: Range<usize>,
    depth: Range<usize>,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let part = format.num_bytes(depth.start)..format.num_bytes(depth.end);
    let all = bytes.chunks_exact(format.num_bytes(width));
    all.skip(lines.start).take(lines.len()).map(move |line| &line[part.clone()])
}

/// A line among the tiles.
pub(super) struct Line<'a> {
    to: &'a mut [f32],
    /// Its first number in the tiles of a step.
    at: usize,
    step: usize,
    flipped_bits: __m512i,
}

impl<'a> Line<'a> {
    /// Takes one of 32 lines, from a step on.
    pub(super) fn new(to: &'a mut [f32], line: usize, step: usize, flipped_bits: __m512i) -> Self {
        Self { to, at: line / SIDE * TILE + line % SIDE * SIDE, step, flipped_bits }
    }

    /// Writes the bytes of the next step.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn put(&mut self, bytes: __m512i) {
        let to = &mut self.to[self.step * 2 * TILE + self.at..][..SIDE];
        let bytes = _mm512_xor_si512(bytes, self.flipped_bits);
        // SAFETY: there is room for sixteen numbers of 32 bits.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), bytes) }
        self.step += 1;
    }

    #[target_feature(enable = "avx512f")]
    fn put_zeros(&mut self) {
        for _ in 0..self.to.len() / (2 * TILE) {
            self.put(_mm512_setzero_si512());
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn q8_0(group: &[u8], to: &mut Line<'_>) -> f32 {
    let blocks = group.as_chunks::<34>().0;
    let (factors, largest) = factors_of_blocks(blocks, f32::from(i16::MAX));
    for (step, blocks) in blocks.chunks(2).enumerate() {
        let integers = |block: &[u8; 34]| thirty_two(block, 2);
        // Where there is no second block is zero.
        let second = blocks.get(1).map_or(_mm256_setzero_si256(), integers);
        to.put(scaled(
            pair(integers(&blocks[0]), second),
            factors,
            [same(2 * step), same(2 * step + 1)],
        ));
    }
    largest
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn q4_0(group: &[u8], to: &mut Line<'_>) -> f32 {
    let blocks = group.as_chunks::<18>().0;
    let (factors, largest) = factors_of_blocks(blocks, WHOLE);
    // The low four bits of bytes are the first sixteen integers, the high ones the others.
    let up = _mm512_set_epi64(0, 0, 4, 4, 0, 0, 4, 4);
    for (step, blocks) in blocks.chunks(2).enumerate() {
        let integers = |block: &[u8; 18]| _mm256_broadcastsi128_si256(sixteen(block, 2));
        let second = blocks.get(1).map_or(_mm256_setzero_si256(), integers);
        let integers = _mm512_sllv_epi64(pair(integers(&blocks[0]), second), up);
        // Sixteen times what they are above eight.
        let integers = _mm512_and_si512(integers, bytes(0xf0));
        let integers = _mm512_xor_si512(integers, bytes(0x80));
        to.put(scaled(integers, factors, [same(2 * step), same(2 * step + 1)]));
    }
    largest * (8.0 / MOST)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn q6_k(group: &[u8], to: &mut Line<'_>) -> f32 {
    let scales = _mm512_cvtepi8_epi32(sixteen(group, 192));
    let largest = _mm512_reduce_max_epi32(_mm512_abs_epi32(scales)) as f32;
    let factor = _mm512_set1_ps(factor(WHOLE, largest));
    let factors = words(_mm512_mul_ps(_mm512_cvtepi32_ps(scales), factor));
    for step in 0..4 {
        // Each half of the group has its own 64 and 32 bytes, which its quarters share.
        let (half, upper) = (step / 2, (step as u64 % 2).cast_signed());
        let (first, second) = group[64 * half..][..64].split_at(SMALL);
        let low = pair(thirty_two(first, 0), thirty_two(second, 0));
        let low = turned(low, [4 * upper - 2; 2], 0x3c);
        let high = thirty_two(group, 128 + half * SMALL);
        let high = in_halves(high, [4 * upper - 6, 4 * upper - 4], 0xc0);
        // Four times what they are above 32.
        let integers = _mm512_xor_si512(_mm512_or_si512(low, high), bytes(0x80));
        to.put(scaled(integers, factors, [from(4 * step, &TWO), from(4 * step + 2, &TWO)]));
    }
    _mm512_cvtss_f32(half(group, 208)) * largest * (32.0 / MOST)
}

/// Returns what the scales of at most eight blocks, with which they begin, are to the largest of them, which
/// becomes `most`; and the largest.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn factors_of_blocks<const N: usize>(blocks: &[[u8; N]], most: f32) -> (__m512i, f32) {
    let mut scales = [0_u16; SIDE];
    for (scale, block) in scales.iter_mut().zip(blocks) {
        *scale = u16::from_le_bytes([block[0], block[1]]);
    }
    // SAFETY: there are sixteen.
    let scales = unsafe { _mm256_loadu_si256(scales.as_ptr().cast()) };
    let scales = _mm512_cvtph_ps(scales);
    let largest = largest_of(scales);
    let factor = _mm512_set1_ps(factor(most, largest));
    (words(_mm512_mul_ps(scales, factor)), largest)
}

/// Returns 64 integers times factors, which are parts of 32768: those that words of each half say.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn scaled(integers: __m512i, factors: __m512i, of: [__m512i; 2]) -> __m512i {
    let product = |integers: __m256i, of: __m512i| {
        let factors = _mm512_permutexvar_epi16(of, factors);
        _mm512_mulhrs_epi16(_mm512_cvtepi8_epi16(integers), factors)
    };
    let first = product(_mm512_castsi512_si256(integers), of[0]);
    let second = product(_mm512_extracti64x4_epi64::<1>(integers), of[1]);
    // Of each lane eight of either, so that they take turns.
    let order = _mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0);
    _mm512_permutexvar_epi64(order, _mm512_packs_epi16(first, second))
}

/// Returns sixteen numbers, rounded to integers of sixteen bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn words(numbers: __m512) -> __m512i {
    _mm512_castsi256_si512(_mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(numbers)))
}

/// Returns the largest magnitude; what is no number is larger than any.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn largest_of(numbers: __m512) -> f32 {
    let magnitudes = _mm512_and_si512(_mm512_castps_si512(numbers), _mm512_set1_epi32(i32::MAX));
    f32::from_bits(_mm512_reduce_max_epu32(magnitudes))
}

/// Returns what makes the largest `most`, or zero where it is too small or no finite number.
pub(super) fn factor(most: f32, largest: f32) -> f32 {
    if largest > LEAST && largest < f32::INFINITY { most / largest } else { 0.0 }
}

/// Returns a number in half precision in all lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn half(block: &[u8], at: usize) -> __m512 {
    _mm512_cvtph_ps(_mm256_set1_epi16(i16::from_le_bytes([block[at], block[at + 1]])))
}

/// Returns words, each so many above what is given.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn from(first: usize, words: &[u16; 32]) -> __m512i {
    // SAFETY: there are 64 bytes.
    let words = unsafe { _mm512_loadu_si512(words.as_ptr().cast()) };
    _mm512_add_epi16(words, same(first))
}

/// Returns the same word everywhere.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn same(word: usize) -> __m512i {
    _mm512_set1_epi16((word as u16).cast_signed())
}

/// Returns the same byte everywhere.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn bytes(byte: u8) -> __m512i {
    _mm512_set1_epi8(byte.cast_signed())
}

/// Returns the bits of a mask of each byte of two halves, once they are turned down by so many places; those
/// that come from other bytes must not be of the mask.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn turned(of: __m512i, [first, second]: [i64; 2], mask: u8) -> __m512i {
    let [a, b] = [first, second].map(|down| down & 63);
    let down = _mm512_set_epi64(b, b, b, b, a, a, a, a);
    _mm512_and_si512(_mm512_rorv_epi64(of, down), bytes(mask))
}

/// Likewise of the same bytes in both halves.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn in_halves(of_both: __m256i, down: [i64; 2], mask: u8) -> __m512i {
    turned(_mm512_broadcast_i64x4(of_both), down, mask)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn pair(first: __m256i, second: __m256i) -> __m512i {
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(first), second)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn sixteen(block: &[u8], at: usize) -> __m128i {
    let bytes = &block[at..at + 16];
    // SAFETY: there are sixteen.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn thirty_two(block: &[u8], at: usize) -> __m256i {
    let bytes = &block[at..at + 32];
    // SAFETY: there are thirty-two.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;
    use crate::{Level, dequantize};

    /// Returns lines of any integers and scales.
    fn lines(format: BlockFormat, elements: usize) -> Vec<u8> {
        let mut state = 7_u32;
        let mut byte = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // -128 is no integer of eight bits that quantizing gives.
            ((state >> 24) as u8).max(1).wrapping_add(0x80)
        };
        let mut bytes: Vec<u8> = (0..format.num_bytes(elements)).map(|_| byte()).collect();
        for block in bytes.chunks_exact_mut(format.block_bytes()) {
            let mut scale = || f16::from_f32(f32::from(byte()) / 256.0 - 0.5).to_le_bytes();
            let at = if format == BlockFormat::Q6K { 208 } else { 0 };
            block[at..at + 2].copy_from_slice(&scale());
            if matches!(format, BlockFormat::Q4K | BlockFormat::Q5K) {
                block[2..4].copy_from_slice(&scale());
            }
        }
        bytes
    }

    #[test]
    fn every_integer_is_near_its_element() {
        if !Level::available().iter().any(|level| level.has_blocks_of_bytes()) {
            return;
        }
        for format in BlockFormat::ALL {
            // Lines of a part of their depth, fewer than a block of them, with half a step at the end.
            let rest = if format.block_len() == SMALL { SMALL } else { 0 };
            let (width, count, depth) = (4 * GROUP + rest, 29, GROUP..4 * GROUP + rest);
            let bytes = lines(format, count * width);
            let blocks = Blocks { format, bytes: &bytes };
            let mut elements = vec![0.0; count * width];
            dequantize(blocks, &mut elements);
            let steps = depth.len().div_ceil(64);
            let mut tiles = vec![f32::NAN; steps * 2 * TILE];
            let mut scales = vec![f32::NAN; depth.len().div_ceil(GROUP) * BLOCK];
            // SAFETY: the level is there.
            unsafe {
                let to = Unpacked { tiles: &mut tiles, scales: &mut scales, flipped_bits: 0 };
                unpack_lines((&blocks, width), 0..count, depth.clone(), to, || ());
            }
            for line in 0..BLOCK {
                for i in 0..steps * 64 {
                    let at = i / 64 * 2 * TILE + line / SIDE * TILE + line % SIDE * SIDE;
                    let number = tiles[at + i % 64 / 4].to_bits().to_le_bytes();
                    let integer = f32::from(number[i % 4].cast_signed());
                    let is_there = line < count && i < depth.len();
                    if !is_there {
                        assert!(integer == 0.0, "line {line}, element {i} of {format:?}");
                        continue;
                    }
                    let element = elements[line * width + depth.start + i];
                    let scale = scales[i / GROUP * BLOCK + line];
                    let error = (integer * scale - element).abs();
                    assert!(
                        error <= 0.63 * scale.abs(),
                        "{element} of {format:?}: {integer} * {scale}"
                    );
                    let group = depth.start + i / GROUP * GROUP;
                    let group = &elements[line * width..][group..width.min(group + GROUP)];
                    let largest = group.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
                    // What their blocks can hold may be more than what they do.
                    assert!(
                        scale.abs() * MOST < 1.6 * largest,
                        "{scale} for {largest} of {format:?}"
                    );
                }
            }
        }
    }
}
