//! What can go wrong between a user's text and pictures and the model's ids and pixels.

use std::path::PathBuf;

use sequence::Role;

/// An error of this crate.
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
    /// A folder holds no tokenizer.
    #[error("no tokenizer in `{}`, expected `tokenizer.json` or `tokenizer.model`", dir.display())]
    NoTokenizer {
        /// The folder.
        dir: PathBuf,
    },
    /// A tokenizer's JSON file is not valid.
    #[error("`{file}` is not valid")]
    InvalidJson {
        /// The file.
        file: String,
        /// Where it is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A tokenizer's file cannot be used.
    #[error("`{file}` cannot be used: {reason}")]
    UnusableTokenizer {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A text could not be tokenized.
    #[error("the text cannot be tokenized by `{file}`")]
    Tokenize {
        /// The tokenizer's file.
        file: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The template needs a token that the tokenizer does not have.
    #[error("token `{token}` is missing in `{file}`")]
    MissingToken {
        /// The token's text.
        token: String,
        /// The tokenizer's file.
        file: String,
    },
    /// A form of texts cannot be followed.
    #[error("the form cannot be followed: {reason}")]
    InvalidGrammar {
        /// What about it.
        reason: String,
    },
    /// An image stands where only text may.
    #[error("a message of role `{}` has an image, expected images only in the user's messages", role_name(*.role))]
    ImageOutsideQuestion {
        /// Who speaks the message.
        role: Role,
    },
    /// Instructions stand after the first message.
    #[error("message {index} has role `system`, expected it only as the first message")]
    SystemNotFirst {
        /// The message, counted from 0.
        index: usize,
    },
    /// There is no message to encode.
    #[error("the conversation has no message of the user")]
    NoQuestion,
    /// A question places another number of images than there are.
    #[error(
        "the question has {in_question} `<image>` but {given} {} given",
        if *given == 1 { "image was" } else { "images were" }
    )]
    ImageCount {
        /// How often the question says `<image>`.
        in_question: usize,
        /// How many images came with it.
        given: usize,
    },
    /// An attention mask is not as long as its ids.
    #[error("the attention mask has {found} values, expected {expected}")]
    MaskLength {
        /// The number of values.
        found: usize,
        /// The number of ids.
        expected: usize,
    },
    /// A file has no bytes.
    #[error("the image is empty: it has zero bytes")]
    EmptyImage,
    /// A file is not of a known image format.
    #[error("not an image: expected JPEG, PNG, WebP, GIF, BMP or TIFF")]
    NotAnImage,
    /// An image is too large to be decoded safely.
    #[error("the image is {width} x {height}, {} pixels; the limit is {limit}", u64::from(*width) * u64::from(*height))]
    TooLarge {
        /// Its width in pixels.
        width: u32,
        /// Its height in pixels.
        height: u32,
        /// How many pixels are allowed.
        limit: u64,
    },
    /// An image takes too much memory.
    #[error("the image takes {num_bytes} bytes of memory; the limit is {limit}")]
    TooManyBytes {
        /// The size of its decoded pixels.
        num_bytes: u64,
        /// How many bytes are allowed.
        limit: u64,
    },
    /// An image's file ends too early.
    #[error("the {format} image is truncated")]
    TruncatedImage {
        /// The file's format.
        format: &'static str,
    },
    /// An image's file is damaged or of an unknown kind of its format.
    #[error("the {format} image cannot be decoded")]
    BrokenImage {
        /// The file's format.
        format: &'static str,
        /// Why.
        #[source]
        source: image::ImageError,
    },
}

/// Returns a role's name in messages.
fn role_name(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}
