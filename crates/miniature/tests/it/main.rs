//! Tests of the world through its public interface.

mod files;
mod oracle;
mod rockets;
mod scenes;
mod truth;
