//! Checkpoint files: tensors by name, lazily, without a tensor framework.
//!
//! [`Checkpoint::open`] reads headers only; [`Checkpoint::tensor`] returns a view whose bytes lie
//! in the memory-mapped file. Nothing here knows what a tensor means.

mod bytes;
mod dtype;
mod error;
mod safetensors;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use bytes::Bytes;
pub use dtype::Dtype;
pub use error::Error;

/// One tensor: its type, its shape and its bytes, little-endian and row-major.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// The type of the elements.
    pub dtype: Dtype,
    /// The shape, outermost dimension first; empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements, in the mapped file wherever the format allows it.
    pub bytes: Bytes,
}

/// An open checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    tensors: BTreeMap<String, Tensor>,
}

impl Checkpoint {
    /// Opens a safetensors file, a `.pt` file, or a directory that holds one or an index of shards.
    ///
    /// # Errors
    /// If there is no such file, or its header is not that of a checkpoint.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let file = if path.is_dir() { path.join("model.safetensors") } else { path.to_owned() };
        Ok(Self { path: path.to_owned(), tensors: safetensors::open(&file)? })
    }

    /// Returns the path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the names of the tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Returns the tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }
}
