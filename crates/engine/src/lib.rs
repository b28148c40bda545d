//! From a prompt of token ids to the tokens of the reply.
//!
//! A [`Session`] holds one conversation and its key/value cache; a [`Batch`] runs several requests
//! at once, each with the tokens it would have alone; [`Session::beam_search`] looks for the most
//! likely reply. Nothing here knows text, files or sockets.
//!
//! Invariant: whatever is cached, a reply is the one that a fresh prefill of its sequence gives.
//!
//! ```
//! use std::ops::ControlFlow;
//!
//! use checkpoint::Checkpoint;
//! use engine::{Prompt, Request, Session};
//! use model::{Aki, AkiConfig, LoadOptions};
//! use sequence::{AttentionPolicy, Layout, Role, TokenId};
//!
//! let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../goldens/base/model");
//! let config = AkiConfig::from_json(&std::fs::read_to_string(format!("{folder}/config.json"))?)?;
//! let aki = Aki::load(config, &Checkpoint::open(folder)?, LoadOptions::default())?;
//!
//! let prompt = Prompt {
//!     ids: [1, 499, 300, 490].map(TokenId).to_vec(),
//!     layout: Layout::new().text(Role::User, 3).reply_mark(),
//!     features: Vec::new(),
//!     policy: AttentionPolicy::ModalityMutual,
//! };
//! let mut session = Session::new(&aki)?;
//! let mut streamed = Vec::new();
//! let reply = session.generate(&Request::new(prompt, 5), |id| {
//!     streamed.push(id);
//!     ControlFlow::Continue(())
//! })?;
//! assert_eq!(reply.new_ids, streamed);
//! assert_eq!(reply.timings.new_tokens, 5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod batch;
mod beam;
mod constraint;
mod context;
mod error;
mod features;
mod lens;
mod reply;
mod request;
mod sampler;
mod sampling;
mod scheduler;
mod session;

pub use batch::{Batch, BatchLimits, Event, RequestId};
pub use beam::{BeamOptions, BeamReply, BeamRequest, EarlyStopping, Hypothesis};
pub use constraint::Constraint;
pub use error::Error;
pub use lens::{ImageLens, Lens, Word};
pub use request::{CancelToken, FinishReason, Generated, Prompt, Request, Timings, TokenLogprobs};
pub use sampling::{Sampling, SamplingOptions};
pub use scheduler::{Counts, Image, Job, Progress, Scheduler, SchedulerOptions, Watch};
pub use session::{Prefilled, Session, generate};
