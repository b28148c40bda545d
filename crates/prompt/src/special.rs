//! The tokens that a prompt is built from.

use sequence::TokenId;

use crate::{Error, Tokenizer};

/// The ids of the tokens with a meaning, looked up by their text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialTokens {
    /// `<image>`, where the vision tokens go.
    pub image: TokenId,
    /// `<|assistant|>`, which opens a reply.
    pub assistant: TokenId,
    /// `<|end|>`, which ends a message.
    pub end: TokenId,
    /// `<|endoftext|>`, which ends a training text.
    pub end_of_text: TokenId,
    /// `<pad>`, which fills a batch.
    pub pad: TokenId,
    /// `<|user|>`, which opens a question.
    pub user: TokenId,
    /// `<|system|>`, which opens the instructions.
    pub system: TokenId,
    /// `<s>`, which opens a text.
    pub bos: TokenId,
    /// `<|endofchunk|>`, which ends a caption.
    pub end_of_chunk: TokenId,
}

impl SpecialTokens {
    /// Looks the tokens up in `tokenizer`.
    ///
    /// # Errors
    /// If the tokenizer lacks one of them.
    pub fn find(tokenizer: &Tokenizer) -> Result<Self, Error> {
        let id = |token: &str| {
            tokenizer.id_of(token).ok_or_else(|| Error::MissingToken {
                token: token.to_owned(),
                file: tokenizer.file().to_owned(),
            })
        };
        Ok(Self {
            image: id("<image>")?,
            assistant: id("<|assistant|>")?,
            end: id("<|end|>")?,
            end_of_text: id("<|endoftext|>")?,
            pad: id("<pad>")?,
            user: id("<|user|>")?,
            system: id("<|system|>")?,
            bos: id("<s>")?,
            end_of_chunk: id("<|endofchunk|>")?,
        })
    }

    /// Returns the tokens that end a generation.
    pub fn stops(&self) -> [TokenId; 2] {
        [self.end, self.end_of_text]
    }
}
