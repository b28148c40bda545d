//! Base64 as it comes: whether it is some, and its hash.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::rules::python;

/// What a cell of images holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One image.
    One,
    /// A list literal of so many images.
    List(usize),
}

/// How many hashes are made side by side, of every fourth byte each: one alone would wait for its
/// own multiplications.
const LANES: usize = 4;

/// Which bytes are digits of base64.
const DIGITS: [bool; 256] = {
    let mut digits = [false; 256];
    let mut byte = 0;
    while byte < digits.len() {
        digits[byte] = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'+' | b'/');
        byte += 1;
    }
    digits
};

/// The digits of one image.
#[derive(Clone, Debug, Default)]
struct Digits {
    len: usize,
    padding: usize,
}

impl Digits {
    /// Takes a byte; false if it cannot be there.
    fn push(&mut self, byte: u8) -> bool {
        self.len += 1;
        if byte == b'=' {
            self.padding += 1;
            return self.padding <= 2;
        }
        self.padding == 0 && DIGITS[usize::from(byte)]
    }

    fn is_whole(&self) -> bool {
        self.len > 0 && self.len.is_multiple_of(4)
    }
}

/// Where in a list literal a byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Between its images.
    Between,
    /// In an image, which ends with this quote.
    Image(u8),
    /// Behind it.
    Behind,
}

/// Looks at base64 without keeping it.
#[derive(Clone, Debug)]
pub(super) struct Base64Check {
    len: usize,
    hashes: [u64; LANES],
    first: Option<u8>,
    digits: Digits,
    at: At,
    /// How many images of a list have ended.
    count: usize,
    /// What is wrong.
    wrong: Option<String>,
}

impl Default for Base64Check {
    fn default() -> Self {
        Self {
            len: 0,
            // FNV-1a.
            hashes: [0xcbf2_9ce4_8422_2325; LANES],
            first: None,
            digits: Digits::default(),
            at: At::Between,
            count: 0,
            wrong: None,
        }
    }
}

impl Base64Check {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.hash_bytes(bytes);
        let mut rest = bytes;
        while let Some((byte, after)) = rest.split_first() {
            if self.is_in_digits() {
                let run = rest.iter().position(|byte| !DIGITS[usize::from(*byte)]);
                let run = run.unwrap_or(rest.len());
                if run > 0 {
                    self.digits.len += run;
                    self.len += run;
                    rest = &rest[run..];
                    continue;
                }
            }
            rest = after;
            self.len += 1;
            // Programs that wrap lines of base64 are common, and Python reads what they write.
            if self.wrong.is_some() || byte.is_ascii_whitespace() {
                continue;
            }
            match self.first {
                None => {
                    self.first = Some(*byte);
                    if *byte != b'[' {
                        self.digit(*byte);
                    }
                }
                Some(b'[') => self.list(*byte),
                Some(_) => self.digit(*byte),
            }
        }
    }

    /// Adds bytes to the hashes, the same wherever a block of them ends.
    fn hash_bytes(&mut self, bytes: &[u8]) {
        let mut add = |lane: usize, byte: u8| {
            let hash = &mut self.hashes[lane];
            *hash = (*hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        };
        let start = self.len % LANES;
        let (head, rest) = bytes.split_at(bytes.len().min((LANES - start) % LANES));
        head.iter().enumerate().for_each(|(at, byte)| add(start + at, *byte));
        let mut chunks = rest.chunks_exact(LANES);
        for chunk in &mut chunks {
            chunk.iter().enumerate().for_each(|(at, byte)| add(at, *byte));
        }
        chunks.remainder().iter().enumerate().for_each(|(at, byte)| add(at, *byte));
    }

    /// Returns whether the next digit is one of an image and nothing is wrong so far.
    fn is_in_digits(&self) -> bool {
        let is_image = match self.first {
            Some(b'[') => matches!(self.at, At::Image(_)),
            first => first.is_some(),
        };
        is_image && self.digits.padding == 0 && self.wrong.is_none()
    }

    fn digit(&mut self, byte: u8) {
        if !self.digits.push(byte) {
            self.refuse(byte, "base64 of an image");
        }
    }

    fn list(&mut self, byte: u8) {
        match (self.at, byte) {
            (At::Between, b'\'' | b'"') => {
                self.at = At::Image(byte);
                self.digits = Digits::default();
            }
            (At::Between, b',') => {}
            (At::Between, b']') => self.at = At::Behind,
            (At::Image(quote), byte) if byte == quote => {
                self.at = At::Between;
                self.count += 1;
                if !self.digits.is_whole() {
                    self.wrong = Some(truncated(
                        &format!("image {} of the list", self.count),
                        self.digits.len,
                    ));
                }
            }
            (At::Image(_), byte) => self.digit(byte),
            (At::Between | At::Behind, byte) => {
                self.refuse(byte, "a list of base64, as in ['...', '...']");
            }
        }
    }

    fn refuse(&mut self, byte: u8, expected: &str) {
        let shown = char::from(byte).escape_debug().to_string();
        self.wrong = Some(format!("character {} is `{shown}`, expected {expected}", self.len - 1));
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn hash(&self) -> u64 {
        let join =
            |all: u64, hash: &u64| (all.rotate_left(17) ^ hash).wrapping_mul(0x0100_0000_01b3);
        self.hashes.iter().fold(0, join)
    }

    /// Says what it was, or what is wrong with it.
    pub(super) fn finish(&self) -> Result<Kind, String> {
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        match (self.first, self.at) {
            (Some(b'['), At::Behind) if self.count > 0 => Ok(Kind::List(self.count)),
            (Some(b'['), At::Behind) => Err("the list has no images".to_owned()),
            (Some(b'['), _) => Err(format!(
                "the list has no end after {} characters, expected `]`: is the cell truncated?",
                self.len
            )),
            _ if !self.digits.is_whole() => Err(truncated("the base64", self.digits.len)),
            _ => Ok(Kind::One),
        }
    }
}

fn truncated(what: &str, len: usize) -> String {
    format!("{what} is truncated: {len} characters, expected a multiple of 4")
}

/// Decodes the images of a cell: one, or a list of them.
pub(super) fn decode(cell: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let one = |text: &str| {
        let decoded = if text.contains(|c: char| c.is_ascii_whitespace()) {
            STANDARD.decode(text.split_ascii_whitespace().collect::<String>())
        } else {
            STANDARD.decode(text)
        };
        decoded.map_err(|error| format!("expected base64 of an image, found {error}"))
    };
    let text = std::str::from_utf8(cell).map_err(|_| "the cell is not text".to_owned())?;
    if text.trim_start().starts_with('[') {
        let list = python::list(text).ok_or("expected a list of base64, as in ['...', '...']")?;
        return list.iter().map(|text| one(text)).collect();
    }
    Ok(vec![one(text)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cell: &str, block: usize) -> (Result<Kind, String>, u64) {
        let mut check = Base64Check::default();
        cell.as_bytes().chunks(block).for_each(|bytes| check.push(bytes));
        assert_eq!(check.len(), cell.len());
        (check.finish(), check.hash())
    }

    #[test]
    fn a_cell_is_the_same_wherever_a_block_ends() {
        let mut hashes = Vec::new();
        for cell in [
            "QUJDREVGR0g=",
            "QUJDREVGR0g",
            "QUJD\nREVG\nR0g=\n",
            "QUJD=REV",
            "QUJD!REV",
            "['QUJD', \"REVG\"]",
            "['QUJD', 'REV']",
            "['QUJD', 'RE-V']",
            "['QUJD'",
            "[]",
            "",
        ] {
            let whole = check(cell, usize::MAX);
            for block in 1..cell.len().max(2) {
                assert_eq!(check(cell, block), whole, "{cell:?} in blocks of {block}");
            }
            hashes.push(whole.1);
        }
        let count = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), count);
        assert_eq!(check("QUJD\nREVG\nR0g=\n", 5).0, Ok(Kind::One));
        assert_eq!(check("['QUJD', \"REVG\"]", 3).0, Ok(Kind::List(2)));
    }
}
