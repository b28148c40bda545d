//! From files to samples.

mod augment;
mod broken;
mod captions;
mod encode;
mod instruct;
mod loader;
mod mixture;
mod originals;
mod own;
mod regions;
mod remote;
pub(crate) mod support;
mod webdataset;
