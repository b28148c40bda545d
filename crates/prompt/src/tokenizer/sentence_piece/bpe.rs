//! `SentencePiece`'s byte-pair encoding: of all neighbours whose join is a piece, join those with
//! the best score first, and of equals the leftmost.
//!
//! A list of ranked merges, as other tokenizers keep, cannot give the same result in all cases: it
//! ranks the ways to split one piece, where `SentencePiece` only looks at the joined piece.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use sequence::TokenId;

use super::SPACE;
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
    /// Whether no piece goes on after a space behind something else, so that words are apart.
    words_are_apart: bool,
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
        let words_are_apart = pieces.keys().all(|piece| word_len(piece) == piece.len());
        Ok(Self { pieces, user_defined, bytes, unknown, words_are_apart })
    }

    /// Returns the id of a normal or user-defined piece.
    pub(super) fn id_of(&self, piece: &str) -> Option<TokenId> {
        self.pieces.get(piece).map(|(id, _)| *id)
    }

    /// Encodes text that is normalised already.
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<TokenId>) {
        let mut last_is_unknown = false;
        let mut rest = text;
        // Where nothing can be joined across them, words are encoded one by one: the same result,
        // in time that does not grow faster than the text.
        while !rest.is_empty() {
            let len = if self.words_are_apart { word_len(rest) } else { rest.len() };
            let (word, others) = rest.split_at(len);
            self.encode_word(word, ids, &mut last_is_unknown);
            rest = others;
        }
    }

    fn encode_word(&self, text: &str, ids: &mut Vec<TokenId>, last_is_unknown: &mut bool) {
        let mut symbols = self.symbols(text);
        self.merge(text, &mut symbols);
        let mut at = Some(0).filter(|_| !symbols.is_empty());
        while let Some(index) = at {
            let symbol = &symbols[index];
            let piece = &text[symbol.start..symbol.end];
            let known = self.id_of(piece);
            match (known, &self.bytes) {
                (Some(id), _) => ids.push(id),
                (None, Some(bytes)) => ids.extend(piece.bytes().map(|b| bytes[usize::from(b)])),
                // A run of unknown characters is one token.
                (None, None) if *last_is_unknown => {}
                (None, None) => ids.push(self.unknown),
            }
            *last_is_unknown = known.is_none();
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

/// Returns the length of the first word: spaces, and what follows up to the next space.
fn word_len(text: &str) -> usize {
    let start = text.len() - text.trim_start_matches(SPACE).len();
    text[start..].find(SPACE).map_or(text.len(), |len| start + len)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a model of pieces with their kinds; of two pieces the earlier has the better score.
    fn model(pieces: &[(&str, u8)]) -> Bpe {
        let mut file = Vec::new();
        for (index, (text, kind)) in pieces.iter().enumerate() {
            let mut piece = vec![0x0A, text.len() as u8];
            piece.extend(text.as_bytes());
            piece.push(0x15);
            piece.extend((-(index as f32)).to_le_bytes());
            piece.extend([0x18, *kind]);
            file.extend([0x0A, piece.len() as u8]);
            file.extend(piece);
        }
        // A trainer's specification with the type BPE.
        file.extend([0x12, 0x02, 0x18, 0x02]);
        Bpe::new(&ModelFile::parse(&file).unwrap()).unwrap()
    }

    fn encode(bpe: &Bpe, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        bpe.encode(text, &mut ids);
        ids.iter().map(|id| id.0).collect()
    }

    #[test]
    fn user_defined_pieces_are_never_joined() {
        let pieces = [("<unk>", 2), ("abc", 1), ("a", 1), ("b", 1), ("c", 1), ("ab", 4), ("ca", 1)];
        assert_eq!(encode(&model(&pieces), "abcab"), [5, 4, 5]);
        let mut normal = pieces;
        normal[5].1 = 1;
        assert_eq!(encode(&model(&normal), "abcab"), [1, 5]);
    }

    #[test]
    fn unknown_characters_in_a_row_are_one_token() {
        let bpe = model(&[("<unk>", 2), ("a", 1), ("\u{2581}", 1)]);
        assert_eq!(encode(&bpe, "xya\u{2581}zz"), [0, 1, 2, 0]);
    }

    #[test]
    fn pieces_that_end_with_a_space_are_found() {
        let bpe =
            model(&[("<unk>", 2), ("a", 1), ("\u{2581}", 1), ("a\u{2581}", 1), ("a\u{2581}a", 1)]);
        assert_eq!(encode(&bpe, "a\u{2581}a\u{2581}"), [3, 3]);
    }
}
