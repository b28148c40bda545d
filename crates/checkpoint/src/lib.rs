//! Checkpoint files: tensors by name, lazily, without a tensor framework.
//!
//! [`Checkpoint::open`] reads headers only; [`Checkpoint::tensor`] returns a view whose bytes lie
//! in the memory-mapped file. [`ShardPlan`] and [`GgufPlan`] write, one tensor at a time; [`hub`] downloads.
//! Nothing here knows what a tensor means, and nothing in a file is ever executed.
//!
//! ```
//! use checkpoint::{Bytes, Checkpoint, Dtype, Tensor};
//!
//! let directory = tempfile::tempdir()?;
//! let file = directory.path().join("model.safetensors");
//! let ones = Bytes::from([1.0_f32.to_le_bytes(); 6].concat());
//! let tensor = Tensor { dtype: Dtype::F32, shape: vec![2, 3], bytes: ones };
//! checkpoint::save_file(&file, [("ones", &tensor.to_dtype(Dtype::Bf16)?)])?;
//!
//! let opened = Checkpoint::open(directory.path())?;
//! assert_eq!(opened.names().collect::<Vec<_>>(), ["ones"]);
//! let ones = opened.tensor("ones").expect("it was just written");
//! assert_eq!((ones.dtype, &*ones.shape), (Dtype::Bf16, &[2, 3][..]));
//! assert_eq!(ones.to_f32_vec()?, [1.0; 6]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bytes;
mod convert;
mod dtype;
mod error;
mod gguf;
pub mod hub;
mod pickle;
mod safetensors;
mod source;
mod torch;
mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub use bytes::Bytes;
pub use dtype::Dtype;
pub use error::Error;
pub use gguf::{GgufPlan, MetadataValue};
pub use writer::{ShardPlan, TensorSink, TensorSpec, save, save_file};

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

/// A tensor of a file, which may lie at an address that its elements cannot be read at.
#[derive(Debug)]
struct Slot {
    stored: Tensor,
    moved: OnceLock<Tensor>,
}

impl Slot {
    fn tensor(&self) -> &Tensor {
        let stored = &self.stored;
        if stored.bytes.is_aligned_to(stored.dtype.alignment()) {
            return stored;
        }
        self.moved.get_or_init(|| {
            let bytes = &stored.bytes;
            let bytes = Bytes::filled(bytes.len(), |buffer| buffer.copy_from_slice(bytes));
            Tensor { dtype: stored.dtype, shape: stored.shape.clone(), bytes }
        })
    }
}

/// An open checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    tensors: BTreeMap<String, Slot>,
    metadata: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens a safetensors file, a `.pt` file, a GGUF file, an index of shards, or a directory that
    /// holds `model.safetensors`, `model.safetensors.index.json` or `model.gguf`.
    ///
    /// The format is told by the content, not by the name.
    ///
    /// # Errors
    /// If there is no such file, or it is not a sound checkpoint.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        Ok(Self::new(path, source::open(path)?))
    }

    /// Opens the bytes of a single file that are embedded in the program.
    ///
    /// # Errors
    /// If they are not a sound checkpoint.
    pub fn from_bytes(bytes: &'static [u8]) -> Result<Self, Error> {
        let path = Path::new("<embedded>");
        if bytes.is_empty() {
            return Err(Error::Empty { path: path.to_owned() });
        }
        Ok(Self::new(path, source::read(path, &Bytes::from_static(bytes))?))
    }

    /// Returns a checkpoint of tensors that are not in a file.
    pub fn from_tensors(tensors: impl IntoIterator<Item = (String, Tensor)>) -> Self {
        let slot = |stored| Slot { stored, moved: OnceLock::new() };
        let tensors = tensors.into_iter().map(|(name, tensor)| (name, slot(tensor))).collect();
        Self { path: PathBuf::from("<memory>"), tensors, metadata: BTreeMap::new() }
    }

    fn new(path: &Path, contents: safetensors::Contents) -> Self {
        let (path, metadata) = (path.to_owned(), contents.metadata);
        Self { path, metadata, ..Self::from_tensors(contents.tensors) }
    }

    /// Returns these tensors, and those of `base` whose names are not among them.
    #[must_use]
    pub fn over(mut self, mut base: Self) -> Self {
        base.tensors.append(&mut self.tensors);
        base.metadata.append(&mut self.metadata);
        Self { path: self.path, ..base }
    }

    /// Returns the path that was opened, a name in angle brackets if there is none.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the names of the tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Returns the number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Returns whether there is no tensor.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Returns the free-form metadata of a safetensors header, merged over its shards, or that of a
    /// GGUF file without its arrays, numbers as text.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Returns the tensor of that name; its bytes are aligned for its elements.
    ///
    /// A tensor that lies misaligned in its file is copied on the first call.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name).map(Slot::tensor)
    }
}
