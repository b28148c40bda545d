//! Keys and values as they are kept, and how the kernels read them.

use crate::blocks::{BlockFormat, SMALL};
use crate::memory::prefetch_second;
use crate::simd::{Element, Simd};

/// Bytes of a block: a scale in half precision, and integers.
const BLOCK: usize = BlockFormat::Q8_0.block_bytes();

/// Bytes of a line of the cache.
const LINE: usize = 64;

/// Keys or values of all heads.
pub(super) trait Entries: Copy + Send + Sync {
    /// One key or value.
    type Entry: Copy;

    /// Returns the key or value that begins with element `at`.
    fn entry(self, at: usize, width: usize) -> Self::Entry;
    /// Asks for the keys or values that begin with these elements, which may be beyond the end, to be
    /// brought into the second cache.
    fn ask<const N: usize>(self, at: [usize; N], width: usize);
    /// Reads a vector of an entry from its element `at` on, a multiple of the vector's lanes.
    ///
    /// # Safety
    /// The entry's width must be at least a vector more than `at`.
    unsafe fn load<S: Simd>(simd: S, entry: Self::Entry, at: usize) -> S::V;
    /// Reads what is left of an entry from its element `at` on, zeros after its end.
    fn load_rest<S: Simd>(simd: S, entry: Self::Entry, at: usize) -> S::V;
}

impl<'a, E: Element> Entries for &'a [E] {
    type Entry = &'a [E];

    #[inline(always)]
    fn entry(self, at: usize, width: usize) -> Self::Entry {
        &self[at..][..width]
    }
    #[inline(always)]
    fn ask<const N: usize>(self, at: [usize; N], width: usize) {
        for line in (0..width).step_by(LINE / size_of::<E>()) {
            for at in at {
                prefetch_second(self, at + line);
            }
        }
    }
    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, entry: Self::Entry, at: usize) -> S::V {
        // SAFETY: the caller vouches for it.
        E::load(simd, unsafe { entry.get_unchecked(at..at + S::LANES) })
    }
    #[inline(always)]
    fn load_rest<S: Simd>(simd: S, entry: Self::Entry, at: usize) -> S::V {
        E::load_few(simd, &entry[at..])
    }
}

/// Blocks of [`BlockFormat::Q8_0`]. Every head begins with a block; what its last block has beyond
/// the head's width is zero.
#[derive(Clone, Copy)]
pub(super) struct EightBits<'a>(pub(super) &'a [u8]);

impl<'a> Entries for EightBits<'a> {
    type Entry = &'a [u8];

    #[inline(always)]
    fn entry(self, at: usize, width: usize) -> Self::Entry {
        &self.0[at / SMALL * BLOCK..][..width.div_ceil(SMALL) * BLOCK]
    }
    #[inline(always)]
    fn ask<const N: usize>(self, at: [usize; N], width: usize) {
        for line in (0..width.div_ceil(SMALL) * BLOCK).step_by(LINE) {
            for at in at {
                prefetch_second(self.0, at / SMALL * BLOCK + line);
            }
        }
    }
    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, entry: Self::Entry, at: usize) -> S::V {
        // SAFETY: the caller vouches for the element, and its block is whole.
        let block = unsafe { entry.get_unchecked(at / SMALL * BLOCK..(at / SMALL + 1) * BLOCK) };
        let scale = half(u16::from_le_bytes([block[0], block[1]]));
        simd.mul(simd.load_i8(&block[2 + at % SMALL..]), simd.splat(scale))
    }
    #[inline(always)]
    fn load_rest<S: Simd>(simd: S, entry: Self::Entry, at: usize) -> S::V {
        assert!(at / SMALL * BLOCK < entry.len(), "element {at} of {} bytes", entry.len());
        // SAFETY: there is a block, which is at least as long as a vector.
        unsafe { Self::load(simd, entry, at) }
    }
}

/// Returns a number in half precision: its bits are those of a float whose exponent is too small
/// by 112.
#[inline(always)]
fn half(bits: u16) -> f32 {
    const UP: f32 = f32::from_bits((127 + 112) << 23);
    if bits & 0x7c00 == 0x7c00 {
        return f32::NAN; // No scale is infinite: a block with such an element has none.
    }
    let magnitude = f32::from_bits(u32::from(bits & 0x7fff) << 13) * UP;
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_finite_half_is_widened_exactly() {
        for bits in 0..=u16::MAX {
            let (found, expected) = (super::half(bits), half::f16::from_bits(bits).to_f32());
            let is_equal = found.to_bits() == expected.to_bits();
            assert!(is_equal || !expected.is_finite() && found.is_nan(), "{bits:#x}");
        }
    }
}
