//! Tests of the crate from the outside, against vectors made by the reference's libraries.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing")]
#![allow(clippy::case_sensitive_file_extension_comparisons, reason = "the files are known")]
#![allow(clippy::cast_sign_loss, reason = "ids and differences are never negative")]

mod chat;
mod golden;
mod grammar;
mod image;
mod open;
mod sentence_piece;
mod stream;
mod support;
