//! Integration tests.

mod golden;
mod loss;
mod shapes;
mod support;
