//! What the machine gives at most, to be set beside what kernels achieve.

use std::hint::black_box;
use std::time::Instant;

use crate::parallel::{chunks, for_each, num_threads};
use crate::simd::{Kernel, Simd, dispatch};

/// Numbers that are read: 512 MB, more than any cache holds.
const NUMBERS: usize = 1 << 27;
/// Numbers of a piece.
const PIECE: usize = 1 << 20;
/// Multiply-adds of each of the independent sums of a thread.
const ROUNDS: usize = 1 << 22;
/// Independent sums: more than a processor has under way at once.
const SUMS: usize = 12;
/// How often each is measured; the best counts, which is what the machine can do.
const REPEATS: usize = 5;

/// Returns the bytes that all threads together read from memory in a second, in the vectors of the
/// level in use.
pub fn read_bytes_per_second() -> f64 {
    let numbers = vec![1.0_f32; NUMBERS];
    let seconds = best(|| {
        for_each(chunks(&numbers, PIECE), 1, |_, piece| {
            black_box(dispatch(Read { numbers: piece }));
        });
    });
    (NUMBERS * size_of::<f32>()) as f64 / seconds
}

/// Returns the f32 operations that all threads together do in a second, a multiply-add being two,
/// in the vectors of the level in use and without a memory to wait for.
pub fn operations_per_second() -> f64 {
    let threads = vec![0.0_f32; num_threads()];
    let seconds = best(|| {
        for_each(chunks(&threads, 1), 1, |_, start| {
            black_box(dispatch(MultiplyAdd { start: start[0] }));
        });
    });
    // All vectors of a level have as many lanes.
    let lanes = dispatch(Lanes);
    (2 * ROUNDS * SUMS * lanes * threads.len()) as f64 / seconds
}

fn best(mut work: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..REPEATS {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

/// Adds numbers up.
struct Read<'a> {
    numbers: &'a [f32],
}

impl Kernel for Read<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let mut sums = [simd.splat(0.0); 8];
        for numbers in self.numbers.chunks_exact(8 * S::LANES) {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = simd.add(*sum, simd.load(&numbers[i * S::LANES..]));
            }
        }
        sums.into_iter().map(|sum| simd.sum(sum)).sum()
    }
}

/// Multiplies and adds in registers.
struct MultiplyAdd {
    start: f32,
}

impl Kernel for MultiplyAdd {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let mut sums = [simd.splat(self.start); SUMS];
        let (factor, term) = (simd.splat(0.5), simd.splat(1.0));
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = simd.mul_add(*sum, factor, term);
            }
        }
        sums.into_iter().map(|sum| simd.sum(sum)).sum()
    }
}

/// Returns the lanes of a vector.
struct Lanes;

impl Kernel for Lanes {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        S::LANES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Level;
    use crate::simd::dispatch_at;

    #[test]
    fn every_number_is_read_and_every_multiply_add_done_at_every_level() {
        for level in Level::available() {
            let numbers: Vec<f32> = (0..4096).map(|i| (i % 7) as f32).collect();
            let found = dispatch_at(level, Read { numbers: &numbers });
            let expected: f32 = numbers.iter().sum();
            assert!((found - expected).abs() < 1e-2, "{level:?}: {found}, expected {expected}");
            // `x / 2 + 1` goes to 2.
            let found = dispatch_at(level, MultiplyAdd { start: 100.0 });
            let expected = (2 * SUMS * dispatch_at(level, Lanes)) as f32;
            assert!((found - expected).abs() < 1e-2, "{level:?}: {found}, expected {expected}");
        }
    }
}
