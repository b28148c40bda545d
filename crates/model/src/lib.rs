//! The AKI model: vision encoder, connector and decoder, and how they are put together.
//!
//! The model sees tensors, token ids and attention plans; never a file, a tokenizer or a socket.
//! Training and inference use the same code.
//!
//! ```
//! use checkpoint::Checkpoint;
//! use model::{Aki, AkiConfig, LoadOptions, NoTap, Sequence, Tensor};
//! use sequence::{AttentionPolicy, Layout, Role, TokenId};
//!
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../goldens/base/model");
//! let config = AkiConfig::from_json(&std::fs::read_to_string(format!("{folder}/config.json"))?)?;
//! let aki = Aki::load(config, &Checkpoint::open(folder)?, LoadOptions::default())?;
//!
//! // An image, a question of two tokens, and the mark that opens the reply.
//! let pixels = Tensor::zeros((1, 3, 56, 56), model::DType::F32, aki.device())?;
//! let image = aki.see(&pixels, &mut NoTap)?.get(0)?;
//! let layout = Layout::new().image(8).text(Role::User, 2).reply_mark();
//! let embeddings = aki.embed(&[501, 20, 21, 490].map(TokenId), &layout, &[image])?;
//!
//! let plan = AttentionPolicy::ModalityMutual.plan(&layout);
//! let mut cache = aki.new_cache(layout.len() + 1)?;
//! let mut batch = [Sequence { plan: &plan, cache: Some(&mut cache) }];
//! let hidden = aki.forward(&embeddings, &mut batch, &mut NoTap)?;
//! let next = aki.logits(&hidden.narrow(0, layout.len() - 1, 1)?)?;
//! assert_eq!(next.dims(), [1, aki.vocab_size()]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod aki;
mod cache;
mod config;
mod connector;
mod decoder;
mod error;
mod footprint;
mod linear;
mod lora;
pub mod loss;
mod norm;
pub mod ops;
mod parameter;
pub mod quantization;
mod rope;
mod siglip;
mod tap;
mod tape;
pub mod training;
mod vocabulary;
mod weights;

pub use candle_core::{DType, Device, Tensor};

pub use crate::aki::{Aki, LoadOptions};
pub use crate::cache::{KvCache, KvType};
pub use crate::config::{AkiConfig, DecoderConfig, SiglipConfig};
pub use crate::connector::ConnectorConfig;
pub use crate::decoder::{Family, Sequence};
pub use crate::error::Error;
pub use crate::footprint::{Footprint, Matrices};
pub use crate::lora::Lora;
pub use crate::parameter::{Parameter, Parameters};
pub use crate::quantization::{Quantization, widened};
pub use crate::rope::{RopeConfig, RopeRegime, RopeScaling};
pub use crate::tap::{Attended, NoTap, Tap};
