//! Ids to text, as they come and without ever splitting a character.

mod rule;
mod slow;

use std::fmt;

use sequence::TokenId;

use crate::Tokenizer;
pub(crate) use rule::{DecodeRule, byte_of};
pub(crate) use slow::{LeadingSpace, SlowRule};

/// Turns generated ids into text piece by piece.
///
/// Text is given out as soon as later ids cannot change it. The pieces and what [`Self::finish`]
/// returns, put together, equal [`Tokenizer::decode`] of all ids, since that is made by a stream
/// too; the work for an id does not grow with what came before.
#[derive(Clone)]
pub struct TextStream {
    tokenizer: Tokenizer,
    skip_special: bool,
    state: rule::State,
}

impl TextStream {
    /// Starts a reply, in which special tokens are left out.
    pub fn new(tokenizer: &Tokenizer) -> Self {
        Self::with_special(tokenizer, true)
    }

    /// Starts a text in which special tokens are left out or kept.
    pub fn with_special(tokenizer: &Tokenizer, skip_special: bool) -> Self {
        let state = tokenizer.decode_rule().start(skip_special);
        Self { tokenizer: tokenizer.clone(), skip_special, state }
    }

    /// Takes the next id and returns the text that is certain now, if any.
    pub fn push(&mut self, id: TokenId) -> Option<String> {
        let mut text = String::new();
        self.push_into(id, &mut text);
        (!text.is_empty()).then_some(text)
    }

    /// Ends the text and returns what was held back; the stream can then take another text.
    pub fn finish(&mut self) -> Option<String> {
        let mut text = String::new();
        self.finish_into(&mut text);
        (!text.is_empty()).then_some(text)
    }

    pub(crate) fn push_into(&mut self, id: TokenId, text: &mut String) {
        if self.skip_special && self.tokenizer.is_skipped(id) {
            return;
        }
        self.tokenizer.decode_rule().push(&self.tokenizer, id, &mut self.state, text);
    }

    pub(crate) fn finish_into(&mut self, text: &mut String) {
        let rule = self.tokenizer.decode_rule();
        rule.finish(&mut self.state, text);
        self.state = rule.start(self.skip_special);
    }
}

impl fmt::Debug for TextStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextStream")
            .field("tokenizer", &self.tokenizer)
            .field("skip_special", &self.skip_special)
            .finish_non_exhaustive()
    }
}
