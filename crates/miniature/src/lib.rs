//! A synthetic world: pictures with known answers, written as the files in which real data sets
//! are published.
//!
//! A scene is made from a seed alone, and everything said about it from the scene, so that the
//! same seed gives the same bytes on every machine, whatever the number of threads. Whether a scene
//! may be trained on or is kept for tests is decided by what it shows ([`Scene::split`]).
//!
//! ```
//! use miniature::{Scene, Split, View};
//!
//! let scene = Scene::make(View::Flat, Split::Training, 7, 0);
//! assert_eq!(scene, Scene::make(View::Flat, Split::Training, 7, 0));
//! assert_eq!(scene.draw(112).dimensions(), (112, 112));
//! assert!(scene.objects.len() > 1);
//! ```
#![forbid(unsafe_code)]

mod caption;
mod draw;
mod error;
mod language;
mod question;
mod quiz;
mod random;
mod refer;
mod render;
mod scene;
mod write;

pub use caption::caption;
pub use draw::Font;
pub use error::Error;
pub use quiz::{Quiz, QuizQuestion};
pub use scene::{
    Backdrop, Bounds, Chart, ChartKind, Color, Diagram, Entry, Extent, Kind, Object, Place, Scene,
    Split, Texture, View, Writing,
};
pub use write::{Observer, Size, Summary, WorldConfig, generate};
