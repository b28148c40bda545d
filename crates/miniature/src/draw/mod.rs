//! Drawing: polygons with smooth edges on a canvas, letters made of strokes.
//!
//! Only additions, products, quotients and square roots decide a pixel, which are the same on every
//! machine; sines come from `libm`.

mod canvas;
mod font;
mod path;
mod shape;

pub(crate) use canvas::{Canvas, Rgb, mix};
pub use font::Font;
pub(crate) use font::{letter_edges, write, written_width};
pub(crate) use path::{Path, Point, circle, polygon, rectangle, rounded, stroke, turn};
pub(crate) use shape::{Part, edges, parts};
