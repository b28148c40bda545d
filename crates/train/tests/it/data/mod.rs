//! From files to samples.

mod augment;
mod encode;
mod support;
