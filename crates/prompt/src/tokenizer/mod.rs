//! The tokenizer: text to ids and back, from either form of its files.

mod added;
mod json;
mod sentence_piece;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use sequence::TokenId;

pub(crate) use self::added::{AddedToken, AddedTokens};
use self::json::JsonTokenizer;
use self::sentence_piece::{SentencePiece, SlowConfig};
use crate::stream::DecodeRule;
use crate::{Error, TextStream};

/// A tokenizer with its added tokens; cloning it is cheap.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
}

struct Inner {
    /// The file it was read from, for messages.
    file: String,
    form: Form,
    added: AddedTokens,
    decode_rule: DecodeRule,
}

/// The two forms of the files.
enum Form {
    Json(Box<JsonTokenizer>),
    SentencePiece(Box<SentencePiece>),
}

/// A part of a text that is taken apart already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Text without any meaning as a token.
    Text(String),
    /// One token.
    Token(TokenId),
}

impl Tokenizer {
    /// Reads the tokenizer of a model's folder: `tokenizer.json`, or else `tokenizer.model` with
    /// `tokenizer_config.json` and `added_tokens.json`.
    ///
    /// # Errors
    /// If there is none, or a file cannot be read or used.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, Error> {
        let dir = dir.as_ref();
        let path = dir.join("tokenizer.json");
        if path.is_file() {
            return Self::parse_json(&read(&path)?, &path.display().to_string());
        }
        let path = dir.join("tokenizer.model");
        if path.is_file() {
            return Self::open_sentence_piece(dir, &path);
        }
        Err(Error::NoTokenizer { dir: dir.to_owned() })
    }

    fn open_sentence_piece(dir: &Path, path: &Path) -> Result<Self, Error> {
        let config_path = dir.join("tokenizer_config.json");
        let invalid = |path: &Path| {
            let file = path.display().to_string();
            move |source| Error::InvalidJson { file, source }
        };
        let mut config = SlowConfig::parse(&read(&config_path)?).map_err(invalid(&config_path))?;
        let added_path = dir.join("added_tokens.json");
        if added_path.is_file() {
            config.add_tokens(&read(&added_path)?).map_err(invalid(&added_path))?;
        }
        let file = path.display().to_string();
        let (form, added, decode_rule) = SentencePiece::new(&read(path)?, config)
            .map_err(|reason| Error::UnusableTokenizer { file: file.clone(), reason })?;
        let form = Form::SentencePiece(Box::new(form));
        Ok(Self { inner: Arc::new(Inner { file, form, added, decode_rule }) })
    }

    /// Parses the contents of a `tokenizer.json`.
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn from_bytes(json: &[u8]) -> Result<Self, Error> {
        Self::parse_json(json, "tokenizer.json")
    }

    fn parse_json(json: &[u8], file: &str) -> Result<Self, Error> {
        let (form, added, decode_rule) = JsonTokenizer::parse(json, file)?;
        let form = Form::Json(Box::new(form));
        Ok(Self { inner: Arc::new(Inner { file: file.to_owned(), form, added, decode_rule }) })
    }

    /// Returns the file that the tokenizer was read from.
    pub fn file(&self) -> &str {
        &self.inner.file
    }

    /// Returns the number of ids, added tokens included.
    pub fn vocab_size(&self) -> usize {
        match &self.inner.form {
            Form::Json(json) => json.vocab_size(),
            Form::SentencePiece(pieces) => pieces.vocab_size(),
        }
    }

    /// Returns the id of a token by its text.
    pub fn id_of(&self, token_text: &str) -> Option<TokenId> {
        match &self.inner.form {
            Form::Json(json) => json.id_of(token_text),
            Form::SentencePiece(pieces) => pieces.id_of(token_text),
        }
    }

    /// Returns the text of a token as the vocabulary spells it.
    pub fn token_text(&self, id: TokenId) -> Option<String> {
        match &self.inner.form {
            Form::Json(json) => json.token_text(id),
            Form::SentencePiece(pieces) => pieces.token_text(id).map(str::to_owned),
        }
    }

    /// Returns the bytes that a token adds to a text; none of an added token, or of one that is not
    /// in the vocabulary.
    ///
    /// A space that the start of a text loses is still there.
    pub fn bytes_of(&self, id: TokenId) -> Option<Vec<u8>> {
        if self.inner.added.get(id).is_some() || self.is_skipped(id) {
            return None;
        }
        self.inner.decode_rule.bytes_of(id, &self.token_text(id)?)
    }

    /// Returns whether a token is skipped when a reply is shown.
    pub fn is_skipped(&self, id: TokenId) -> bool {
        self.inner.added.is_skipped(id)
    }

    /// Encodes a text in which added tokens have their meaning, as the reference does.
    ///
    /// With `add_bos` the tokens are added that the tokenizer puts around a text. For what a user
    /// wrote use [`ChatTemplate`](crate::ChatTemplate), which gives spelled tokens no meaning.
    ///
    /// # Errors
    /// If the vocabulary cannot represent the text.
    pub fn encode(&self, text: &str, add_bos: bool) -> Result<Vec<TokenId>, Error> {
        match &self.inner.form {
            Form::Json(json) => json.encode(text, add_bos).map_err(|source| self.failed(source)),
            Form::SentencePiece(pieces) => {
                let split = self.inner.added.split(&pieces.prepare(text), |_| true);
                let ids = self.encode_pieces(split, !text.is_empty())?.concat();
                Ok(if add_bos { pieces.wrap(ids) } else { ids })
            }
        }
    }

    /// Encodes text in which spelled special tokens have no meaning, for a sequence that is put
    /// together from such text and from tokens.
    ///
    /// `opening` says that it starts the sequence, apart from BOS.
    ///
    /// # Errors
    /// If the vocabulary cannot represent the text.
    pub fn encode_literal(&self, text: &str, opening: bool) -> Result<Vec<TokenId>, Error> {
        Ok(self.encode_pieces(vec![Piece::Text(text.to_owned())], opening)?.concat())
    }

    /// Decodes a whole sequence; ids that are not in the vocabulary are left out.
    pub fn decode(&self, ids: &[TokenId], skip_special: bool) -> String {
        let mut stream = TextStream::with_special(self, skip_special);
        let mut text = String::new();
        for id in ids {
            stream.push_into(*id, &mut text);
        }
        stream.finish_into(&mut text);
        text
    }

    /// Encodes pieces, each on its own, into as many lists of ids.
    ///
    /// White space that a token eats is removed from its neighbours. `opening` says that the pieces
    /// start a sequence.
    pub(crate) fn encode_pieces(
        &self,
        pieces: Vec<Piece>,
        opening: bool,
    ) -> Result<Vec<Vec<TokenId>>, Error> {
        let added = &self.inner.added;
        let mut encoded = Vec::with_capacity(pieces.len());
        for piece in added.strip(pieces) {
            let mut ids = Vec::new();
            // Tokens that are not special have their meaning in a message's text too.
            let parts = match piece {
                // What a token ate still opens a sequence.
                Piece::Text(text) if text.is_empty() => vec![Piece::Text(text)],
                Piece::Text(text) => added.strip(added.split(&text, |token| !token.special)),
                token @ Piece::Token(_) => vec![token],
            };
            for (index, part) in parts.into_iter().enumerate() {
                let at_start = opening && encoded.is_empty() && index == 0;
                match part {
                    Piece::Text(text) => self.encode_run(&text, at_start, &mut ids)?,
                    Piece::Token(id) => {
                        if at_start && let Form::SentencePiece(pieces) = &self.inner.form {
                            ids.extend(pieces.opening());
                        }
                        ids.push(id);
                    }
                }
            }
            encoded.push(ids);
        }
        if opening && let Form::SentencePiece(pieces) = &self.inner.form {
            pieces.drop_opening(&mut encoded);
        }
        Ok(encoded)
    }

    /// Encodes text without tokens in it.
    fn encode_run(&self, text: &str, at_start: bool, ids: &mut Vec<TokenId>) -> Result<(), Error> {
        match &self.inner.form {
            Form::Json(_) if text.is_empty() => Ok(()),
            Form::Json(json) => {
                json.encode_run(text, at_start, ids).map_err(|source| self.failed(source))
            }
            Form::SentencePiece(pieces) => {
                pieces.encode_run(text, at_start, ids);
                Ok(())
            }
        }
    }

    pub(crate) fn decode_rule(&self) -> &DecodeRule {
        &self.inner.decode_rule
    }

    fn failed(&self, source: tokenizers::Error) -> Error {
        Error::Tokenize { file: self.inner.file.clone(), source }
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("file", &self.inner.file)
            .field("vocab_size", &self.vocab_size())
            .finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::ReadFile { path: path.to_owned(), source })
}
