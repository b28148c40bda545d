//! From a prompt of token ids to the tokens of the reply.
//!
//! A [`Session`] holds one conversation and its key/value cache; a [`Batch`] runs several requests
//! at once, each with the tokens it would have alone; [`Session::beam_search`] looks for the most
//! likely reply. Nothing here knows text, files or sockets.
//!
//! Invariant: whatever is cached, a reply is the one that a fresh prefill of its sequence gives.
#![forbid(unsafe_code)]

mod batch;
mod beam;
mod context;
mod error;
mod reply;
mod request;
mod sampler;
mod sampling;
mod session;

pub use batch::{Batch, Event, RequestId};
pub use beam::{BeamOptions, BeamReply, BeamRequest, EarlyStopping, Hypothesis};
pub use error::Error;
pub use request::{CancelToken, FinishReason, Generated, Prompt, Request, Timings, TokenLogprobs};
pub use sampling::{Sampling, SamplingOptions};
pub use session::{Prefilled, Session, generate};
