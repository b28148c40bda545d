//! Streams of random numbers: every scene has its own, so that none depends on another.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What decides everything about one scene, or about one piece of text made from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// The seed of the world.
    pub(crate) seed: u64,
    /// The pool of pictures, or the file that is made.
    pub(crate) place: u64,
    /// The number of the scene in it.
    pub(crate) index: u64,
    /// The number of the try.
    pub(crate) attempt: u64,
}

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Stream(ChaCha8Rng);

impl Stream {
    /// Opens the stream of a key.
    pub(crate) fn new(key: Key) -> Self {
        let mut bytes = [0; 32];
        for (chunk, value) in
            bytes.chunks_exact_mut(8).zip([key.seed, key.place, key.index, key.attempt])
        {
            chunk.copy_from_slice(&value.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(bytes))
    }

    /// Returns a number below a limit.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        ((u64::from(self.0.next_u32()) * limit as u64) >> 32) as usize
    }

    /// Returns true in so many of a hundred cases.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// Returns a number from a range.
    pub(crate) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.0.next_u32() >> 8) as f32 / 16_777_216.0)
    }

    /// Returns one of some things.
    pub(crate) fn pick<T: Clone>(&mut self, things: &[T]) -> T {
        things[self.below(things.len())].clone()
    }

    /// Puts things into a random order.
    pub(crate) fn shuffle<T>(&mut self, things: &mut [T]) {
        for end in (1..things.len()).rev() {
            things.swap(end, self.below(end + 1));
        }
    }
}
