//! What can be wrong with a checkpoint.

use std::path::{Path, PathBuf};

use crate::Dtype;

/// What can be wrong with a checkpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such file or directory.
    #[error("there is no file or directory `{}`", path.display())]
    Missing {
        /// What was asked for.
        path: PathBuf,
    },
    /// A file could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file has no bytes.
    #[error("`{}` is empty, expected a checkpoint", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A directory holds no checkpoint.
    #[error(
        "no checkpoint in `{}`: looked for `model.safetensors`, `model.safetensors.index.json` and `model.gguf`, found {}",
        path.display(),
        listed(found)
    )]
    NoCheckpoint {
        /// The directory.
        path: PathBuf,
        /// The files in it that look like parts of a model, sorted.
        found: Vec<String>,
    },
    /// A file is of a format that is recognised but not read.
    #[error("`{}` is {format}, expected safetensors, GGUF or a PyTorch zip checkpoint", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it is.
        format: &'static str,
    },
    /// A safetensors header is malformed.
    #[error("`{}` is not a valid safetensors file: {reason}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A GGUF file is malformed.
    #[error("`{}` is not a readable GGUF file: {reason}", path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file to be written cannot hold a tensor.
    #[error(
        "tensor `{name}` has dtype {dtype} and shape {shape:?}, which {format} files cannot hold"
    )]
    NotInFormat {
        /// The tensor.
        name: String,
        /// Its type.
        dtype: Dtype,
        /// Its shape.
        shape: Vec<usize>,
        /// The format.
        format: &'static str,
    },
    /// An index of shards is malformed.
    #[error("`{}` is not a valid index of shards: {reason}", path.display())]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A shard that the index names does not exist.
    #[error("shard `{shard}` is missing, although `{}` names it", index.display())]
    MissingShard {
        /// The index.
        index: PathBuf,
        /// The shard's file name.
        shard: String,
    },
    /// A tensor is not in the shard that the index names.
    #[error("tensor `{name}` is not in shard `{shard}`, although `{}` says so", index.display())]
    NotInShard {
        /// The index.
        index: PathBuf,
        /// The shard's file name.
        shard: String,
        /// The tensor.
        name: String,
    },
    /// A `PyTorch` checkpoint is malformed.
    #[error("`{}` is not a readable PyTorch checkpoint: {reason}", path.display())]
    Torch {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A `PyTorch` checkpoint asks for something that could run code.
    #[error(
        "`{}`: pickle asks for `{global}`, which could run code; this file is not a plain checkpoint and was not read further",
        path.display()
    )]
    Malicious {
        /// The file.
        path: PathBuf,
        /// The global that the pickle names.
        global: String,
    },
    /// A tensor's elements cannot be converted.
    #[error("cannot convert {from} to {to}, only F64, F32, F16 and BF16 convert")]
    Conversion {
        /// The type of the elements.
        from: Dtype,
        /// The type asked for.
        to: Dtype,
    },
    /// Two tensors to be written have the same name.
    #[error("tensor `{name}` is given twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A tensor to be written has too large a shape.
    #[error("tensor `{name}` has shape {shape:?}, whose size in bytes overflows")]
    Overflow {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A tensor to be written came with too many or too few bytes.
    #[error("tensor `{name}` has {expected} bytes by its type and shape, but was given {found}")]
    Length {
        /// The tensor.
        name: String,
        /// The bytes by type and shape.
        expected: usize,
        /// The bytes that came, or would have come.
        found: usize,
    },
    /// A file could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The disk is full.
    #[error("no space left on the disk for `{}`, which needs {needed} bytes", path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// Its complete size.
        needed: u64,
    },
}

impl Error {
    pub(crate) fn read(path: &Path, source: std::io::Error) -> Self {
        if source.kind() == std::io::ErrorKind::NotFound {
            Self::Missing { path: path.to_owned() }
        } else {
            Self::Read { path: path.to_owned(), source }
        }
    }

    pub(crate) fn write(path: &Path, needed: u64, source: std::io::Error) -> Self {
        use std::io::ErrorKind;
        let path = path.to_owned();
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::DiskFull { path, needed },
            _ => Self::Write { path, source },
        }
    }
}

fn listed(found: &[String]) -> String {
    if found.is_empty() {
        return "no file of a model".to_owned();
    }
    found.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_with_the_size_that_is_needed() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = Error::write(Path::new("out/model.safetensors"), 1234, full);
        assert_eq!(
            error.to_string(),
            "no space left on the disk for `out/model.safetensors`, which needs 1234 bytes"
        );
    }
}
