//! The form `tokenizer.model`: a `SentencePiece` model with the added tokens and flags of
//! `tokenizer_config.json`, treated the way Hugging Face's slow `LlamaTokenizer` does.

mod bpe;
mod config;
mod model_file;

use std::collections::BTreeMap;

use sequence::TokenId;

use self::bpe::Bpe;
pub(super) use self::config::SlowConfig;
use self::model_file::{ModelFile, PieceKind};
use super::{AddedToken, AddedTokens};
use crate::stream::{DecodeRule, LeadingSpace, SlowRule};

/// The character that stands for a space in pieces.
const SPACE: char = '\u{2581}';

/// A `SentencePiece` tokenizer.
pub(super) struct SentencePiece {
    bpe: Bpe,
    model: ModelFile,
    config: SlowConfig,
    added_ids: BTreeMap<String, TokenId>,
    added_texts: BTreeMap<TokenId, String>,
    /// The token put before a whole text.
    before: Option<TokenId>,
    /// The token put after it.
    after: Option<TokenId>,
    /// The tokens with a part to play, such as the one that starts a text, and the additional
    /// special ones.
    named: Vec<TokenId>,
}

impl SentencePiece {
    /// Puts the model and its configuration together; the error says why that cannot be.
    pub(super) fn new(
        model: &[u8],
        config: SlowConfig,
    ) -> Result<(Self, AddedTokens, DecodeRule), String> {
        let model = ModelFile::parse(model)?;
        let by_id = added_tokens(&model, &config);
        let added_ids: BTreeMap<_, _> =
            by_id.iter().map(|(id, token)| (token.text.clone(), *id)).collect();
        let added_texts = by_id.iter().map(|(id, token)| (*id, token.text.clone())).collect();
        let mut tokenizer = Self {
            bpe: Bpe::new(&model)?,
            model,
            config,
            added_ids,
            added_texts,
            before: None,
            after: None,
            named: Vec::new(),
        };
        let id_of = |text: &Option<String>| tokenizer.id_of(text.as_deref()?);
        let (before, after) = (id_of(&tokenizer.config.before), id_of(&tokenizer.config.after));
        let named: Vec<_> =
            tokenizer.config.named.iter().filter_map(|text| tokenizer.id_of(text)).collect();
        (tokenizer.before, tokenizer.after) = (before, after);
        tokenizer.named = named;
        let rule = DecodeRule::Slow(tokenizer.decode_rule());
        let is_skipped =
            |(id, token): (&TokenId, &AddedToken)| token.special || tokenizer.named.contains(id);
        let skipped = by_id.iter().filter(|entry| is_skipped(*entry)).map(|(id, _)| *id).collect();
        let added = AddedTokens::new(by_id, skipped, is_python_space);
        Ok((tokenizer, added, rule))
    }

    fn decode_rule(&self) -> SlowRule {
        let of_kind = |kind: PieceKind| {
            let pieces = (0..).map(TokenId).zip(&self.model.pieces);
            pieces.filter(move |(_, piece)| piece.kind == kind)
        };
        let bytes = of_kind(PieceKind::Byte);
        let bytes =
            bytes.filter_map(|(id, piece)| Some((id, crate::stream::byte_of(&piece.text)?)));
        let mut silent: BTreeMap<_, _> =
            of_kind(PieceKind::Control).map(|(id, _)| (id, String::new())).collect();
        let unknown = of_kind(PieceKind::Unknown);
        silent.extend(unknown.map(|(id, _)| (id, self.model.unknown_surface.clone())));
        let is_apart = |id: &&TokenId| {
            !self.named.contains(id)
                || (id.0 as usize >= self.model.pieces.len()
                    && self.config.additional.contains(&self.added_texts[*id]))
        };
        SlowRule {
            bytes: bytes.collect(),
            surfaces: silent,
            named: self.named.iter().copied().collect(),
            apart: self.added_texts.keys().filter(is_apart).copied().collect(),
            add_prefix_space: self.config.add_prefix_space,
            legacy: self.config.legacy,
            leading_space: if self.model.remove_extra_whitespaces {
                LeadingSpace::AllRemoved
            } else if self.adds_dummy_prefix() {
                LeadingSpace::OneRemoved
            } else {
                LeadingSpace::Kept
            },
        }
    }

    pub(super) fn vocab_size(&self) -> usize {
        let last_added = self.added_texts.keys().last().map_or(0, |id| id.0 as usize + 1);
        last_added.max(self.model.pieces.len())
    }

    pub(super) fn id_of(&self, text: &str) -> Option<TokenId> {
        let piece = || self.model.pieces.iter().position(|piece| piece.text == text);
        let added = self.added_ids.get(text).copied();
        added.or_else(|| self.bpe.id_of(text)).or_else(|| piece().map(|id| TokenId(id as u32)))
    }

    pub(super) fn token_text(&self, id: TokenId) -> Option<&str> {
        let added = self.added_texts.get(&id).map(String::as_str);
        added.or_else(|| self.model.pieces.get(id.0 as usize).map(|piece| piece.text.as_str()))
    }

    /// Prepares a whole text before its added tokens are looked for.
    pub(super) fn prepare(&self, text: &str) -> String {
        if self.config.legacy { text.to_owned() } else { text.replace(SPACE, " ") }
    }

    /// Returns the ids that open a sequence whose first piece is a token.
    pub(super) fn opening(&self) -> Vec<TokenId> {
        let mut ids = Vec::new();
        if !self.config.legacy && self.config.add_prefix_space {
            self.bpe.encode(&SPACE.to_string(), &mut ids);
        }
        ids
    }

    /// Removes the space that opens a sequence if a named token follows it.
    pub(super) fn drop_opening(&self, pieces: &mut [Vec<TokenId>]) {
        let mut ids = pieces.iter().flatten();
        let (first, second) = (ids.next(), ids.next());
        let is_space = first.is_some_and(|id| self.bpe.id_of(&SPACE.to_string()) == Some(*id));
        if !self.config.legacy
            && is_space
            && second.is_some_and(|id| self.named.contains(id))
            && let Some(piece) = pieces.iter_mut().find(|piece| !piece.is_empty())
        {
            piece.remove(0);
        }
    }

    /// Encodes a text between tokens, or at the start of a sequence.
    pub(super) fn encode_run(&self, text: &str, at_start: bool, ids: &mut Vec<TokenId>) {
        let text = self.prepare(text);
        let text = if at_start && !self.config.legacy && self.config.add_prefix_space {
            format!("{SPACE}{text}")
        } else {
            text
        };
        self.bpe.encode(&self.normalise(&text), ids);
    }

    /// Adds the tokens around a whole text.
    pub(super) fn wrap(&self, ids: Vec<TokenId>) -> Vec<TokenId> {
        self.before.into_iter().chain(ids).chain(self.after).collect()
    }

    fn adds_dummy_prefix(&self) -> bool {
        self.config.legacy && self.model.add_dummy_prefix
    }

    /// Returns text as pieces spell it.
    fn normalise(&self, text: &str) -> String {
        let mut spelled = text.to_owned();
        if self.model.remove_extra_whitespaces {
            // A space at the start survives where the text is encoded behind something else.
            let keeps_first = !self.config.legacy && text.starts_with(' ');
            let mut words = text.split(' ').filter(|word| !word.is_empty());
            spelled = if keeps_first { " ".to_owned() } else { String::new() };
            spelled.push_str(words.next().unwrap_or_default());
            for word in words {
                spelled.push(' ');
                spelled.push_str(word);
            }
            spelled.truncate(spelled.trim_end_matches([' ', SPACE]).len());
        }
        if self.adds_dummy_prefix() && !spelled.is_empty() {
            spelled.insert(0, SPACE);
        }
        spelled.replace(' ', &SPACE.to_string())
    }
}

/// Returns the added tokens: those of the files, and named ones that the files leave out, as new
/// ids after the others where the model lacks them.
fn added_tokens(model: &ModelFile, config: &SlowConfig) -> BTreeMap<TokenId, AddedToken> {
    let mut by_id = config.added.clone();
    let mut next = model.pieces.len()
        + config.added.keys().filter(|id| id.0 as usize >= model.pieces.len()).count();
    for text in &config.named {
        if by_id.values().any(|token| token.text == *text) {
            continue;
        }
        let id = model.pieces.iter().position(|piece| piece.text == *text).unwrap_or_else(|| {
            next += 1;
            next - 1
        });
        let token = AddedToken { text: text.clone(), lstrip: false, rstrip: false, special: true };
        by_id.insert(TokenId(id as u32), token);
    }
    by_id
}

/// Returns whether Python's `str.strip` removes a character: Unicode's white space and the four
/// separators of ASCII.
fn is_python_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1C}'..='\u{1F}').contains(&character)
}
