//! From text and pictures to what the model reads: token ids, pixel values and a layout.
//!
//! A [`Tokenizer`] turns text into ids and back, a [`ChatTemplate`] arranges messages the way the
//! model was trained, a [`TextStream`] turns generated ids into text as they come, and a
//! [`Preprocessor`] turns an image file into pixel values. A [`Grammar`] says which tokens may come
//! next in a text of a given form. No tensor appears here.
//!
//! Invariant: text of a message can never act as a role, image or end token; only the template
//! places those.
//!
//! ```
//! use prompt::{Part, parse_question};
//!
//! let parts = parse_question("Compare <image> with <image>.", 2)?;
//! assert_eq!(parts.len(), 5);
//! assert_eq!(parts[1], Part::Image);
//!
//! let error = parse_question("<image> or <image>?", 1).unwrap_err();
//! assert_eq!(error.to_string(), "the question has 2 `<image>` but 1 image was given");
//! # Ok::<(), prompt::Error>(())
//! ```
#![forbid(unsafe_code)]

mod chat;
mod error;
mod grammar;
mod image;
mod layout;
mod special;
mod stop;
mod stream;
mod tokenizer;

pub use crate::chat::{ChatTemplate, Encoded, Message, Part, parse_question};
pub use crate::error::Error;
pub use crate::grammar::{Grammar, GrammarCompiler, TextForm};
pub use crate::image::{ImageLimits, Preprocessor, RgbImage, resize};
pub use crate::layout::layout_of;
pub use crate::special::SpecialTokens;
pub use crate::stop::StopStrings;
pub use crate::stream::TextStream;
pub use crate::tokenizer::Tokenizer;
