//! Asking a model every question, so that a run that was stopped goes on where it was.

mod ask;
mod endpoint;
mod jpeg;
mod store;

pub use self::ask::{
    Answerer, Asked, Images, Job, Observer, OnReply, Reply, Selection, Shard, ask, num_selected,
};
pub use self::endpoint::EndpointAnswerer;
pub use self::jpeg::thumbnail;
pub(crate) use self::store::folders;
pub use self::store::{Merged, Prediction, RunSettings, Seconds, Store, merge};
