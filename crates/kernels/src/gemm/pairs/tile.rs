//! Tiles of a product.

use std::arch::x86_64::{
    __m512, __m512bh, __mmask16, _mm512_add_ps, _mm512_dpbf16_ps, _mm512_loadu_ps,
    _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps,
};
use std::hint::black_box;
use std::mem::transmute;
use std::ops::Range;

use half::bf16;

use super::super::Target;
use super::lines::Lines;
use super::{BROAD, DEPTH, LANES, TALL};
use crate::memory::prefetch;

/// Pairs of a tile after which it asks for some of them.
const STEP: usize = 32;

/// A panel of rows times one of columns.
pub(super) struct Tile<'a> {
    pub(super) a: &'a [f32],
    pub(super) b: &'a [f32],
    /// What is to be packed next, and which of its lines of the cache this tile asks for.
    pub(super) next: (&'a Lines<'a>, Range<usize>),
    pub(super) to: To,
}

impl Tile<'_> {
    /// Multiplies the first so many rows.
    ///
    /// # Safety
    /// As for [`Block::run`](super::Block).
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub(super) unsafe fn run(self, rows: usize) {
        // SAFETY: the caller vouches for it.
        unsafe {
            match rows {
                1 => self.run_rows::<1>(),
                2 => self.run_rows::<2>(),
                3 => self.run_rows::<3>(),
                4 => self.run_rows::<4>(),
                5 => self.run_rows::<5>(),
                6 => self.run_rows::<6>(),
                7 => self.run_rows::<7>(),
                8 => self.run_rows::<8>(),
                9 => self.run_rows::<9>(),
                10 => self.run_rows::<10>(),
                11 => self.run_rows::<11>(),
                12 => self.run_rows::<12>(),
                13 => self.run_rows::<13>(),
                _ => self.run_rows::<TALL>(),
            }
        }
    }

    /// Multiplies the first `R` rows.
    ///
    /// # Safety
    /// As for [`Block::run`](super::Block).
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn run_rows<const R: usize>(self) {
        // SAFETY: the caller vouches for it.
        unsafe { self.to.prefetch(R) }
        let mut sums = [[_mm512_setzero_ps(); 2]; R];
        let (a, _) = self.a.as_chunks::<TALL>();
        let (b, _) = self.b.as_chunks::<BROAD>();
        let (next, mut lines) = self.next;
        let at_once = lines.len().div_ceil(DEPTH / STEP);
        for (a, b) in a.chunks(STEP).zip(b.chunks(STEP)) {
            for line in lines.by_ref().take(at_once) {
                next.prefetch(line);
            }
            for (a, b) in a.iter().zip(b) {
                let b = vectors(b);
                for r in 0..R {
                    let a = as_pairs(_mm512_set1_ps(a[r]));
                    for c in 0..2 {
                        sums[r][c] = _mm512_dpbf16_ps(sums[r][c], a, b[c]);
                    }
                }
            }
        }
        // SAFETY: the caller vouches for it.
        unsafe { self.to.put(&sums) }
    }
}

/// As many rows as the tallest tile has, as they lie in memory, times a panel of columns.
pub(super) struct Lying<'a> {
    pub(super) a: &'a [bf16],
    /// Elements from one row to the next, and of a row: an even number.
    pub(super) stride: usize,
    pub(super) depth: usize,
    pub(super) b: &'a [f32],
    pub(super) to: To,
}

impl Lying<'_> {
    /// Multiplies.
    ///
    /// # Safety
    /// As for [`Block::run`](super::Block).
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub(super) unsafe fn run(self) {
        let Self { a, stride, depth, b, to } = self;
        assert!(a.len() >= (TALL - 1) * stride + depth, "rows of {depth}");
        // SAFETY: the caller vouches for it.
        unsafe { to.prefetch(TALL) }
        let mut sums = [[_mm512_setzero_ps(); 2]; TALL];
        let (b, _) = b.as_chunks::<BROAD>();
        // There are not fourteen registers for where the rows are. An address may be a register and
        // another times one, two, four or eight, so that seven are enough besides the first row's;
        // the compiler is not to know what they have to do with each other.
        let row = size_of::<bf16>() * stride;
        let [one, three, five, seven, nine, eleven, thirteen] =
            black_box([row, 3 * row, 5 * row, 7 * row, 9 * row, 11 * row, 13 * row]);
        let offsets = [
            0,
            one,
            2 * one,
            three,
            4 * one,
            five,
            2 * three,
            seven,
            8 * one,
            nine,
            2 * five,
            eleven,
            4 * three,
            thirteen,
        ];
        let mut start = a.as_ptr().cast::<u8>();
        for b in &b[..depth / 2] {
            let b = vectors(b);
            for r in 0..TALL {
                // SAFETY: the pair is inside its row, which is inside `a`.
                let pair = unsafe { start.add(offsets[r]).cast::<f32>().read_unaligned() };
                let pair = as_pairs(_mm512_set1_ps(pair));
                for c in 0..2 {
                    sums[r][c] = _mm512_dpbf16_ps(sums[r][c], pair, b[c]);
                }
            }
            // SAFETY: at most the end of the first row.
            start = unsafe { start.add(2 * size_of::<bf16>()) };
        }
        // SAFETY: the caller vouches for it.
        unsafe { to.put(&sums) }
    }
}

/// Where a tile goes.
pub(super) struct To {
    pub(super) target: Target,
    pub(super) columns: usize,
    pub(super) accumulate: bool,
}

impl To {
    /// Asks for some rows.
    ///
    /// # Safety
    /// Nobody else may access the elements at the same time.
    #[inline]
    unsafe fn prefetch(&self, rows: usize) {
        for r in 0..rows {
            let at = self.target.at + r * self.target.stride;
            // SAFETY: the caller vouches for it.
            let row = unsafe { self.target.out.slice(at, self.columns) };
            prefetch(row, 0);
            prefetch(row, LANES);
        }
    }

    /// Writes or adds rows. A part of whoever calls it, so that the sums need not go through memory.
    ///
    /// # Safety
    /// Nobody else may access the elements at the same time, and the processor must have AVX-512 F.
    #[inline(always)]
    unsafe fn put<const R: usize>(&self, sums: &[[__m512; 2]; R]) {
        let mask = u32::MAX >> (BROAD - self.columns);
        let masks = [mask as __mmask16, (mask >> LANES) as __mmask16];
        for (r, sums) in sums.iter().enumerate() {
            let at = self.target.at + r * self.target.stride;
            // SAFETY: the caller vouches for it.
            let row = unsafe { self.target.out.slice(at, self.columns) };
            for (c, sum) in sums.iter().enumerate() {
                let to = row.as_mut_ptr().wrapping_add(c * LANES);
                // SAFETY: the masks have a bit for each element of the row, others are not touched.
                unsafe {
                    let sum = if self.accumulate {
                        _mm512_add_ps(_mm512_maskz_loadu_ps(masks[c], to), *sum)
                    } else {
                        *sum
                    };
                    _mm512_mask_storeu_ps(to, masks[c], sum);
                }
            }
        }
    }
}

/// Returns a pair of each of a tile's columns.
#[inline]
#[target_feature(enable = "avx512f")]
fn vectors(b: &[f32; BROAD]) -> [__m512bh; 2] {
    let b = b.as_ptr();
    // SAFETY: a tile's columns are two vectors.
    unsafe { [as_pairs(_mm512_loadu_ps(b)), as_pairs(_mm512_loadu_ps(b.add(LANES)))] }
}

/// Returns the bits as pairs of bf16.
#[inline]
#[target_feature(enable = "avx512f")]
fn as_pairs(bits: __m512) -> __m512bh {
    // SAFETY: both types are 512 plain bits.
    unsafe { transmute(bits) }
}
