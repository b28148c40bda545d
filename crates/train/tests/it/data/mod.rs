//! From files to samples.

mod augment;
mod captions;
mod encode;
mod loader;
mod remote;
mod support;
mod webdataset;
