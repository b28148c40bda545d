//! Rounding to bf16.

use half::bf16;

use crate::Rows;
use crate::memory::unwritten_bf16;
use crate::parallel::{chunks, chunks_mut, for_each};
use crate::simd::{Kernel, Simd, dispatch};

/// Elements of a task.
const TASK: usize = 1 << 14;

/// Rounds to the nearest bf16, ties to even; what is not a number stays so.
pub fn round_to_bf16(x: &[f32]) -> Vec<bf16> {
    let mut rounded = unwritten_bf16(x.len());
    for_each((chunks(x, TASK), chunks_mut(&mut rounded, TASK)), 1, |_, (x, to)| {
        dispatch(Round { x, to });
    });
    rounded
}

/// Likewise of rows of so many numbers, which are written one after the other.
///
/// # Panics
/// If the lengths do not fit.
pub fn round_rows_to_bf16(x: Rows<'_>, width: usize, out: &mut [bf16]) {
    assert!(out.len().is_multiple_of(width), "{} numbers in rows of {width}", out.len());
    for_each(chunks_mut(out, width), TASK / width + 1, |row, to| {
        dispatch(Round { x: x.row(row, width), to });
    });
}

/// Rounds rows so that each starts a line of the cache; returns them in `room`, and the distance from
/// one to the next.
#[cfg(target_arch = "x86_64")]
pub(super) fn rows_of_lines<'a>(
    x: &[f32],
    width: usize,
    room: &'a mut Vec<bf16>,
) -> (&'a [bf16], usize) {
    const LINE: usize = 64 / size_of::<bf16>();
    // An odd number of lines: rows of a round width would all have the same places of the cache.
    let stride = (width.div_ceil(LINE) | 1) * LINE;
    let len = x.len() / width * stride;
    room.resize(len + LINE, bf16::ZERO);
    let start = room.as_ptr().align_offset(LINE * size_of::<bf16>()).min(LINE);
    let rows = &mut room[start..start + len];
    let pieces = (chunks(x, width), chunks_mut(rows, stride));
    for_each(pieces, TASK / width + 1, |_, (x, to)| {
        dispatch(Round { x, to: &mut to[..x.len()] });
    });
    (rows, stride)
}

struct Round<'a> {
    x: &'a [f32],
    to: &'a mut [bf16],
}

impl Kernel for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        // Without a branch, so that the compiler makes vectors of it.
        for (x, to) in self.x.iter().zip(self.to) {
            let bits = x.to_bits();
            let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
            let quiet = bits >> 16 | 0x40;
            *to = bf16::from_bits(if x.is_nan() { quiet } else { rounded } as u16);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Level;
    use crate::simd::dispatch_at;

    #[test]
    fn rows_that_lie_apart_are_rounded_as_others_are() {
        let x: Vec<f32> = (0..5 * 37).map(|i| (i as f32 * 0.37).sin()).collect();
        let mut found = vec![bf16::NAN; 5 * 19];
        round_rows_to_bf16(Rows { data: &x[11..], stride: 37 }, 19, &mut found);
        let rows = x.chunks(37).flat_map(|row| &row[11..30]);
        assert!(found.iter().eq(&round_to_bf16(&rows.copied().collect::<Vec<_>>())));
    }

    #[test]
    fn every_kind_of_number_is_rounded_as_the_definition_says() {
        // All high halves, with low halves around the ties.
        let lows = [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff];
        let bits = (0..=u32::from(u16::MAX)).flat_map(|high| lows.map(|low| high << 16 | low));
        let x: Vec<f32> = bits.map(f32::from_bits).collect();
        let expected: Vec<u16> = x.iter().map(|x| bf16::from_f32(*x).to_bits()).collect();
        for level in Level::available() {
            let mut found = vec![bf16::ZERO; x.len()];
            dispatch_at(level, Round { x: &x, to: &mut found });
            assert!(found.iter().map(|x| x.to_bits()).eq(expected.iter().copied()), "{level:?}");
        }
    }
}
