//! Vectors of bytes and their dot products, so that a kernel is written once for every [`Level`].

use half::f16;

use crate::Level;
use crate::blocks::unpack_scales;

/// What is computed at a level; `run` is to be marked `#[inline(always)]`.
pub(super) trait Work {
    /// Computes it.
    fn run<D: Dots>(self, dots: D);
}

/// Vectors of 64 bytes, and of sixteen sums. A value is the proof that the processor has the
/// instructions.
pub(super) trait Dots: Copy {
    /// 64 bytes.
    type B: Copy;
    /// Sixteen 32-bit integers.
    type I: Copy;
    /// Sixteen f32.
    type F: Copy;
    /// Whether bytes with signs are multiplied by [`Dots::dot_signed`]; else by [`Dots::dot`] after
    /// 128 was added to those of the weights.
    const SIGNED: bool;
    /// Rows, and sixteens of columns, of a tile.
    const TILE: (usize, usize);

    /// Reads bytes.
    fn bytes(self, from: &[u8; 64]) -> Self::B;
    /// Writes bytes.
    fn put_bytes(self, value: Self::B, to: &mut [u8; 64]);
    /// Reads two halves.
    fn join(self, low: &[u8; 32], high: &[u8; 32]) -> Self::B;
    /// Reads four quarters.
    #[inline(always)]
    fn join_four(self, quarters: [&[u8; 16]; 4]) -> Self::B {
        let mut bytes = [0; 64];
        for (to, quarter) in bytes.chunks_exact_mut(16).zip(quarters) {
            to.copy_from_slice(quarter);
        }
        self.bytes(&bytes)
    }
    /// Returns the low halves of all bytes, and the high ones.
    fn split(self, a: Self::B) -> [Self::B; 2];
    /// Returns the low halves of the bytes, and then the high ones.
    fn nibbles(self, from: &[u8; 32]) -> Self::B;
    /// Returns the low halves of the bytes of `a`, then the high ones, then those of `b`.
    fn nibbles_of_two(self, a: &[u8; 16], b: &[u8; 16]) -> Self::B;
    /// Returns the low halves of the bytes of `low` and then the high ones, and above them two bits
    /// from each byte of `high`, the lowest for the first 32, and so on.
    fn six_bits(self, low: &[u8; 64], high: &[u8; 32]) -> [Self::B; 2];
    /// Adds 16 to the first 32 bytes where bit `2 pair` of a byte of `high` is set, and to the others
    /// where the bit after it is; `pair` is below 4, and the bytes are below 16.
    fn or_fifth(self, low: Self::B, high: &[u8; 32], pair: usize) -> Self::B;
    /// Adds 128 to each byte.
    fn flip(self, a: Self::B) -> Self::B;
    /// Returns the same four bytes sixteen times.
    fn four(self, from: [u8; 4]) -> Self::B;
    /// Returns the same eight bytes eight times.
    #[inline(always)]
    fn eight(self, from: [u8; 8]) -> Self::B {
        let mut bytes = [0; 64];
        for to in bytes.as_chunks_mut().0 {
            *to = from;
        }
        self.bytes(&bytes)
    }
    /// Returns fours of bytes of the first half and of the second in turn.
    #[inline(always)]
    fn interleave(self, a: Self::B) -> Self::B {
        let (mut from, mut to) = ([0; 64], [0; 64]);
        self.put_bytes(a, &mut from);
        let to_fours = to.as_chunks_mut::<4>().0;
        for (i, four) in from.as_chunks::<4>().0.iter().enumerate() {
            to_fours[i % 8 * 2 + i / 8] = *four;
        }
        self.bytes(&to)
    }
    /// Exchanges rows and columns of a square of fours of bytes.
    fn transpose(self, rows: &mut [Self::B; 16]);
    /// Exchanges rows and columns of a square of numbers.
    fn transpose_floats(self, rows: &mut [Self::F; 16]);

    /// Adds the products of bytes without and with sign to `sums`, four to a sum.
    fn dot(self, sums: Self::I, a: Self::B, b: Self::B) -> Self::I;
    /// Adds the products of bytes with sign to `sums`, four to a sum; where [`Dots::SIGNED`].
    fn dot_signed(self, sums: Self::I, a: Self::B, b: Self::B) -> Self::I;
    /// Returns sums of four lanes: lane `i` of quarter `q` is that of quarter `q` of vector `i`, in
    /// an order that [`Dots::halves`] undoes.
    fn quarters(self, a: [Self::I; 4]) -> Self::I;
    /// Returns, of the quarters of eight vectors that are two blocks each, those of the first halves
    /// of the sixteen blocks in order, and those of the second halves.
    fn halves(self, a: Self::I, b: Self::I) -> (Self::I, Self::I);

    /// Returns an integer in each lane.
    fn int(self, value: i32) -> Self::I;
    /// Reads integers.
    fn ints(self, from: &[i32; 16]) -> Self::I;
    /// Returns `a + b`.
    fn add_ints(self, a: Self::I, b: Self::I) -> Self::I;
    /// Returns the integers as f32.
    fn to_f32(self, a: Self::I) -> Self::F;

    /// Returns a number in each lane.
    fn float(self, value: f32) -> Self::F;
    /// Returns the same two numbers eight times.
    #[inline(always)]
    fn two(self, from: [f32; 2]) -> Self::F {
        let mut numbers = [0.0; 16];
        for to in numbers.as_chunks_mut().0 {
            *to = from;
        }
        self.floats(&numbers)
    }
    /// Reads numbers.
    fn floats(self, from: &[f32; 16]) -> Self::F;
    /// Writes numbers.
    fn put_floats(self, value: Self::F, to: &mut [f32; 16]);
    /// Returns `a + b`.
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// Returns `a * b`.
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// Returns `a * b + c`, rounded once where the processor can.
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// Returns `c - a * b`, rounded once where the processor can.
    fn sub_mul(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// Widens numbers in half precision.
    fn widen(self, bits: [u16; 16]) -> Self::F;
    /// Widens two numbers in half precision, eight lanes of each.
    fn widen_two(self, low: u16, high: u16) -> Self::F;
    /// Returns the bytes as numbers, those of `low` first.
    fn small(self, low: u64, high: u64) -> Self::F;
    /// Widens the low and the high halves of sixteen words.
    #[inline(always)]
    fn widen_words(self, words: Self::B) -> (Self::F, Self::F) {
        let mut bytes = [0; 64];
        self.put_bytes(words, &mut bytes);
        let (words, _) = bytes.as_chunks::<4>();
        let (mut low, mut high) = ([0; 16], [0; 16]);
        for (i, [a, b, c, d]) in words.iter().enumerate() {
            low[i] = u16::from_le_bytes([*a, *b]);
            high[i] = u16::from_le_bytes([*c, *d]);
        }
        (self.widen(low), self.widen(high))
    }
    /// Returns the eight scales and the eight minima that [`unpack_scales`] finds in the three words
    /// of each lane, as numbers.
    #[inline(always)]
    fn small_of_words(self, words: [Self::B; 3]) -> ([Self::F; 8], [Self::F; 8]) {
        let mut bytes = [[0; 64]; 3];
        for (words, bytes) in words.into_iter().zip(&mut bytes) {
            self.put_bytes(words, bytes);
        }
        let (mut scales, mut minima) = ([[0.0; 16]; 8], [[0.0; 16]; 8]);
        for lane in 0..16 {
            let mut packed = [0; 12];
            for (to, from) in packed.chunks_exact_mut(4).zip(&bytes) {
                to.copy_from_slice(&from[4 * lane..][..4]);
            }
            let (of_scales, of_minima) = unpack_scales(packed);
            for (block, scale) in of_scales.to_le_bytes().into_iter().enumerate() {
                scales[block][lane] = f32::from(scale);
            }
            for (block, minimum) in of_minima.to_le_bytes().into_iter().enumerate() {
                minima[block][lane] = f32::from(minimum);
            }
        }
        let mut found = ([self.float(0.0); 8], [self.float(0.0); 8]);
        for block in 0..8 {
            found.0[block] = self.floats(&scales[block]);
            found.1[block] = self.floats(&minima[block]);
        }
        found
    }
    /// Returns the bytes with even indices and those with odd ones as numbers with signs.
    fn signed_pairs(self, low: &[u8; 16], high: &[u8; 16]) -> (Self::F, Self::F);
}

/// Runs at one level, which must be available.
pub(super) fn dispatch_at<W: Work>(level: Level, work: W) {
    debug_assert!(level.is_available());
    match level {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a level in use was detected on this processor.
        Level::Avx2 | Level::Avx512 => unsafe { super::avx2::run_avx2(work) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::AvxVnni => unsafe { super::avx2::run_avx_vnni(work) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::Avx512Vnni | Level::Avx512Bf16 | Level::Amx => unsafe {
            super::vnni::run_avx512_vnni(work);
        },
        #[cfg(target_arch = "aarch64")]
        Level::Neon => super::neon::run(work),
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        Level::NeonDotprod => unsafe { super::neon::run_dotprod(work) },
        _ => work.run(Portable),
    }
}

/// Plain loops.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Portable {
    #[inline(always)]
    fn products(sums: [i32; 16], product: impl Fn(usize) -> i32) -> [i32; 16] {
        let mut out = sums;
        for (i, sum) in out.iter_mut().enumerate() {
            let i = 4 * i;
            *sum += product(i) + product(i + 1) + product(i + 2) + product(i + 3);
        }
        out
    }
}

impl Dots for Portable {
    type B = [u8; 64];
    type I = [i32; 16];
    type F = [f32; 16];
    const SIGNED: bool = true;
    const TILE: (usize, usize) = (1, 1);

    #[inline(always)]
    fn bytes(self, from: &[u8; 64]) -> Self::B {
        *from
    }
    #[inline(always)]
    fn put_bytes(self, value: Self::B, to: &mut [u8; 64]) {
        *to = value;
    }
    #[inline(always)]
    fn join(self, low: &[u8; 32], high: &[u8; 32]) -> Self::B {
        std::array::from_fn(|i| if i < 32 { low[i] } else { high[i - 32] })
    }
    #[inline(always)]
    fn split(self, a: Self::B) -> [Self::B; 2] {
        [a.map(|a| a & 15), a.map(|a| a >> 4)]
    }
    #[inline(always)]
    fn nibbles(self, from: &[u8; 32]) -> Self::B {
        std::array::from_fn(|i| if i < 32 { from[i] & 15 } else { from[i - 32] >> 4 })
    }
    #[inline(always)]
    fn nibbles_of_two(self, a: &[u8; 16], b: &[u8; 16]) -> Self::B {
        std::array::from_fn(|i| {
            let from = if i < 32 { a } else { b };
            from[i % 16] >> (i / 16 % 2 * 4) & 15
        })
    }
    #[inline(always)]
    fn six_bits(self, low: &[u8; 64], high: &[u8; 32]) -> [Self::B; 2] {
        let bits = |i: usize, quarter: usize| (high[i % 32] >> (2 * quarter) & 3) << 4;
        [
            std::array::from_fn(|i| low[i] & 15 | bits(i, i / 32)),
            std::array::from_fn(|i| low[i] >> 4 | bits(i, 2 + i / 32)),
        ]
    }
    #[inline(always)]
    fn or_fifth(self, low: Self::B, high: &[u8; 32], pair: usize) -> Self::B {
        std::array::from_fn(|i| low[i] | (high[i % 32] >> (2 * pair + i / 32) & 1) << 4)
    }
    #[inline(always)]
    fn flip(self, a: Self::B) -> Self::B {
        a.map(|a| a ^ 128)
    }
    #[inline(always)]
    fn four(self, from: [u8; 4]) -> Self::B {
        std::array::from_fn(|i| from[i % 4])
    }
    #[inline(always)]
    fn transpose(self, rows: &mut [Self::B; 16]) {
        let old = *rows;
        for (r, row) in rows.iter_mut().enumerate() {
            *row = std::array::from_fn(|i| old[i / 4][4 * r + i % 4]);
        }
    }
    #[inline(always)]
    fn transpose_floats(self, rows: &mut [Self::F; 16]) {
        let old = *rows;
        for (r, row) in rows.iter_mut().enumerate() {
            *row = std::array::from_fn(|i| old[i][r]);
        }
    }
    #[inline(always)]
    fn dot(self, sums: Self::I, a: Self::B, b: Self::B) -> Self::I {
        Self::products(sums, |i| i32::from(a[i]) * i32::from(b[i].cast_signed()))
    }
    #[inline(always)]
    fn dot_signed(self, sums: Self::I, a: Self::B, b: Self::B) -> Self::I {
        Self::products(sums, |i| i32::from(a[i].cast_signed()) * i32::from(b[i].cast_signed()))
    }
    #[inline(always)]
    fn quarters(self, a: [Self::I; 4]) -> Self::I {
        std::array::from_fn(|i| a[i % 4][i / 4 * 4..][..4].iter().sum())
    }
    #[inline(always)]
    fn halves(self, a: Self::I, b: Self::I) -> (Self::I, Self::I) {
        // Block `i` is a half of vector `i / 2`, its halves are two quarters.
        let of = |i: usize, half: usize| {
            let from = if i < 8 { a } else { b };
            from[(i % 2 * 2 + half) * 4 + i % 8 / 2]
        };
        (std::array::from_fn(|i| of(i, 0)), std::array::from_fn(|i| of(i, 1)))
    }
    #[inline(always)]
    fn int(self, value: i32) -> Self::I {
        [value; 16]
    }
    #[inline(always)]
    fn ints(self, from: &[i32; 16]) -> Self::I {
        *from
    }
    #[inline(always)]
    fn add_ints(self, a: Self::I, b: Self::I) -> Self::I {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn to_f32(self, a: Self::I) -> Self::F {
        a.map(|a| a as f32)
    }
    #[inline(always)]
    fn float(self, value: f32) -> Self::F {
        [value; 16]
    }
    #[inline(always)]
    fn floats(self, from: &[f32; 16]) -> Self::F {
        *from
    }
    #[inline(always)]
    fn put_floats(self, value: Self::F, to: &mut [f32; 16]) {
        *to = value;
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        std::array::from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    fn sub_mul(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        std::array::from_fn(|i| c[i] - a[i] * b[i])
    }
    #[inline(always)]
    fn widen(self, bits: [u16; 16]) -> Self::F {
        bits.map(|bits| f16::from_bits(bits).to_f32())
    }
    #[inline(always)]
    fn widen_two(self, low: u16, high: u16) -> Self::F {
        let two = [low, high].map(|bits| f16::from_bits(bits).to_f32());
        std::array::from_fn(|i| two[i / 8])
    }
    #[inline(always)]
    fn small(self, low: u64, high: u64) -> Self::F {
        let (low, high) = (low.to_le_bytes(), high.to_le_bytes());
        std::array::from_fn(|i| f32::from(if i < 8 { low[i] } else { high[i - 8] }))
    }
    #[inline(always)]
    fn signed_pairs(self, low: &[u8; 16], high: &[u8; 16]) -> (Self::F, Self::F) {
        let of = |i: usize, odd: usize| {
            let from = if i < 8 { low } else { high };
            f32::from(from[i % 8 * 2 + odd].cast_signed())
        };
        (std::array::from_fn(|i| of(i, 0)), std::array::from_fn(|i| of(i, 1)))
    }
}
