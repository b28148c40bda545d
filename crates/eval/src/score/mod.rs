//! From answers to the numbers of a benchmark.

pub mod rating;
