//! What several processes that train together need of each other.

use crate::Error;

/// A group of processes that each see a part of every batch.
///
/// All of them call the same operations in the same order.
pub trait Collective: Send {
    /// Returns which of the processes this one is.
    fn rank(&self) -> usize;

    /// Returns how many processes there are.
    fn world(&self) -> usize;

    /// Replaces the values by their sums over all processes.
    ///
    /// # Errors
    /// If a process is gone.
    fn all_reduce_sum(&mut self, values: &mut [f32]) -> Result<(), Error>;

    /// Replaces the bytes by those of process `root`.
    ///
    /// # Errors
    /// If a process is gone.
    fn broadcast(&mut self, bytes: &mut [u8], root: usize) -> Result<(), Error>;

    /// Waits until every process is here.
    ///
    /// # Errors
    /// If a process is gone.
    fn barrier(&mut self) -> Result<(), Error>;
}

/// One process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Collective for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn world(&self) -> usize {
        1
    }

    fn all_reduce_sum(&mut self, _: &mut [f32]) -> Result<(), Error> {
        Ok(())
    }

    fn broadcast(&mut self, _: &mut [u8], _: usize) -> Result<(), Error> {
        Ok(())
    }

    fn barrier(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
