//! What multiplies numbers of bf16 and of bytes, and what it multiplies at a time.
//!
//! A block of sums is that of 32 rows, whose elements follow each other, and of 32 columns, whose pairs or
//! fours of elements lie side by side. The processor's own unit takes sixteen of either at a time; vectors of
//! AVX-512 take pairs and fours of sixteen columns, and one of a row.

use std::marker::PhantomData;

use half::bf16;

use super::bytes::{Scales, add_scaled};
use super::tiles::Tiles;
use super::{Sums, vectors};
use crate::Level;
use crate::memory::LINE;

/// Rows of a tile, and its numbers of 32 bits in a row.
pub(super) const SIDE: usize = 16;
/// Elements of the depth that a step takes.
pub(crate) const STEP: usize = 32;
/// Elements of the depth that a step of bytes takes.
pub(super) const BYTES: usize = 64;
/// Numbers of 32 bits of a tile.
pub(super) const TILE: usize = SIDE * SIDE;
/// Rows of a product of two times two tiles, and its columns.
pub(crate) const BLOCK: usize = 2 * SIDE;

/// What this thread multiplies with, made ready.
pub(crate) enum Unit {
    /// The processor's unit for products of matrices.
    Tiles(Tiles),
    /// Dot products in the lanes of a vector.
    Vectors,
}

impl Unit {
    /// Takes the one of the level in use.
    ///
    /// # Safety
    /// The level must have [blocks of bf16](Level::has_blocks_of_bf16) or
    /// [of bytes](Level::has_blocks_of_bytes), whichever are multiplied, and the thread no other unit.
    pub(crate) unsafe fn new() -> Self {
        match Level::current() {
            // SAFETY: a level in use was detected, and the caller vouches for the rest.
            Level::Amx => Self::Tiles(unsafe { Tiles::new() }),
            _ => Self::Vectors,
        }
    }

    /// Adds the products of 32 rows and 32 columns, whose pairs follow each other step by step, to sums, or
    /// to zeros.
    ///
    /// # Safety
    /// The level must have blocks of bf16.
    pub(crate) unsafe fn multiply(&self, rows: &Rows<'_>, columns: &[f32], to: Block<'_>) {
        // SAFETY: the caller vouches for the instructions.
        unsafe {
            match self {
                Self::Tiles(tiles) => tiles.multiply(rows, columns, to),
                Self::Vectors => vectors::multiply(rows, columns, to),
            }
        }
    }

    /// Returns what the bytes of rows differ in from integers with signs: vectors multiply bytes without signs
    /// with bytes that have some.
    pub(super) fn flipped_bits(&self) -> u8 {
        match self {
            Self::Tiles(_) => 0,
            Self::Vectors => 0x80,
        }
    }

    /// Adds the products of 32 rows and 32 columns of bytes, or of sixteen columns, times their scales to
    /// sums. Of both matrices each step has two tiles; four more are room for products.
    ///
    /// # Safety
    /// The level must have blocks of bytes.
    pub(super) unsafe fn add_bytes(
        &self,
        (rows, columns): (&[f32], &Bytes<'_>),
        scales: Scales<'_>,
        room: &mut [[f32; TILE]; 4],
        (sums, are_few): (&mut Sums, bool),
    ) {
        // SAFETY: the caller vouches for the instructions.
        unsafe {
            match self {
                Self::Tiles(tiles) => {
                    tiles.multiply_bytes(rows, columns.tiles, room, are_few);
                    add_scaled(room, scales, sums, are_few);
                }
                Self::Vectors => vectors::add_bytes((rows, columns), &scales, sums, are_few),
            }
        }
    }
}

/// 32 columns of bytes with signs.
pub(super) struct Bytes<'a> {
    /// Two for each step.
    pub(super) tiles: &'a [f32],
    /// What vectors begin with: the products with the [flipped bits](Unit::flipped_bits) are to be taken away.
    /// Integers of 32 bits. `// [32]`
    pub(super) starts: &'a [f32],
}

/// Sums of 32 rows and 32 columns.
pub(crate) struct Block<'a> {
    /// Rows, so many numbers apart.
    pub(crate) numbers: &'a mut [f32],
    pub(crate) stride: usize,
    /// Whether nothing is there yet.
    pub(crate) is_new: bool,
    /// Whether only the first sixteen columns are wanted.
    pub(crate) are_few: bool,
}

impl<'a> Block<'a> {
    /// Takes a whole block that has nothing yet.
    pub(crate) fn new(numbers: &'a mut [f32], stride: usize) -> Self {
        Self { numbers, stride, is_new: true, are_few: false }
    }
}

/// 32 rows over some steps.
pub(crate) struct Rows<'a> {
    pub(super) first: *const u8,
    /// Bytes from one row to the next.
    pub(super) stride: usize,
    pub(super) steps: usize,
    data: PhantomData<&'a [u8]>,
}

/// What rows are made of: two bytes, any of which are a bf16, or twice as many.
pub(crate) trait Plain {}
impl Plain for bf16 {}
impl Plain for f32 {}

impl<'a> Rows<'a> {
    /// Takes rows so many values apart, the first of which begins with the first value.
    ///
    /// # Panics
    /// If there are not as many.
    pub(crate) fn new<T: Plain>(data: &'a [T], stride: usize, steps: usize) -> Self {
        let len = (BLOCK - 1) * stride + steps * LINE / size_of::<T>();
        assert!(data.len() >= len, "32 rows of {steps} steps in {} values", data.len());
        let first = data.as_ptr().cast();
        Self { first, stride: stride * size_of::<T>(), steps, data: PhantomData }
    }

    /// Returns the number of steps.
    pub(super) fn steps(&self) -> usize {
        self.steps
    }
}
