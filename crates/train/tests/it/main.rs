//! Tests of the crate from the outside.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing")]

mod data;
mod trainer;
