//! Recipes, the loop and what it leaves on the disk.

mod aki;
mod failures;
mod optimizer;
mod parallel;
mod recipes;
mod resume;
mod support;
