//! `PyTorch` checkpoints.
use std::path::Path;

use crate::safetensors::Contents;
use crate::{Bytes, Error};

#[derive(Clone, Copy)]
pub(crate) enum Format {
    Zip,
    Legacy,
}

pub(crate) fn sniff(bytes: &Bytes) -> Option<Format> {
    if bytes.starts_with(b"PK\x03\x04") {
        Some(Format::Zip)
    } else if bytes.starts_with(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19") {
        Some(Format::Legacy)
    } else {
        None
    }
}

pub(crate) fn read(path: &Path, _bytes: &Bytes, _format: Format) -> Result<Contents, Error> {
    Err(Error::Unsupported { path: path.to_owned(), format: "a PyTorch checkpoint" })
}
