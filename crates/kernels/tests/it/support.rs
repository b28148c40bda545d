//! Random inputs, and running at every level.

use std::sync::Mutex;

use kernels::{Level, set_level};

/// The level is a setting of the process, so tests that change it take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Runs `test` at every level that this processor has.
pub(crate) fn at_every_level(mut test: impl FnMut(Level)) {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for level in Level::available() {
        set_level(level).expect("the level is available");
        test(level);
    }
}

/// A small generator of numbers, the same on every machine.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let x = self.0 ^ (self.0 >> 33);
        x.wrapping_mul(0xff51_afd7_ed55_8ccd) >> 20
    }

    /// Returns a number from 0 to `end`, exclusive.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Returns numbers from -1 to 1.
    pub(crate) fn floats(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| (self.next() % 65536) as f32 / 32768.0 - 1.0).collect()
    }
}

/// Asserts that values differ by at most `bound` of the largest expected one.
pub(crate) fn assert_close(found: &[f32], expected: &[f64], bound: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1e-3, |largest: f64, v| largest.max(v.abs()));
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs() / largest;
        assert!(error <= bound, "{what}: {found} at {i}, expected {expected}");
    }
}

/// Runs `work` on so many threads.
pub(crate) fn on_threads<T>(threads: usize, work: impl FnOnce() -> T) -> T {
    kernels::parallel::with_num_threads(threads, work)
}
