//! The engine on the tiny golden models.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests do")]

mod batch;
mod beam;
mod cache;
mod errors;
mod generate;
mod golden;
mod longrope;
mod scheduler;
