//! Matrices in blocks of few bits, in the layouts of GGUF files.
//!
//! A block holds consecutive elements of a row: small integers and the numbers that scale them.

pub(crate) mod dequantize;
mod quantize;
mod search;

pub use dequantize::dequantize;
pub use quantize::quantize;

/// Elements of the blocks of four and six bits with scales of scales.
pub(crate) const LARGE: usize = 256;
/// Elements of the other blocks.
pub(crate) const SMALL: usize = 32;

/// How elements are stored in blocks; all numbers are little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockFormat {
    /// `d q`: a half-precision `d`, 32 integers `q` of eight bits.
    Q8_0,
    /// `d (q - 8)`: a half-precision `d`, 32 integers `q` of four bits, the first sixteen in the
    /// low halves of sixteen bytes.
    Q4_0,
    /// `d s q - e m`: half-precision `d` and `e`, then `s` and `m` of six bits for each of eight
    /// groups of 32 elements, then 256 integers `q` of four bits.
    Q4K,
    /// `d s q - e m`: as [`BlockFormat::Q4K`], but with the fifth bits of the integers in 32 bytes
    /// before the low four: bit `g` of byte `i` is that of element `i` of group `g`.
    Q5K,
    /// `d s (q - 32)`: the low four and then the high two bits of 256 integers `q`, a signed byte
    /// `s` for each of sixteen groups of 16 elements, a half-precision `d`.
    Q6K,
}

impl BlockFormat {
    /// Every format.
    pub const ALL: [Self; 5] = [Self::Q8_0, Self::Q4_0, Self::Q4K, Self::Q5K, Self::Q6K];

    /// Returns the number of elements of a block.
    pub const fn block_len(self) -> usize {
        match self {
            Self::Q8_0 | Self::Q4_0 => SMALL,
            Self::Q4K | Self::Q5K | Self::Q6K => LARGE,
        }
    }

    /// Returns the number of bytes of a block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::Q8_0 => 2 + SMALL,
            Self::Q4_0 => 2 + SMALL / 2,
            Self::Q4K => 2 + 2 + 12 + LARGE / 2,
            Self::Q5K => 2 + 2 + 12 + LARGE / 8 + LARGE / 2,
            Self::Q6K => LARGE / 2 + LARGE / 4 + LARGE / 16 + 2,
        }
    }

    /// Returns the number of bytes of so many elements.
    ///
    /// # Panics
    /// If they are not whole blocks.
    pub fn num_bytes(self, elements: usize) -> usize {
        assert!(elements.is_multiple_of(self.block_len()), "{elements} elements in {self:?}");
        elements / self.block_len() * self.block_bytes()
    }
}

/// Elements in blocks, row-major; rows are whole blocks. The bytes need no alignment.
#[derive(Clone, Copy, Debug)]
pub struct Blocks<'a> {
    /// How they are stored.
    pub format: BlockFormat,
    /// The blocks.
    pub bytes: &'a [u8],
}

impl Blocks<'_> {
    /// Returns the number of elements of whole blocks.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.format.block_bytes() * self.format.block_len()
    }

    /// Returns whether there is no block.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Returns the scales and the minima of the eight groups of a block of four bits.
///
/// Bytes 0 to 3 and 4 to 7 hold those of the first four groups, bytes 8 to 11 the low four bits of
/// the others, whose high two bits are on top of the former.
pub(crate) fn unpack_scales(packed: [u8; 12]) -> (u64, u64) {
    let word = |at: usize| {
        u32::from_le_bytes([packed[at], packed[at + 1], packed[at + 2], packed[at + 3]])
    };
    let (a, b, c) = (word(0), word(4), word(8));
    let low = |word: u32| u64::from(word & 0x3f3f_3f3f);
    let high = |nibbles: u32, word: u32| {
        u64::from((nibbles & 0x0f0f_0f0f) | ((word >> 2) & 0x3030_3030)) << 32
    };
    (low(a) | high(c, a), low(b) | high(c >> 4, b))
}

/// Returns the inverse of [`unpack_scales`].
pub(crate) fn pack_scales(scales: [u8; 8], minima: [u8; 8]) -> [u8; 12] {
    let mut packed = [0; 12];
    for i in 0..4 {
        packed[i] = scales[i] | scales[4 + i] >> 4 << 6;
        packed[4 + i] = minima[i] | minima[4 + i] >> 4 << 6;
        packed[8 + i] = scales[4 + i] & 15 | (minima[4 + i] & 15) << 4;
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_scales_are_what_was_packed() {
        for seed in 0..64_u8 {
            let scales = std::array::from_fn(|i| ((usize::from(seed) * 7 + i * 11) % 64) as u8);
            let minima = std::array::from_fn(|i| ((usize::from(seed) * 5 + i * 13 + 3) % 64) as u8);
            let found = unpack_scales(pack_scales(scales, minima));
            assert_eq!((found.0.to_le_bytes(), found.1.to_le_bytes()), (scales, minima));
        }
    }
}
