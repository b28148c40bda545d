//! Tests of crate `eval`.

mod data;
mod endpoint;
mod report;
mod run;
mod score;
mod self_test;
