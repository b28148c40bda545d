//! The service over loopback.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests do")]

mod access;
mod answers;
mod forms;
mod harness;
mod lens;
mod limits;
mod load;
mod refusals;
mod support;
