//! The engine on the tiny golden models.

mod batch;
mod beam;
mod cache;
mod errors;
mod generate;
mod golden;
mod longrope;
