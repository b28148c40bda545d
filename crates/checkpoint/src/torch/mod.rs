//! `PyTorch` checkpoints: a pickle that describes tensors, and storages that hold their numbers.
//!
//! Two containers exist: a zip archive of stored, aligned entries, and before `PyTorch` 1.6 a row
//! of pickles followed by the storages. In both the numbers are used where they lie in the file.

mod legacy;
mod state;
mod view;
mod zip;

use std::path::Path;

use crate::pickle::Problem;
use crate::safetensors::Contents;
use crate::{Bytes, Error};

/// How a file holds its pickle.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Format {
    Zip,
    Legacy,
}

/// Tells the container by the first bytes.
pub(crate) fn sniff(bytes: &[u8]) -> Option<Format> {
    match bytes {
        [b'P', b'K', 3 | 5, 4 | 6, ..] => Some(Format::Zip),
        [0x80, 2..=5, ..] => Some(Format::Legacy),
        _ => None,
    }
}

pub(crate) fn read(path: &Path, bytes: &Bytes, format: Format) -> Result<Contents, Error> {
    let contents = match format {
        Format::Zip => zip::read(bytes),
        Format::Legacy => legacy::read(bytes),
    };
    contents.map_err(|problem| match problem {
        Problem::Malformed(reason) => Error::Torch { path: path.to_owned(), reason },
        Problem::Malicious(global) => Error::Malicious { path: path.to_owned(), global },
    })
}
