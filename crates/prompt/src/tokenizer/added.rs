//! Added tokens: texts that are tokens as a whole, and the white space they eat.

use std::collections::{BTreeMap, BTreeSet};

use sequence::TokenId;

use super::Piece;

/// A text that is a token as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddedToken {
    pub(crate) text: String,
    /// Whether it eats the white space before it.
    pub(crate) lstrip: bool,
    /// Whether it eats the white space after it.
    pub(crate) rstrip: bool,
    /// Whether a user's text must not spell it.
    pub(crate) special: bool,
}

/// The added tokens of a tokenizer.
pub(crate) struct AddedTokens {
    by_id: BTreeMap<TokenId, AddedToken>,
    /// The tokens that decoding for the eye leaves out.
    skipped: BTreeSet<TokenId>,
    /// What counts as white space in this form of tokenizer.
    is_space: fn(char) -> bool,
}

impl AddedTokens {
    pub(crate) fn new(
        by_id: BTreeMap<TokenId, AddedToken>,
        skipped: BTreeSet<TokenId>,
        is_space: fn(char) -> bool,
    ) -> Self {
        Self { by_id, skipped, is_space }
    }

    pub(crate) fn get(&self, id: TokenId) -> Option<&AddedToken> {
        self.by_id.get(&id)
    }

    pub(crate) fn is_skipped(&self, id: TokenId) -> bool {
        self.skipped.contains(&id)
    }

    /// Splits a text at the added tokens that `wanted` accepts: at each place the longest.
    pub(crate) fn split(&self, text: &str, wanted: impl Fn(&AddedToken) -> bool) -> Vec<Piece> {
        let tokens: Vec<_> = self
            .by_id
            .iter()
            .filter(|(_, token)| wanted(token) && !token.text.is_empty())
            .collect();
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((at, (id, token))) = tokens
            .iter()
            .filter_map(|found| Some((rest.find(&found.1.text)?, *found)))
            .min_by_key(|(at, (_, token))| (*at, std::cmp::Reverse(token.text.len())))
        {
            if at > 0 {
                pieces.push(Piece::Text(rest[..at].to_owned()));
            }
            pieces.push(Piece::Token(*id));
            rest = &rest[at + token.text.len()..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        pieces
    }

    /// Removes the white space that tokens eat from the texts next to them; the number of pieces
    /// stays.
    pub(crate) fn strip(&self, mut pieces: Vec<Piece>) -> Vec<Piece> {
        for at in 0..pieces.len() {
            let Piece::Token(id) = pieces[at] else { continue };
            let Some(token) = self.get(id) else { continue };
            if let (true, Some(Piece::Text(text))) = (token.rstrip, pieces.get_mut(at + 1)) {
                *text = text.trim_start_matches(self.is_space).to_owned();
            }
            if token.lstrip
                && let Some(Piece::Text(text)) = at.checked_sub(1).map(|before| &mut pieces[before])
            {
                *text = text.trim_end_matches(self.is_space).to_owned();
            }
        }
        pieces
    }
}
