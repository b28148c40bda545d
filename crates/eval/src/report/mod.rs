//! What was found, for people and for programs.

mod table;

pub use self::table::Table;
