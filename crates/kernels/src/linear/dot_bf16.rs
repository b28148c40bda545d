//! Tiles of dot products by the processor's bf16 instruction: two products for each lane.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_maskz_loadu_epi16, _mm512_reduce_add_ps,
    _mm512_setzero_ps, _mm512_setzero_si512,
};
use std::hint::black_box;
use std::mem::transmute;

use half::bf16;

use super::Part;
use crate::memory::prefetch_at;

/// Elements of a vector.
const LANES: usize = 32;
const TALL: usize = 6;
const BROAD: usize = 4;
/// Rows of `x` up to which reading the weights takes longer than multiplying them one by one, and
/// the bytes of them that stay in the first cache meanwhile.
const FEW: usize = 4;
const FIRST: usize = 40 << 10;
/// Rows of `x` of the tallest tile of three columns.
const SOME: usize = 8;
/// Elements that weights are asked for ahead of their use: of one column, and of several.
const AHEAD: usize = 2048;
const AHEAD_OF_SEVERAL: usize = 768;

/// Multiplies one part of a call. The processor must have the instructions of
/// [`Level::Avx512Bf16`](crate::Level).
pub(super) fn run(part: &Part<'_, bf16, bf16>) {
    // SAFETY: the caller chose this function by the level in use, which was detected.
    unsafe { run_part(part) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn run_part(part: &Part<'_, bf16, bf16>) {
    match part.rows() {
        // The weights as they lie in memory, which reads one long run faster than several at once.
        ..=FEW if size_of_val(part.x) <= FIRST => columns::<1>(part),
        // All rows at once: otherwise no weights would be read while some meet the rest.
        7..=SOME => columns::<3>(part),
        _ => columns::<BROAD>(part),
    }
}

/// Computes all rows times all columns, `C` of these at a time.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn columns<const C: usize>(part: &Part<'_, bf16, bf16>) {
    let columns = part.weight.len() / part.width;
    let whole = columns - columns % C;
    for column in (0..whole).step_by(C) {
        tiles::<C>(part, column);
    }
    for column in whole..columns {
        tiles::<1>(part, column);
    }
}

/// Computes all rows times `C` columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn tiles<const C: usize>(part: &Part<'_, bf16, bf16>, column: usize) {
    let rows = part.rows();
    // Tiles of the same height rather than tall ones and a rest.
    let tall = rows.div_ceil(rows.div_ceil(if C == BROAD { TALL } else { SOME }));
    for row in (0..rows).step_by(tall) {
        match tall.min(rows - row) {
            1 => tile::<1, C>(part, row, column),
            2 => tile::<2, C>(part, row, column),
            3 => tile::<3, C>(part, row, column),
            4 => tile::<4, C>(part, row, column),
            5 => tile::<5, C>(part, row, column),
            6 => tile::<6, C>(part, row, column),
            7 => tile::<7, C>(part, row, column),
            _ => tile::<SOME, C>(part, row, column),
        }
    }
}

/// Computes `R` rows times `C` columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn tile<const R: usize, const C: usize>(part: &Part<'_, bf16, bf16>, row: usize, column: usize) {
    let (width, stride) = (part.width, part.x_stride);
    let x = &part.x[row * stride..][..(R - 1) * stride + width];
    let w = &part.weight[column * width..][..C * width];
    let whole = width - width % LANES;
    // What the first rows asked for is in a cache when the next ones come.
    let distance = match (row, C) {
        (0, 1) => AHEAD,
        (0, _) => AHEAD_OF_SEVERAL,
        _ => 0,
    };
    let cut = if C == 1 { whole } else { whole.saturating_sub(distance) };
    let (of_x, of_w) = (offsets::<R>(stride), offsets::<C>(width));
    let mut sums = [[_mm512_setzero_ps(); C]; R];
    // What comes after the last row's end is the next tile's first row.
    for (range, ahead) in [(0..cut, distance), (cut..whole, distance + (C - 1) * width)] {
        let (mut x, mut w) = (x[range.start..].as_ptr(), w[range.start..].as_ptr());
        for _ in range.step_by(LANES) {
            // SAFETY: a vector of each row is left of what `x` and `w` hold.
            unsafe { add_products(&mut sums, (x, &of_x), (w, &of_w), (u32::MAX, ahead)) }
            (x, w) = (x.wrapping_add(LANES), w.wrapping_add(LANES));
        }
    }
    if whole < width {
        let mask = (1 << (width - whole)) - 1;
        let (x, w) = (x[whole..].as_ptr(), w[whole..].as_ptr());
        // SAFETY: the mask has a bit for each element that is left of each row.
        unsafe { add_products(&mut sums, (x, &of_x), (w, &of_w), (mask, 0)) }
    }
    for (r, sums) in sums.iter().enumerate() {
        for (c, sum) in sums.iter().enumerate() {
            part.set(row + r, column + c, _mm512_reduce_add_ps(*sum));
        }
    }
}

/// Returns how many bytes after the first row each of `R` rows is.
///
/// There are not registers for eight rows and all the rest. An address may be a register and another
/// times one, two, four or eight, so that four are enough besides the first row's; the compiler is
/// not to know what they have to do with each other.
#[inline(always)]
fn offsets<const R: usize>(stride: usize) -> [usize; R] {
    let row = size_of::<bf16>() * stride;
    let [one, three, five, seven] = black_box([row, 3 * row, 5 * row, 7 * row]);
    let all = [0, one, 2 * one, three, 4 * one, five, 2 * three, seven];
    std::array::from_fn(|r| all[r])
}

/// Adds the products of a vector of each row, of the elements that `mask` has bits for, and asks for
/// weights so many elements ahead.
///
/// # Safety
/// The rows at `of_x` bytes from `x` and those at `of_w` bytes from `w` have such elements. The
/// processor must have the instructions.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn add_products<const R: usize, const C: usize>(
    sums: &mut [[__m512; C]; R],
    (x, of_x): (*const bf16, &[usize; R]),
    (w, of_w): (*const bf16, &[usize; C]),
    (mask, ahead): (u32, usize),
) {
    let next = w.wrapping_add(ahead);
    let mut weights = [_mm512_setzero_si512(); C];
    for c in 0..C {
        prefetch_at(next.wrapping_byte_add(of_w[c]));
        // SAFETY: the caller vouches for it.
        weights[c] = unsafe { load(w.wrapping_byte_add(of_w[c]), mask) };
    }
    for r in 0..R {
        // SAFETY: as above.
        let x = unsafe { load(x.wrapping_byte_add(of_x[r]), mask) };
        for c in 0..C {
            // SAFETY: both types are 512 plain bits.
            let (x, w) = unsafe {
                (transmute::<__m512i, __m512bh>(x), transmute::<__m512i, __m512bh>(weights[c]))
            };
            sums[r][c] = _mm512_dpbf16_ps(sums[r][c], x, w);
        }
    }
}

/// Reads the elements that `mask` has bits for, zeros for the others.
///
/// # Safety
/// There are such elements; a masked load does not touch the others. The processor must have the
/// instructions.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn load(from: *const bf16, mask: u32) -> __m512i {
    // SAFETY: the caller vouches for it.
    unsafe { _mm512_maskz_loadu_epi16(mask, from.cast()) }
}
