//! `tokenizer_config.json` and `added_tokens.json`.

use std::collections::BTreeMap;

use sequence::TokenId;
use serde::Deserialize;

use crate::tokenizer::AddedToken;

/// The settings of a slow tokenizer.
#[derive(Clone, Debug)]
pub(crate) struct SlowConfig {
    pub(super) added: BTreeMap<TokenId, AddedToken>,
    pub(super) add_prefix_space: bool,
    pub(super) legacy: bool,
    /// The text of the token that is put before a whole text.
    pub(super) before: Option<String>,
    /// The text of the token that is put after it.
    pub(super) after: Option<String>,
    /// The texts of the tokens with a part to play and of the additional special ones.
    pub(super) named: Vec<String>,
    /// The texts of the additional special tokens.
    pub(super) additional: Vec<String>,
}

/// `tokenizer_config.json`, as far as it matters here.
#[derive(Deserialize)]
#[serde(default)]
struct ConfigFile {
    added_tokens_decoder: Option<BTreeMap<u32, TokenEntry>>,
    add_bos_token: bool,
    add_eos_token: bool,
    add_prefix_space: bool,
    legacy: Option<bool>,
    bos_token: Option<Named>,
    eos_token: Option<Named>,
    unk_token: Option<Named>,
    sep_token: Option<Named>,
    pad_token: Option<Named>,
    cls_token: Option<Named>,
    mask_token: Option<Named>,
    additional_special_tokens: Option<Vec<Named>>,
}

impl Default for ConfigFile {
    /// Returns what `LlamaTokenizer` assumes of a file that says nothing.
    fn default() -> Self {
        let named = |text: &str| Some(Named::Text(text.to_owned()));
        Self {
            added_tokens_decoder: None,
            add_bos_token: true,
            add_eos_token: false,
            add_prefix_space: true,
            legacy: None,
            bos_token: named("<s>"),
            eos_token: named("</s>"),
            unk_token: named("<unk>"),
            sep_token: None,
            pad_token: None,
            cls_token: None,
            mask_token: None,
            additional_special_tokens: None,
        }
    }
}

/// An added token with its flags.
#[derive(Deserialize)]
struct TokenEntry {
    content: String,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    special: bool,
}

/// A token's text, alone or with its flags.
#[derive(Deserialize)]
#[serde(untagged)]
enum Named {
    Text(String),
    Entry(TokenEntry),
}

impl Named {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Entry(entry) => entry.content,
        }
    }
}

impl SlowConfig {
    /// Parses `tokenizer_config.json`.
    pub(crate) fn parse(config: &[u8]) -> Result<Self, serde_json::Error> {
        let file: ConfigFile = serde_json::from_slice(config)?;
        let added = file.added_tokens_decoder.unwrap_or_default();
        let added = added.into_iter().map(|(id, token)| {
            let TokenEntry { content, lstrip, rstrip, special } = token;
            (TokenId(id), AddedToken { text: content, lstrip, rstrip, special })
        });
        let bos = file.bos_token.map(Named::into_text);
        let eos = file.eos_token.map(Named::into_text);
        let additional: Vec<_> = file.additional_special_tokens.unwrap_or_default();
        let additional: Vec<_> = additional.into_iter().map(Named::into_text).collect();
        let others =
            [file.unk_token, file.sep_token, file.pad_token, file.cls_token, file.mask_token];
        let others = others.into_iter().flatten().map(Named::into_text);
        let named = bos.iter().chain(&eos).cloned().chain(others).chain(additional.clone());
        Ok(Self {
            added: added.collect(),
            add_prefix_space: file.add_prefix_space,
            // Without a word on it the older behaviour is meant.
            legacy: file.legacy.unwrap_or(true),
            named: named.collect(),
            before: bos.filter(|_| file.add_bos_token),
            after: eos.filter(|_| file.add_eos_token),
            additional,
        })
    }

    /// Adds the tokens of `added_tokens.json`, texts and ids, that are not known yet.
    pub(crate) fn add_tokens(&mut self, file: &[u8]) -> Result<(), serde_json::Error> {
        let tokens: BTreeMap<String, u32> = serde_json::from_slice(file)?;
        for (text, id) in tokens {
            if self.added.values().all(|token| token.text != text) {
                let special = self.named.contains(&text);
                let token = AddedToken { text, lstrip: false, rstrip: false, special };
                self.added.entry(TokenId(id)).or_insert(token);
            }
        }
        Ok(())
    }
}
