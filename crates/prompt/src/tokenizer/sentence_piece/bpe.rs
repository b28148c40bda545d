//! `SentencePiece`'s byte-pair encoding: of all neighbours whose join is a piece, join those with
//! the best score first, and of equals the leftmost.
//!
//! A list of ranked merges, as other tokenizers keep, cannot give the same result in all cases: it
//! ranks the ways to split one piece, where `SentencePiece` only looks at the joined piece.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use sequence::TokenId;

use super::model_file::{ModelFile, PieceKind};

/// The pieces that text is made of.
pub(super) struct Bpe {
    /// Normal and user-defined pieces.
    pieces: HashMap<String, (TokenId, f32)>,
    /// Pieces that are taken whole wherever they occur, longest first.
    user_defined: Vec<String>,
    /// The tokens of the bytes, if unknown characters are spelled by theirs.
    bytes: Option<Vec<TokenId>>,
    unknown: TokenId,
}

impl Bpe {
    /// Prepares the pieces; the error says what is missing.
    pub(super) fn new(model: &ModelFile) -> Result<Self, String> {
        let mut pieces = HashMap::new();
        let mut user_defined = Vec::new();
        let mut unknown = None;
        let mut bytes = vec![None; 256];
        for (id, piece) in (0..).map(TokenId).zip(&model.pieces) {
            match piece.kind {
                PieceKind::Normal => {
                    pieces.insert(piece.text.clone(), (id, piece.score));
                }
                PieceKind::UserDefined => {
                    pieces.insert(piece.text.clone(), (id, piece.score));
                    user_defined.push(piece.text.clone());
                }
                PieceKind::Unknown => unknown = Some(id),
                PieceKind::Byte => {
                    let byte = crate::stream::byte_of(&piece.text)
                        .ok_or_else(|| format!("it holds a byte piece `{}`", piece.text))?;
                    bytes[usize::from(byte)] = Some(id);
                }
                PieceKind::Control => {}
                PieceKind::Unused => return Err("it holds unused pieces".to_owned()),
            }
        }
        user_defined.sort_by_key(|piece| std::cmp::Reverse(piece.len()));
        let bytes: Option<Vec<_>> = bytes.into_iter().collect();
        if model.byte_fallback && bytes.is_none() {
            return Err("it lacks pieces for some bytes".to_owned());
        }
        let unknown = unknown.ok_or("it lacks a piece for unknown characters")?;
        let bytes = bytes.filter(|_| model.byte_fallback);
        Ok(Self { pieces, user_defined, bytes, unknown })
    }

    /// Returns the id of a normal or user-defined piece.
    pub(super) fn id_of(&self, piece: &str) -> Option<TokenId> {
        self.pieces.get(piece).map(|(id, _)| *id)
    }

    /// Encodes text that is normalised already.
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<TokenId>) {
        let mut symbols = self.symbols(text);
        self.merge(text, &mut symbols);
        let mut last_is_unknown = false;
        let mut at = Some(0).filter(|_| !symbols.is_empty());
        while let Some(index) = at {
            let symbol = &symbols[index];
            let piece = &text[symbol.start..symbol.end];
            let known = self.id_of(piece);
            match (known, &self.bytes) {
                (Some(id), _) => ids.push(id),
                (None, Some(bytes)) => ids.extend(piece.bytes().map(|b| bytes[usize::from(b)])),
                // A run of unknown characters is one token.
                (None, None) if last_is_unknown => {}
                (None, None) => ids.push(self.unknown),
            }
            last_is_unknown = known.is_none();
            at = symbol.next;
        }
    }

    /// Splits text into user-defined pieces and characters.
    fn symbols(&self, text: &str) -> Vec<Symbol> {
        let mut symbols = Vec::with_capacity(text.len());
        let mut start = 0;
        while let Some(character) = text[start..].chars().next() {
            let rest = &text[start..];
            let whole = self.user_defined.iter().find(|piece| rest.starts_with(piece.as_str()));
            let end = start + whole.map_or(character.len_utf8(), String::len);
            let index = symbols.len();
            let previous = index.checked_sub(1);
            let next = Some(index + 1).filter(|_| end < text.len());
            symbols.push(Symbol { start, end, previous, next, fixed: whole.is_some() });
            start = end;
        }
        symbols
    }

    fn merge(&self, text: &str, symbols: &mut [Symbol]) {
        let mut agenda = BinaryHeap::new();
        for right in 1..symbols.len() {
            agenda.extend(self.pair(text, symbols, Some(right - 1), Some(right)));
        }
        while let Some(Pair { left, right, start, end, .. }) = agenda.pop() {
            // Either side may have been joined to something else meanwhile.
            let fresh = symbols[left].start == start
                && symbols[left].end == symbols[right].start
                && symbols[right].end == end;
            if !fresh || symbols[left].next != Some(right) {
                continue;
            }
            symbols[left].end = end;
            symbols[left].next = symbols[right].next;
            if let Some(next) = symbols[right].next {
                symbols[next].previous = Some(left);
            }
            // What was joined has no extent of its own any more.
            symbols[right].start = end;
            let (previous, next) = (symbols[left].previous, symbols[left].next);
            agenda.extend(self.pair(text, symbols, previous, Some(left)));
            agenda.extend(self.pair(text, symbols, Some(left), next));
        }
    }

    /// Returns two neighbours as something to join, if their join is a piece.
    fn pair(
        &self,
        text: &str,
        symbols: &[Symbol],
        left: Option<usize>,
        right: Option<usize>,
    ) -> Option<Pair> {
        let (left, right) = (left?, right?);
        if symbols[left].fixed || symbols[right].fixed {
            return None;
        }
        let (start, end) = (symbols[left].start, symbols[right].end);
        let (_, score) = *self.pieces.get(&text[start..end])?;
        Some(Pair { score, left, right, start, end })
    }
}

/// A stretch of the text that is one piece so far.
struct Symbol {
    start: usize,
    end: usize,
    previous: Option<usize>,
    next: Option<usize>,
    /// Whether it is never joined with anything.
    fixed: bool,
}

/// Two neighbours that may be joined.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    start: usize,
    end: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}
