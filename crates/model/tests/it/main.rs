//! Integration tests.
mod golden;
