//! Tests of the world through its public interface.

mod counting;
mod files;
mod oracle;
mod rockets;
mod scenes;
mod truth;
