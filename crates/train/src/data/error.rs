//! What can go wrong between files and samples.

use std::path::PathBuf;

use super::BadSample;

/// An error that ends a stream; a sample that cannot be used is a [`BadSample`] instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read `{}`", path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is not valid JSON, or not of the expected form.
    #[error("`{}` is not what was expected of it", path.display())]
    ParseFile {
        /// The file.
        path: PathBuf,
        /// Where it is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A file is valid but its contents do not fit together.
    #[error("`{}` cannot be used: {reason}", path.display())]
    UnusableFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A text could not be made into ids, or the tokenizer lacks a token.
    #[error("the text cannot be encoded")]
    Encode {
        /// Why.
        #[from]
        source: prompt::Error,
    },
    /// The token that ends a training text is not in the vocabulary.
    #[error("token `{token}` is missing in `{file}`, expected it to end a training text")]
    MissingEnd {
        /// The token's text.
        token: String,
        /// The tokenizer's file.
        file: String,
    },
    /// A setting has a value that cannot work.
    #[error("`{setting}` is {found}, expected {expected}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: String,
        /// What would work.
        expected: &'static str,
    },
    /// A saved position is not one of this stream.
    #[error(
        "the saved position does not belong to {stream}: {reason}; start the run anew or restore its data and settings"
    )]
    Position {
        /// The stream.
        stream: String,
        /// What does not fit.
        reason: String,
    },
    /// Too many samples in a row were bad.
    #[error("{num_bad} samples in a row are bad, the last ones: {}", list(.last))]
    TooManyBad {
        /// How many there were.
        num_bad: usize,
        /// The last of them.
        last: Vec<BadSample>,
    },
    /// A data set has a name that nobody knows.
    #[error("unknown data set `{name}`, expected one of {}", known.join(", "))]
    UnknownSet {
        /// The name.
        name: String,
        /// The names of a stage like this.
        known: Vec<&'static str>,
    },
    /// A data set has too few or too many annotation files.
    #[error("data set `{name}` has {found} `files`, expected {}: `{}`", expected.len(), expected.join("` and `"))]
    NumFiles {
        /// The data set.
        name: String,
        /// How many the recipe gives.
        found: usize,
        /// The files as they are published.
        expected: Vec<&'static str>,
    },
    /// An annotation file is not there.
    #[error(
        "data set `{name}` has no file `{}`, expected {expected}; put it there or correct `files` in the recipe",
        path.display()
    )]
    MissingFile {
        /// The data set.
        name: String,
        /// Where it should be.
        path: PathBuf,
        /// What should be there.
        expected: String,
    },
    /// A data set of pictures has no folder of them.
    #[error("data set `{name}` has no pictures: {reason}; correct `images` in the recipe")]
    MissingImages {
        /// The data set.
        name: String,
        /// What is missing.
        reason: String,
    },
    /// A data set has no shards.
    #[error("data set `{name}` has no `shards`, expected files or addresses, with brace patterns")]
    MissingShards {
        /// The data set.
        name: String,
    },
    /// A stream has no sample at all.
    #[error("{stream} has no samples")]
    Empty {
        /// The stream.
        stream: String,
    },
    /// No shard of a stream could be read.
    #[error("no shard of {stream} can be read, the last one failed: {last}")]
    AllShards {
        /// The stream.
        stream: String,
        /// The last shard and why.
        last: String,
    },
    /// A thread could not be started.
    #[error("cannot start a thread for loading")]
    StartThread {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The thread that draws samples panicked.
    #[error("drawing the next sample panicked: {why}")]
    Panic {
        /// What the panic said.
        why: String,
    },
    /// The threads ended before the stream did; only after an earlier error.
    #[error("the loader has stopped after an earlier error")]
    Stopped,
}

/// Returns the bad samples as one line.
fn list(samples: &[BadSample]) -> String {
    samples.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
