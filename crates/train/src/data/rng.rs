//! Random choices that depend on nothing but a seed and a place.

use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Chooses at random for one sample, or for one other thing that has a number.
///
/// Equal seeds and indices give equal choices on any machine, whatever other samples do, so threads
/// need no order.
#[derive(Clone, Debug)]
pub struct SampleRng {
    inner: ChaCha8Rng,
}

impl SampleRng {
    /// Returns the choices of sample `index` in the run of `seed`.
    pub fn new(seed: u64, index: u64) -> Self {
        let mut inner = ChaCha8Rng::seed_from_u64(seed);
        inner.set_stream(index);
        Self { inner }
    }

    /// Returns a number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        self.inner.random()
    }

    /// Returns a number in `[low, high)`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Returns whether something of this probability happens.
    pub fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Returns a number below `limit`; zero if that is zero.
    pub fn below(&mut self, limit: usize) -> usize {
        // A range of u64 is drawn alike on machines of any word size.
        self.inner.random_range(0..limit.max(1) as u64) as usize
    }

    /// Puts the items in a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

impl RngCore for SampleRng {
    fn next_u32(&mut self) -> u32 {
        self.inner.next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.inner.next_u64()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.inner.fill_bytes(bytes);
    }
}

/// Makes one seed of two numbers.
pub(super) fn mix(seed: u64, number: u64) -> u64 {
    SampleRng::new(seed, number).next_u64()
}
