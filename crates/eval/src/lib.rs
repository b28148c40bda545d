//! The benchmarks: their files, their questions, what answers mean, and what they are worth.
//!
//! [`Dataset`] reads a benchmark's file, [`rules`] says what an answer means, [`score`] makes the
//! numbers of it as `VLMEvalKit` and the authors of the benchmarks do.
//!
//! Invariant: a number depends on the stored answers, the rule set and the judge's stored replies,
//! and on nothing else.
//!
//! ```
//! use eval::rules::{Options, RuleSet, infer};
//!
//! let options = Options::new([("A", "cat"), ("B", "dog")]);
//! assert_eq!(infer(RuleSet::March2025, "It is a dog.", &options), Some("B"));
//! assert_eq!(infer(RuleSet::March2025, "a cat or a dog", &options), None);
//! ```
#![forbid(unsafe_code)]

mod benchmark;
mod data;
pub mod endpoint;
mod error;
pub mod judge;
mod message;
pub mod report;
pub mod rules;
pub mod run;
pub mod score;
mod self_test;

pub use self::benchmark::{
    CV_BENCH, CV_BENCH_URL, Family, PAPER, PUBLISHED, PaperScore, Published,
};
pub use self::data::{
    Dataset, Found, ImageRef, MissingValues, Place, Question, Row, catalog, find,
};
pub use self::error::Error;
pub use self::message::{Form, ImageUse, MessageOptions, Part, form, message, spell};
pub use self::self_test::{Mismatch, SelfTest, self_test};
