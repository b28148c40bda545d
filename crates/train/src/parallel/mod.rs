//! Several processes that train together: what they need of each other, and who keeps what.
//!
//! Every process has the whole model and sees its share of every step's micro-batches. Parameters
//! are divided among the processes by a [`Plan`]: the owner of a parameter adds up the gradients
//! that all processes send it while their backward passes run, keeps its moments, changes it and
//! sends the new values to the others.
//!
//! Invariant: sums are made in the order of micro-batches, by the owner alone, so that processes
//! compute bit for bit what one process computes that accumulates all their micro-batches.

mod exchange;
mod group;
mod launch;
mod moments;
#[cfg(feature = "mpi")]
mod mpi;
mod plan;
mod words;

use bytes::Bytes;

use crate::Error;

pub(crate) use self::exchange::{Exchange, Sums, unpack};
pub use self::group::{Group, Member};
pub use self::launch::Launch;
pub(crate) use self::moments::Scattered;
#[cfg(feature = "mpi")]
pub use self::mpi::Mpi;
pub use self::plan::{Bucket, Plan};
pub(crate) use self::words::{Reader, Writer, read_values, write_values};

/// Tells the messages between two processes apart; those with the same tag arrive in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(pub u16);

impl Tag {
    /// What every process tells every other one.
    pub(crate) const GATHER: Self = Self(0);
    /// Moments on their way into a checkpoint.
    pub(crate) const MOMENTS: Self = Self(1);
    /// Asks for the next of them.
    pub(crate) const NEXT: Self = Self(2);
    /// New values of parameters.
    pub(crate) const VALUES: Self = Self(3);
    /// The gradients of the first bucket; those of the others follow.
    pub(crate) const GRADIENTS: Self = Self(16);
    /// The largest that every backend has.
    pub const MAX: Self = Self(32767);
}

/// A group of processes that each see a part of every step.
///
/// A backend carries messages; all else is made of them, in the same way for each.
pub trait Collective: Send {
    /// Returns which of the processes this one is.
    fn rank(&self) -> usize;

    /// Returns how many processes there are.
    fn world(&self) -> usize;

    /// Sends a message to another process, and returns at once: it travels while this process goes
    /// on.
    ///
    /// # Errors
    /// If the process is gone.
    fn send(&mut self, to: usize, tag: Tag, message: Bytes) -> Result<(), Error>;

    /// Returns the oldest message of a process with a tag that was not taken yet; waits for it.
    ///
    /// # Errors
    /// If the process is gone.
    fn receive(&mut self, from: usize, tag: Tag) -> Result<Bytes, Error>;

    /// Returns the message that [`Self::receive`] would return, if it is here already.
    ///
    /// # Errors
    /// If the process is gone.
    fn try_receive(&mut self, from: usize, tag: Tag) -> Result<Option<Bytes>, Error>;

    /// Tells every process what each of them says, in the order of ranks.
    ///
    /// # Errors
    /// If a process is gone.
    fn gather(&mut self, message: Bytes) -> Result<Vec<Bytes>, Error> {
        let (rank, world) = (self.rank(), self.world());
        for other in (0..world).filter(|other| *other != rank) {
            self.send(other, Tag::GATHER, message.clone())?;
        }
        let mut messages = Vec::with_capacity(world);
        for other in 0..world {
            let is_own = other == rank;
            messages.push(if is_own { message.clone() } else { self.receive(other, Tag::GATHER)? });
        }
        Ok(messages)
    }

    /// Waits until every process is here.
    ///
    /// # Errors
    /// If a process is gone.
    fn barrier(&mut self) -> Result<(), Error> {
        self.gather(Bytes::new()).map(drop)
    }
}

/// One process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Alone {
    fn nobody<T>(other: usize) -> Result<T, Error> {
        Err(Error::Collective { reason: format!("there is no process {other}, only process 0") })
    }
}

impl Collective for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn world(&self) -> usize {
        1
    }

    fn send(&mut self, to: usize, _: Tag, _: Bytes) -> Result<(), Error> {
        Self::nobody(to)
    }

    fn receive(&mut self, from: usize, _: Tag) -> Result<Bytes, Error> {
        Self::nobody(from)
    }

    fn try_receive(&mut self, from: usize, _: Tag) -> Result<Option<Bytes>, Error> {
        Self::nobody(from)
    }
}

/// Returns the sums over all processes of what each of them counted.
///
/// # Errors
/// If a process is gone.
pub fn sum(group: &mut dyn Collective, counts: &[u64]) -> Result<Vec<u64>, Error> {
    let mut writer = Writer::default();
    for count in counts {
        writer.put(*count);
    }
    let mut sums = vec![0_u64; counts.len()];
    for message in group.gather(writer.finish())? {
        let mut reader = Reader::new(&message);
        for sum in &mut sums {
            *sum = sum.saturating_add(reader.take()?);
        }
    }
    Ok(sums)
}

/// Returns that a process will not say anything any more.
fn gone(process: usize) -> Error {
    let reason = format!("process {process} has ended; what it wrote last says why");
    Error::Collective { reason }
}
