//! Tests of the crate from the outside, against vectors made by the reference's libraries.

mod chat;
mod golden;
mod image;
mod open;
mod sentence_piece;
mod stream;
mod support;
