//! What can go wrong.

use std::io;
use std::path::PathBuf;

/// Why a world cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder cannot be written or read.
    #[error("cannot write `{}`", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The folder holds another world.
    #[error(
        "`{}` holds another world: expected {expected}, found {found}; take another folder or \
         remove this one",
        path.display()
    )]
    OtherWorld {
        /// The folder.
        path: PathBuf,
        /// What was to be written.
        expected: String,
        /// What it holds.
        found: String,
    },
    /// The size of the pictures is out of range.
    #[error("pictures of {found} pixels cannot be drawn, expected from 32 to 2048")]
    ImageSize {
        /// What was asked for.
        found: usize,
    },
    /// A folder was asked for that no world has.
    #[error("a world has no folder `{found}`, expected one of `{known}`")]
    NoFolder {
        /// What was asked for.
        found: String,
        /// What there is.
        known: String,
    },
    /// A picture cannot be encoded.
    #[error("cannot encode the picture `{name}`")]
    Encode {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: image::ImageError,
    },
    /// A record cannot be written as JSON.
    #[error("cannot encode `{name}` as JSON")]
    Json {
        /// The file.
        name: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A table cannot be written as parquet.
    #[error("cannot encode `{name}` as parquet")]
    Parquet {
        /// The file.
        name: &'static str,
        /// Why.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// The observer asked to stop.
    #[error("interrupted; the same command goes on with what is missing")]
    Interrupted,
}
