//! Integration tests.

mod batch;
mod cache;
mod config;
mod connector;
mod depth;
mod dtype;
mod family;
mod golden;
mod inputs;
mod load;
mod loss;
mod ops;
mod quantized;
mod shapes;
mod support;
mod synthetic;
mod training;
