//! How Hugging Face's slow `LlamaTokenizer` decodes, one token at a time.
//!
//! Added tokens that are not named in the configuration stand apart, with a space on either side;
//! between them runs of tokens are decoded by `SentencePiece`, where a run's first piece loses its
//! leading space. All this is the reference's behaviour, oddities included.

use std::collections::{BTreeMap, BTreeSet};

use sequence::TokenId;

use super::rule::append_certain;

/// The character that stands for a space in pieces.
const SPACE: char = '\u{2581}';

/// What decides how tokens of a `SentencePiece` model become text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlowRule {
    /// The tokens that are bytes.
    pub(crate) bytes: BTreeMap<TokenId, u8>,
    /// The tokens whose text is not what the vocabulary spells.
    pub(crate) surfaces: BTreeMap<TokenId, String>,
    /// The tokens with a part to play, which `SentencePiece` does not see.
    pub(crate) named: BTreeSet<TokenId>,
    /// The added tokens that stand apart.
    pub(crate) apart: BTreeSet<TokenId>,
    pub(crate) add_prefix_space: bool,
    pub(crate) legacy: bool,
    /// What `SentencePiece` does with spaces at the start.
    pub(crate) leading_space: LeadingSpace,
}

/// What becomes of the spaces that start a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeadingSpace {
    Kept,
    OneRemoved,
    AllRemoved,
}

/// Where in the text a stream is.
#[derive(Clone, Debug, Default)]
pub(crate) struct SlowState {
    /// Bytes that are not yet a character.
    bytes: Vec<u8>,
    /// Whether there is text before this run.
    has_text_before: bool,
    run: Run,
    /// Text that a space may yet be put before; none where that cannot happen.
    held: Option<String>,
}

/// The run of tokens since the last one that stands apart.
#[derive(Clone, Debug, Default)]
struct Run {
    num_tokens: usize,
    /// Whether it has given text.
    has_text: bool,
    /// Whether its last token was a named one.
    after_named: bool,
    /// Whether `SentencePiece` has given text since the last named token.
    has_pieces: bool,
}

impl SlowRule {
    /// Returns the state before the first token.
    pub(super) fn start(&self, skip_special: bool) -> SlowState {
        // The older behaviour puts a space before the text that leads to a named token, not before
        // the token, so that text has to wait, unless named tokens are skipped anyway.
        SlowState { held: (self.legacy && !skip_special).then(String::new), ..SlowState::default() }
    }

    /// Returns the bytes that a token adds to a text; none if it has a part to play.
    pub(super) fn bytes_of(&self, id: TokenId, token: &str) -> Option<Vec<u8>> {
        if self.apart.contains(&id) || self.named.contains(&id) {
            return None;
        }
        if let Some(byte) = self.bytes.get(&id) {
            // A space that is spelled as a byte stays where another would be left out.
            return (*byte != b' ').then(|| vec![*byte]);
        }
        let surface = self.surfaces.get(&id).cloned();
        Some(surface.unwrap_or_else(|| token.replace(SPACE, " ")).into_bytes())
    }

    /// Returns whether a space that starts a text is left out.
    pub(super) fn loses_first_space(&self) -> bool {
        self.add_prefix_space || self.leading_space != LeadingSpace::Kept
    }

    /// Takes a token and appends to `text` what is certain.
    pub(super) fn push(&self, id: TokenId, token: &str, state: &mut SlowState, text: &mut String) {
        if self.apart.contains(&id) {
            Self::end_pieces(state, text);
            Self::release(state, text);
            state.has_text_before |= state.run.has_text;
            if state.has_text_before {
                text.push(' ');
            }
            text.push_str(token);
            state.has_text_before = true;
            state.run = Run::default();
            return;
        }
        let is_first = state.run.num_tokens == 0;
        state.run.num_tokens += 1;
        let stripped = token.strip_prefix(SPACE).filter(|_| is_first && self.add_prefix_space);
        let piece = stripped.unwrap_or(token);
        if self.named.contains(&id) {
            Self::end_pieces(state, text);
            if !state.run.after_named && !is_first && self.legacy {
                Self::append(" ", state, text, true);
            }
            Self::release(state, text);
            Self::append(piece, state, text, true);
            (state.run.after_named, state.run.has_pieces) = (true, false);
            return;
        }
        if state.run.after_named
            && state.run.num_tokens == 2
            && self.add_prefix_space
            && !piece.starts_with(SPACE)
        {
            Self::append(" ", state, text, true);
        }
        state.run.after_named = false;
        self.push_piece(id, piece, state, text);
    }

    /// Appends to `text` what was held back.
    pub(super) fn finish(state: &mut SlowState, text: &mut String) {
        Self::end_pieces(state, text);
        Self::release(state, text);
        if state.run.num_tokens > 0 && !state.run.has_text && state.has_text_before {
            text.push(' ');
        }
    }

    /// Decodes a piece as `SentencePiece` does.
    fn push_piece(&self, id: TokenId, piece: &str, state: &mut SlowState, text: &mut String) {
        if let Some(byte) = self.bytes.get(&id) {
            state.bytes.push(*byte);
            let mut certain = String::new();
            append_certain(&mut state.bytes, &mut certain, true);
            Self::append_piece(&certain, state, text);
            return;
        }
        Self::end_pieces(state, text);
        if let Some(surface) = self.surfaces.get(&id) {
            Self::append_piece(surface, state, text);
            return;
        }
        let mut piece = piece;
        if !state.run.has_pieces {
            match self.leading_space {
                LeadingSpace::Kept => {}
                LeadingSpace::OneRemoved => {
                    if let Some(rest) = piece.strip_prefix(SPACE) {
                        piece = rest;
                        state.run.has_pieces = true;
                    }
                }
                LeadingSpace::AllRemoved => piece = piece.trim_start_matches(SPACE),
            }
        }
        Self::append_piece(&piece.replace(SPACE, " "), state, text);
    }

    /// Ends a run of bytes: those left over are each replaced.
    fn end_pieces(state: &mut SlowState, text: &mut String) {
        let num_bytes = std::mem::take(&mut state.bytes).len();
        Self::append_piece(&"\u{FFFD}".repeat(num_bytes), state, text);
    }

    fn append_piece(piece: &str, state: &mut SlowState, text: &mut String) {
        state.run.has_pieces |= !piece.is_empty();
        Self::append(piece, state, text, false);
    }

    /// Appends text of a run, or holds it; `at_once` text goes before what is held.
    fn append(piece: &str, state: &mut SlowState, text: &mut String, at_once: bool) {
        if piece.is_empty() {
            return;
        }
        if let (Some(held), false) = (&mut state.held, at_once) {
            held.push_str(piece);
            return;
        }
        if !state.run.has_text && state.has_text_before {
            text.push(' ');
        }
        state.run.has_text = true;
        text.push_str(piece);
    }

    /// Appends the text that was held for a space before it.
    fn release(state: &mut SlowState, text: &mut String) {
        let held = state.held.as_mut().map(std::mem::take).unwrap_or_default();
        Self::append(&held, state, text, true);
    }
}
