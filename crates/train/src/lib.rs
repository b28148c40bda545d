//! Training: data, the step, the trainer.
//!
//! A [`Recipe`](recipe::Recipe) says everything about a run; [`trainer::train`] does it, in a
//! directory that can be gone on from after any interruption. Nothing here prints: whoever trains
//! watches through an [`Observer`](trainer::Observer).
//!
//! Invariant: a run that was interrupted and resumed computes bit for bit what it would have
//! computed uninterrupted.
//!
//! ```
//! use train::schedule::{Decay, Schedule};
//!
//! let schedule =
//!     Schedule { decay: Decay::Cosine, lr: 1e-4, min_lr: 1e-5, warmup_steps: 10, steps: 100 };
//! assert!((schedule.lr_at(0) - 1e-5).abs() < 1e-12);
//! assert!((schedule.lr_at(10) - 1e-4).abs() < 1e-12);
//! ```
#![forbid(unsafe_code)]

pub mod data;
mod error;
pub mod features;
pub mod feed;
pub mod learner;
pub mod memory;
pub mod optimizer;
pub mod parallel;
mod pattern;
pub mod recipe;
pub mod run;
pub mod schedule;
pub mod step;
pub mod trainer;

pub use crate::error::Error;
pub use crate::learner::Learner;
