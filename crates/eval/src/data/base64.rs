//! Base64 as it comes: whether it is some, and its hash.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::rules::python;

/// What a cell of images holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One image.
    One,
    /// A list literal of images.
    List,
}

/// Looks at base64 without keeping it.
#[derive(Clone, Debug)]
pub(super) struct Base64Check {
    len: usize,
    hash: u64,
    padding: usize,
    first: Option<u8>,
    /// The first byte that is wrong, and where.
    wrong: Option<(usize, u8)>,
}

impl Default for Base64Check {
    fn default() -> Self {
        // FNV-1a.
        Self { len: 0, hash: 0xcbf2_9ce4_8422_2325, padding: 0, first: None, wrong: None }
    }
}

impl Base64Check {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.first = self.first.or(bytes.first().copied());
        let is_list = self.first == Some(b'[');
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            self.len += 1;
            if is_list || self.wrong.is_some() {
                continue;
            }
            let is_digit = byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
            if *byte == b'=' && self.padding < 2 {
                self.padding += 1;
            } else if !is_digit || self.padding > 0 {
                self.wrong = Some((self.len - 1, *byte));
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// Says what it was, or what is wrong with it.
    pub(super) fn finish(&self) -> Result<Kind, String> {
        if self.first == Some(b'[') {
            return Ok(Kind::List);
        }
        if let Some((at, byte)) = self.wrong {
            let shown = char::from(byte).escape_debug().to_string();
            return Err(format!("character {at} is `{shown}`, expected base64 of an image"));
        }
        if !self.len.is_multiple_of(4) {
            return Err(format!(
                "the base64 is truncated: {} characters, expected a multiple of 4",
                self.len
            ));
        }
        Ok(Kind::One)
    }
}

/// Decodes the images of a cell: one, or a list of them.
pub(super) fn decode(cell: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let one = |text: &str| {
        STANDARD.decode(text).map_err(|error| format!("expected base64 of an image, found {error}"))
    };
    let text = std::str::from_utf8(cell).map_err(|_| "the cell is not text".to_owned())?;
    if text.starts_with('[') {
        let list = python::list(text).ok_or("expected a list of base64, as in ['...', '...']")?;
        return list.iter().map(|text| one(text)).collect();
    }
    Ok(vec![one(text)?])
}
