//! Tests of the crate from the outside, against vectors made by the reference's libraries.

mod golden;
mod sentence_piece;
mod support;
