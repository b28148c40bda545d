//! Training: the reference implementation's numbers, runs, and runs that are broken off.

mod faults;
mod golden;
mod mpi;
// Needs `image` and `tar`.
#[path = "../../../../train/tests/it/data/originals.rs"]
mod originals;
mod refusals;
mod runs;
mod support;
