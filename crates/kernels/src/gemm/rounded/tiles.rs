//! The processor's unit for products of matrices of bf16 and of bytes (AMX).
//!
//! Its tiles are sixteen rows of a line of the cache. A step multiplies sixteen rows of 32 elements
//! with sixteen columns, whose elements lie in pairs, and adds each product to a number of a third
//! tile. It takes subnormal numbers as zero. Of integers of eight bits a step takes 64 elements, which lie
//! in fours.
//!
//! The compiler knows nothing of the tiles, so no tile lives from one block of assembly to the next.

use std::arch::asm;
use std::marker::PhantomData;

use super::unit::{BLOCK, Block, Rows, SIDE, STEP, TILE};
use crate::memory::LINE;

/// Steps after which a tile is written to nowhere, a power of two. The first one to be written after some
/// twenty steps whose tiles did not come from the first cache takes 250 to 300 ns, wherever it goes and
/// whatever it holds, and those that follow soon take 5 to 20.
const STORED: usize = 8;
/// A flag of [`Tiles::multiply`]: there are no sums yet.
const IS_NEW: u32 = 1;
/// Likewise: there are no more than sixteen columns.
const ARE_FEW: u32 = 2;

/// Goes on to the next step of [`Tiles::multiply`], having written a tile to nowhere if it is time, or to the
/// end.
macro_rules! next_step {
    ($again:literal, $end:literal) => {
        concat!(
            "add {upper}, 64\n",
            "add {lower}, 64\n",
            "add {columns}, 2048\n",
            "dec {steps}\n",
            "jz ",
            $end,
            "\ntest {steps:e}, {some}\n",
            "jnz ",
            $again,
            "\ntilestored [{line}], tmm4\n",
            "jmp ",
            $again,
        )
    };
}

/// A line of the cache.
#[repr(align(64))]
struct Line([u8; LINE]);

/// What tiles look like, as the processor reads it.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// The unit of this thread, made ready; giving it back spares the system keeping its tiles.
pub(crate) struct Tiles {
    /// It is this thread's.
    thread: PhantomData<*const ()>,
}

impl Tiles {
    /// Makes it ready.
    ///
    /// # Safety
    /// The processor must have the instructions of [`Level::Amx`](crate::Level), and the thread no other
    /// unit.
    pub(super) unsafe fn new() -> Self {
        let mut config = Config {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        config.row_bytes[..8].fill(LINE as u16);
        config.rows[..8].fill(SIDE as u8);
        // SAFETY: the caller vouches for the instruction, which reads the 64 bytes of the configuration.
        unsafe {
            asm!(
                "ldtilecfg [{}]",
                in(reg) &raw const config,
                options(nostack, preserves_flags, readonly),
            );
        }
        Self { thread: PhantomData }
    }

    /// Adds the products of 32 rows and 32 columns, whose pairs follow each other step by step, to sums, or
    /// to zeros: a tile waits for what was just written.
    ///
    /// # Safety
    /// The processor must have the instructions.
    #[allow(clippy::unused_self, reason = "a unit is the proof that the tiles are ready")]
    pub(super) unsafe fn multiply(&self, rows: &Rows<'_>, columns: &[f32], to: Block<'_>) {
        let Block { numbers, stride, is_new, are_few } = to;
        assert_eq!(columns.len(), rows.steps * STEP * BLOCK / 2, "columns of {} steps", rows.steps);
        let sums = &mut numbers[..(BLOCK - 1) * stride + BLOCK];
        if rows.steps == 0 {
            return;
        }
        let mut line = Line([0; LINE]);
        // SAFETY: what is read are as many steps of rows and columns as there are, and the sums have room
        // for four tiles of rows so far apart. A tile is written to the line, sixteen times the same row.
        unsafe {
            asm!(
                "test {flags:e}, {new}",
                "jnz 2f",
                "tileloadd tmm0, [{sums} + {side} * 1]",
                "tileloadd tmm1, [{sums} + {side} * 1 + 64]",
                "tileloadd tmm2, [{below} + {side} * 1]",
                "tileloadd tmm3, [{below} + {side} * 1 + 64]",
                "jmp 3f",
                "2:",
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "3:",
                "test {flags:e}, {few}",
                "jnz 6f",
                "4:",
                "tileloadd tmm6, [{columns} + {pairs} * 1]",
                "tileloadd tmm4, [{upper} + {stride} * 1]",
                "tileloadd tmm7, [{columns} + {pairs} * 1 + 64]",
                "tileloadd tmm5, [{lower} + {stride} * 1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                next_step!("4b", "5f"),
                "5:",
                "tilestored [{sums} + {side} * 1 + 64], tmm1",
                "tilestored [{below} + {side} * 1 + 64], tmm3",
                "jmp 7f",
                "6:",
                "tileloadd tmm6, [{columns} + {pairs} * 1]",
                "tileloadd tmm4, [{upper} + {stride} * 1]",
                "tileloadd tmm5, [{lower} + {stride} * 1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm2, tmm5, tmm6",
                next_step!("6b", "7f"),
                "7:",
                "tilestored [{sums} + {side} * 1], tmm0",
                "tilestored [{below} + {side} * 1], tmm2",
                new = const IS_NEW,
                few = const ARE_FEW,
                some = const STORED - 1,
                flags = in(reg) u32::from(is_new) * IS_NEW + u32::from(are_few) * ARE_FEW,
                sums = in(reg) sums.as_mut_ptr(),
                below = in(reg) sums[SIDE * stride..].as_mut_ptr(),
                side = in(reg) stride * size_of::<f32>(),
                pairs = in(reg) BLOCK * size_of::<f32>(),
                upper = inout(reg) rows.first => _,
                lower = inout(reg) rows.first.wrapping_add(SIDE * rows.stride) => _,
                stride = in(reg) rows.stride,
                columns = inout(reg) columns.as_ptr() => _,
                steps = inout(reg) rows.steps => _,
                line = in(reg) line.0.as_mut_ptr(),
                options(nostack),
            );
        }
    }

    /// Writes the products of 32 rows and 32 columns of bytes with signs, or of sixteen columns, to four tiles
    /// of integers of 32 bits: of the first rows those of the first and the second columns, and likewise of
    /// the second rows. Of both matrices each step has two tiles.
    ///
    /// # Safety
    /// The processor must have the instructions.
    #[allow(clippy::unused_self, reason = "a unit is the proof that the tiles are ready")]
    pub(super) unsafe fn multiply_bytes(
        &self,
        rows: &[f32],
        columns: &[f32],
        products: &mut [[f32; TILE]; 4],
        are_few: bool,
    ) {
        let steps = rows.len() / (2 * TILE);
        assert_eq!(rows.len(), steps * 2 * TILE, "rows of whole steps");
        assert_eq!(columns.len(), rows.len(), "columns of {steps} steps");
        if steps == 0 {
            products.as_flattened_mut().fill(0.0);
            return;
        }
        // SAFETY: what is read are as many steps of rows and columns as there are, and there is room for four
        // tiles.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "test {few}, {few}",
                "jnz 4f",
                "3:",
                "tileloadd tmm6, [{columns} + {line} * 1]",
                "tileloadd tmm4, [{rows} + {line} * 1]",
                "tileloadd tmm7, [{columns} + {line} * 1 + 1024]",
                "tileloadd tmm5, [{rows} + {line} * 1 + 1024]",
                "tdpbssd tmm0, tmm4, tmm6",
                "tdpbssd tmm1, tmm4, tmm7",
                "tdpbssd tmm2, tmm5, tmm6",
                "tdpbssd tmm3, tmm5, tmm7",
                "add {rows}, 2048",
                "add {columns}, 2048",
                "dec {steps}",
                "jnz 3b",
                "tilestored [{products} + {line} * 1 + 1024], tmm1",
                "tilestored [{products} + {line} * 1 + 3072], tmm3",
                "jmp 5f",
                "4:",
                "tileloadd tmm6, [{columns} + {line} * 1]",
                "tileloadd tmm4, [{rows} + {line} * 1]",
                "tileloadd tmm5, [{rows} + {line} * 1 + 1024]",
                "tdpbssd tmm0, tmm4, tmm6",
                "tdpbssd tmm2, tmm5, tmm6",
                "add {rows}, 2048",
                "add {columns}, 2048",
                "dec {steps}",
                "jnz 4b",
                "5:",
                "tilestored [{products} + {line} * 1], tmm0",
                "tilestored [{products} + {line} * 1 + 2048], tmm2",
                few = in(reg) usize::from(are_few),
                products = in(reg) products.as_mut_ptr(),
                line = in(reg) LINE,
                rows = inout(reg) rows.as_ptr() => _,
                columns = inout(reg) columns.as_ptr() => _,
                steps = inout(reg) steps => _,
                options(nostack),
            );
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: whoever made the unit vouched for the instruction.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) }
    }
}
