//! Recipes, the loop and what it leaves on the disk.

mod failures;
mod optimizer;
mod recipes;
mod resume;
mod support;
