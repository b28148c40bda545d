//! Integration tests.

mod cache;
mod config;
mod dtype;
mod golden;
mod load;
mod loss;
mod shapes;
mod support;
