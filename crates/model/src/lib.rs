//! The AKI model: vision encoder, connector and decoder, and how they are put together.
//!
//! The model sees tensors, token ids and attention plans; never a file, a tokenizer or a socket.
//! Training and inference use the same code.
#![forbid(unsafe_code)]

mod aki;
mod cache;
mod config;
mod connector;
mod decoder;
mod error;
mod linear;
pub mod loss;
mod norm;
pub mod ops;
mod rope;
mod siglip;
mod tap;
mod vocabulary;
mod weights;

pub use candle_core::{DType, Device, Tensor};

pub use crate::aki::{Aki, LoadOptions};
pub use crate::cache::KvCache;
pub use crate::config::{AkiConfig, DecoderConfig, SiglipConfig};
pub use crate::connector::ConnectorConfig;
pub use crate::decoder::{Family, Sequence};
pub use crate::error::Error;
pub use crate::rope::{RopeConfig, RopeRegime, RopeScaling};
pub use crate::tap::{NoTap, Tap};
