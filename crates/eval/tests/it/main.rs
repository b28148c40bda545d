//! Tests of crate `eval`.

mod self_test;
