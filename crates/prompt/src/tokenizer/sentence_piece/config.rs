//! `tokenizer_config.json` and `added_tokens.json`.

use std::collections::BTreeMap;

use sequence::TokenId;
use serde::Deserialize;

use crate::tokenizer::AddedToken;

/// The settings of a slow tokenizer.
#[derive(Clone, Debug)]
pub(crate) struct SlowConfig {
    pub(super) added: BTreeMap<TokenId, AddedToken>,
    pub(super) add_bos: bool,
    pub(super) add_eos: bool,
    pub(super) add_prefix_space: bool,
    pub(super) legacy: bool,
    pub(super) bos: Option<String>,
    pub(super) eos: Option<String>,
    /// The texts of the tokens with a part to play and of the additional special ones.
    pub(super) named: Vec<String>,
    /// The texts of the additional special tokens.
    pub(super) additional: Vec<String>,
}

/// `tokenizer_config.json`, as far as it matters here.
#[derive(Deserialize)]
struct ConfigFile {
    #[serde(default)]
    added_tokens_decoder: Option<BTreeMap<u32, TokenEntry>>,
    #[serde(default = "yes")]
    add_bos_token: bool,
    #[serde(default)]
    add_eos_token: bool,
    #[serde(default = "yes")]
    add_prefix_space: bool,
    #[serde(default)]
    legacy: Option<bool>,
    #[serde(default = "bos")]
    bos_token: Option<Named>,
    #[serde(default = "eos")]
    eos_token: Option<Named>,
    #[serde(default = "unk")]
    unk_token: Option<Named>,
    #[serde(default)]
    sep_token: Option<Named>,
    #[serde(default)]
    pad_token: Option<Named>,
    #[serde(default)]
    cls_token: Option<Named>,
    #[serde(default)]
    mask_token: Option<Named>,
    #[serde(default)]
    additional_special_tokens: Option<Vec<Named>>,
}

fn yes() -> bool {
    true
}

fn bos() -> Option<Named> {
    Some(Named::Text("<s>".to_owned()))
}

fn eos() -> Option<Named> {
    Some(Named::Text("</s>".to_owned()))
}

fn unk() -> Option<Named> {
    Some(Named::Text("<unk>".to_owned()))
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
            add_bos: file.add_bos_token,
            add_eos: file.add_eos_token,
            add_prefix_space: file.add_prefix_space,
            // Without a word on it the older behaviour is meant.
            legacy: file.legacy.unwrap_or(true),
            named: named.collect(),
            bos,
            eos,
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
