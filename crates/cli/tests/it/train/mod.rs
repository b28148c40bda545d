//! Training: the reference implementation's numbers, and runs that are broken off.

mod golden;
