//! Tests of the world through its public interface.

mod files;
mod oracle;
mod scenes;
mod truth;
