//! Tests of the crate from the outside: every policy against a dense definition, over every small
//! layout.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod definition;
mod drawings;
mod layout;
mod leak;
mod positions;
mod reference;
mod rows;
mod support;
