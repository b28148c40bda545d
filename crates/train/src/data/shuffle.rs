//! A buffer that shuffles a stream.

use super::SampleRng;

/// What a buffer holds before the first thing leaves it, and at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShuffleConfig {
    /// The most things in the buffer; 1 keeps the order.
    pub size: usize,
    /// How many there are before the first leaves.
    pub initial: usize,
}

impl Default for ShuffleConfig {
    fn default() -> Self {
        Self { size: 1000, initial: 500 }
    }
}

/// Things of a stream in a random order: a random one of the buffer leaves, and the buffer is
/// filled up, by two for each that leaves until it is full.
///
/// The choices depend on the seed, the epoch and how many things have left before.
#[derive(Debug)]
pub(super) struct ShuffleBuffer<T> {
    config: ShuffleConfig,
    items: Vec<T>,
    seed: u64,
    /// How many things have left in this epoch.
    num_drawn: u64,
}

impl<T> ShuffleBuffer<T> {
    /// Returns an empty buffer for the epoch whose seed this is.
    pub(super) fn new(config: ShuffleConfig, seed: u64) -> Self {
        Self { config, items: Vec::new(), seed, num_drawn: 0 }
    }

    /// Returns whether another thing should come before the next one leaves.
    pub(super) fn wants(&self, num_new: usize) -> bool {
        let size = self.config.size.max(1);
        if self.num_drawn == 0 {
            self.items.len() < self.config.initial.clamp(1, size)
        } else {
            self.items.is_empty() || (num_new < 2 && self.items.len() < size)
        }
    }

    pub(super) fn push(&mut self, item: T) {
        self.items.push(item);
    }

    /// Takes a random thing.
    pub(super) fn draw(&mut self) -> Option<T> {
        if self.items.is_empty() {
            return None;
        }
        let at = SampleRng::new(self.seed, self.num_drawn).below(self.items.len());
        self.num_drawn += 1;
        Some(self.items.swap_remove(at))
    }

    pub(super) fn items(&self) -> &[T] {
        &self.items
    }

    pub(super) fn num_drawn(&self) -> u64 {
        self.num_drawn
    }

    /// Puts a buffer back as it was.
    pub(super) fn restore(&mut self, items: Vec<T>, num_drawn: u64) {
        (self.items, self.num_drawn) = (items, num_drawn);
    }
}
