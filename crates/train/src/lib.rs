//! Training: data, the step, the trainer.
#![forbid(unsafe_code)]

pub mod data;
pub mod features;
