//! Tests of the world through its public interface.

mod files;
mod scenes;
