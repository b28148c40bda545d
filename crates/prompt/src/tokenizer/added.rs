//! Added tokens: texts that are tokens as a whole, and the white space they eat.

use std::cmp::Reverse;
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
        // The next occurrence of each token, looked for again only once it is passed.
        let mut occurrences: Vec<_> = self
            .by_id
            .iter()
            .filter(|(_, token)| wanted(token) && !token.text.is_empty())
            .filter_map(|(id, token)| Some((text.find(&token.text)?, *id, token.text.as_str())))
            .collect();
        let mut pieces = Vec::new();
        let mut end = 0;
        loop {
            occurrences.retain_mut(|(at, _, token)| {
                if *at >= end {
                    return true;
                }
                let next = text[end..].find(*token);
                *at = end + next.unwrap_or_default();
                next.is_some()
            });
            let first = occurrences.iter().min_by_key(|(at, _, token)| (*at, Reverse(token.len())));
            let Some(&(at, id, token)) = first else { break };
            if at > end {
                pieces.push(Piece::Text(text[end..at].to_owned()));
            }
            pieces.push(Piece::Token(id));
            end = at + token.len();
        }
        if end < text.len() {
            pieces.push(Piece::Text(text[end..].to_owned()));
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
