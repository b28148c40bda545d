//! The form `tokenizer.json`, read by the `tokenizers` library.

use std::collections::BTreeMap;

use sequence::TokenId;
use tokenizers::normalizer::Range;
use tokenizers::{
    Model as _, NormalizedString, Normalizer as _, OffsetReferential, OffsetType,
    PreTokenizedString, PreTokenizer as _, Tokenizer,
};

use super::{AddedToken, AddedTokens};
use crate::Error;
use crate::stream::DecodeRule;

/// A tokenizer of the library, its added tokens known apart.
pub(super) struct JsonTokenizer {
    tokenizer: Tokenizer,
}

impl JsonTokenizer {
    pub(super) fn parse(json: &[u8], file: &str) -> Result<(Self, AddedTokens, DecodeRule), Error> {
        let value: serde_json::Value = serde_json::from_slice(json)
            .map_err(|source| Error::InvalidJson { file: file.to_owned(), source })?;
        let unusable = |reason: String| Error::UnusableTokenizer { file: file.to_owned(), reason };
        let decode_rule = DecodeRule::parse(&value["decoder"]).map_err(unusable)?;
        let mut tokenizer =
            Tokenizer::from_bytes(json).map_err(|source| unusable(source.to_string()))?;
        // A prompt must come out whole, whatever training used.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|source| unusable(source.to_string()))?;
        let by_id: BTreeMap<_, _> = tokenizer
            .get_added_tokens_decoder()
            .into_iter()
            .map(|(id, token)| {
                let added = AddedToken {
                    text: token.content,
                    lstrip: token.lstrip,
                    rstrip: token.rstrip,
                    special: token.special,
                };
                (TokenId(id), added)
            })
            .collect();
        let skipped = by_id.iter().filter(|(_, token)| token.special).map(|(id, _)| *id).collect();
        let added = AddedTokens::new(by_id, skipped, char::is_whitespace);
        Ok((Self { tokenizer }, added, decode_rule))
    }

    pub(super) fn vocab_size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    pub(super) fn id_of(&self, text: &str) -> Option<TokenId> {
        self.tokenizer.token_to_id(text).map(TokenId)
    }

    pub(super) fn token_text(&self, id: TokenId) -> Option<String> {
        self.tokenizer.id_to_token(id.0)
    }

    pub(super) fn encode(&self, text: &str, add_bos: bool) -> tokenizers::Result<Vec<TokenId>> {
        let encoding = self.tokenizer.encode_fast(text, add_bos)?;
        Ok(encoding.get_ids().iter().map(|id| TokenId(*id)).collect())
    }

    /// Encodes a text that stands between tokens, or at the start of a sequence; no token is
    /// looked for in it.
    pub(super) fn encode_run(
        &self,
        text: &str,
        at_start: bool,
        ids: &mut Vec<TokenId>,
    ) -> tokenizers::Result<()> {
        let mut run = PreTokenizedString::from(if at_start {
            NormalizedString::from(text)
        } else {
            // Some pre-tokenizers treat the first characters of a sequence in their own way and
            // tell them by their offset, so a later run must be a part of something longer.
            NormalizedString::from(format!(".{text}"))
                .slice(Range::Original(1..=text.len()))
                .unwrap_or_else(|| NormalizedString::from(text))
        });
        run.normalize(|text| {
            self.tokenizer.get_normalizer().map_or(Ok(()), |normalizer| normalizer.normalize(text))
        })?;
        if let Some(pre_tokenizer) = self.tokenizer.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut run)?;
        }
        run.tokenize(|text| self.tokenizer.get_model().tokenize(text.get()))?;
        for (_, _, tokens) in run.get_splits(OffsetReferential::Original, OffsetType::None) {
            ids.extend(tokens.iter().flatten().map(|token| TokenId(token.id)));
        }
        Ok(())
    }
}
