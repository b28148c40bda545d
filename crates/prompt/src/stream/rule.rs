//! How tokens become text, one token at a time.

use sequence::TokenId;
use serde_json::Value;

use super::slow::{SlowRule, SlowState};
use crate::Tokenizer;

/// How a tokenizer's tokens become text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DecodeRule {
    /// Tokens are text, except those spelled `<0xE2>`: consecutive ones are the bytes of UTF-8, or
    /// all replacement characters if that is invalid.
    Fallback {
        /// Texts replaced in every token.
        replacements: Vec<(String, String)>,
        /// Whether `<0xE2>` is a byte.
        bytes: bool,
        /// A character removed from the start, and how often.
        strip: Option<(char, usize)>,
    },
    /// Every character of a token stands for a byte of UTF-8.
    ByteLevel,
    /// As a `SentencePiece` model's tokenizer does.
    Slow(SlowRule),
}

/// What is held back between two tokens.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// Bytes that are not yet a character.
    bytes: Vec<u8>,
    /// How many characters may still be removed from the start.
    strip: usize,
    slow: SlowState,
}

impl DecodeRule {
    /// Reads the `decoder` of a `tokenizer.json`; the error says what is not supported.
    pub(crate) fn parse(decoder: &Value) -> Result<Self, String> {
        let one = std::slice::from_ref(decoder);
        let steps = match decoder["type"].as_str() {
            Some("Sequence") => decoder["decoders"].as_array().map_or(one, Vec::as_slice),
            _ => one,
        };
        if let [step] = steps
            && step["type"] == "ByteLevel"
        {
            return Ok(Self::ByteLevel);
        }
        let mut replacements = Vec::new();
        let (mut bytes, mut fused, mut strip) = (false, false, None);
        for step in steps {
            let kind = step["type"].as_str().unwrap_or("null");
            match kind {
                "Replace" if !bytes && !fused => {
                    let pattern = step["pattern"]["String"].as_str();
                    let (Some(pattern), Some(content)) = (pattern, step["content"].as_str()) else {
                        return Err("its decoder replaces by a regular expression".to_owned());
                    };
                    replacements.push((pattern.to_owned(), content.to_owned()));
                }
                "ByteFallback" if !bytes && !fused => bytes = true,
                "Fuse" => fused = true,
                "Strip" if fused && strip.is_none() && step["stop"] == 0 => {
                    let content = step["content"].as_str().and_then(|text| text.chars().next());
                    strip = content.zip(step["start"].as_u64().map(|start| start as usize));
                }
                _ => return Err(format!("its decoder has an unsupported step `{kind}`")),
            }
        }
        Ok(Self::Fallback { replacements, bytes, strip })
    }

    /// Returns the bytes that a token adds to a text; none if it has a part to play.
    pub(crate) fn bytes_of(&self, id: TokenId, token: &str) -> Option<Vec<u8>> {
        match self {
            Self::Fallback { replacements, bytes, .. } => {
                let token = replaced(replacements, token);
                let byte = byte_of(&token).filter(|_| *bytes);
                Some(byte.map_or_else(|| token.into_bytes(), |byte| vec![byte]))
            }
            Self::ByteLevel => {
                let mut bytes = Vec::new();
                push_bytes_of(token, &mut bytes);
                Some(bytes)
            }
            Self::Slow(rule) => rule.bytes_of(id, token),
        }
    }

    /// Returns whether a space that starts a text is left out.
    pub(crate) fn loses_first_space(&self) -> bool {
        match self {
            Self::Fallback { strip, .. } => {
                strip.is_some_and(|(unwanted, times)| unwanted == ' ' && times > 0)
            }
            Self::ByteLevel => false,
            Self::Slow(rule) => rule.loses_first_space(),
        }
    }

    /// Returns the state before the first token.
    pub(crate) fn start(&self, skip_special: bool) -> State {
        let mut state = State::default();
        match self {
            Self::Fallback { strip: Some((_, times)), .. } => state.strip = *times,
            Self::Slow(rule) => state.slow = rule.start(skip_special),
            Self::Fallback { .. } | Self::ByteLevel => {}
        }
        state
    }

    /// Takes a token and appends to `text` what is certain.
    pub(crate) fn push(
        &self,
        tokenizer: &Tokenizer,
        id: TokenId,
        state: &mut State,
        text: &mut String,
    ) {
        let Some(token) = tokenizer.token_text(id) else { return };
        match self {
            Self::Fallback { replacements, bytes, .. } => {
                let token = replaced(replacements, &token);
                if let Some(byte) = byte_of(&token).filter(|_| *bytes) {
                    state.bytes.push(byte);
                } else {
                    self.flush(state, text);
                    self.append(&token, state, text);
                }
            }
            Self::ByteLevel => {
                push_bytes_of(&token, &mut state.bytes);
                append_certain(&mut state.bytes, text, false);
            }
            Self::Slow(rule) => rule.push(id, &token, &mut state.slow, text),
        }
    }

    /// Appends to `text` what was held back.
    pub(crate) fn finish(&self, state: &mut State, text: &mut String) {
        match self {
            Self::Fallback { .. } => self.flush(state, text),
            Self::ByteLevel => {
                text.push_str(&String::from_utf8_lossy(&state.bytes));
                state.bytes.clear();
            }
            Self::Slow(_) => SlowRule::finish(&mut state.slow, text),
        }
    }

    /// Ends a run of bytes.
    fn flush(&self, state: &mut State, text: &mut String) {
        if state.bytes.is_empty() {
            return;
        }
        let run = std::mem::take(&mut state.bytes);
        let num_bytes = run.len();
        let run = String::from_utf8(run).unwrap_or_else(|_| "\u{FFFD}".repeat(num_bytes));
        self.append(&run, state, text);
    }

    /// Appends text, without what is removed from the start.
    fn append(&self, mut token: &str, state: &mut State, text: &mut String) {
        if let Self::Fallback { strip: Some((unwanted, _)), .. } = self {
            while state.strip > 0 && !token.is_empty() {
                match token.strip_prefix(*unwanted) {
                    Some(rest) => {
                        token = rest;
                        state.strip -= 1;
                    }
                    None => state.strip = 0,
                }
            }
        }
        text.push_str(token);
    }
}

fn replaced(replacements: &[(String, String)], token: &str) -> String {
    let start = token.to_owned();
    replacements.iter().fold(start, |token, (from, to)| token.replace(from.as_str(), to))
}

/// Returns the byte that a token like `<0xE2>` stands for.
pub(crate) fn byte_of(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 { u8::from_str_radix(digits, 16).ok() } else { None }
}

/// Appends the bytes that the characters of a byte-level token stand for; a token with another
/// character, an added one, is its own text.
fn push_bytes_of(token: &str, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    for character in token.chars() {
        let Some(byte) = byte_of_character(character) else {
            bytes.truncate(start);
            bytes.extend(token.as_bytes());
            return;
        };
        bytes.push(byte);
    }
}

/// Returns the byte that a character of a byte-level vocabulary stands for: printable Latin-1
/// characters themselves, and from U+0100 the other bytes in ascending order.
fn byte_of_character(character: char) -> Option<u8> {
    let code = character as u32;
    match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => Some(code as u8),
        0x100..=0x120 => Some((code - 0x100) as u8),
        0x121..=0x142 => Some((code - 0x121 + 0x7F) as u8),
        0x143 => Some(0xAD),
        _ => None,
    }
}

/// Moves from `bytes` to `text` everything but the start of a character. What is not valid is
/// replaced, `each` byte of it or the longest start of a character at once.
pub(super) fn append_certain(bytes: &mut Vec<u8>, text: &mut String, each: bool) {
    let mut rest = bytes.as_slice();
    loop {
        match std::str::from_utf8(rest) {
            Ok(valid) => {
                text.push_str(valid);
                bytes.clear();
                return;
            }
            Err(error) => {
                let (valid, others) = rest.split_at(error.valid_up_to());
                text.push_str(&String::from_utf8_lossy(valid));
                let Some(num_invalid) = error.error_len() else {
                    *bytes = others.to_vec();
                    return;
                };
                text.push_str(&"\u{FFFD}".repeat(if each { num_invalid } else { 1 }));
                rest = &others[num_invalid..];
            }
        }
    }
}
