//! The prompt format that AKI was trained with, from messages to ids and a layout.

use sequence::{Layout, Role, SpanKind, TokenId};

use crate::tokenizer::Piece;
use crate::{Error, SpecialTokens, Tokenizer};

/// What the published model was told before every question.
const SYSTEM: &str = "A chat between a curious user and an artificial intelligence assistant. \
                      The assistant gives helpful, detailed, and polite answers to the user's questions.";

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said and shown, in order.
    pub content: Vec<Part>,
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text, taken literally: tokens spelled in it have no meaning.
    Text(String),
    /// The next image.
    Image,
}

/// A prompt as the model reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The ids, one `<image>` for each image.
    pub ids: Vec<TokenId>,
    /// Who speaks where, the vision tokens of each image expanded.
    pub layout: Layout,
}

/// Arranges messages the way the model was trained:
///
/// ```text
/// <s> <|system|>\nINSTRUCTIONS<|end|>\n<|user|>\n<image>\nQUESTION<|end|>\n<|assistant|>\n
/// ```
///
/// A reply follows as text and `<|end|>\n`, and a further turn has the form of the first. An image
/// that comes before the message's text is on a line of its own; one inside the text leaves the
/// text around it as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatTemplate {
    /// The instructions; none leaves the system's message out.
    pub system: Option<String>,
}

impl Default for ChatTemplate {
    fn default() -> Self {
        Self { system: Some(SYSTEM.to_owned()) }
    }
}

impl Message {
    /// Returns a user's message.
    pub fn user(content: Vec<Part>) -> Self {
        Self { role: Role::User, content }
    }

    /// Returns a reply.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self { role: Role::Assistant, content: vec![Part::Text(text.into())] }
    }
}

impl ChatTemplate {
    /// Encodes a conversation; where its last message is the user's, up to the mark that opens the
    /// reply.
    ///
    /// A first message of the system replaces the template's instructions.
    ///
    /// # Errors
    /// If the tokenizer lacks a token, an image is not in a user's message, the system speaks after
    /// the first message, or nobody asks anything.
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        num_vision_tokens: usize,
    ) -> Result<Encoded, Error> {
        let special = SpecialTokens::find(tokenizer)?;
        let mut script = Script::new(special);
        script.opening();
        let num_instructions = match messages.first() {
            Some(first) if first.role == Role::System => {
                script.message(first)?;
                1
            }
            _ => {
                if let Some(system) = &self.system {
                    let content = vec![Part::Text(system.clone())];
                    script.message(&Message { role: Role::System, content })?;
                }
                0
            }
        };
        script.conversation(messages, num_instructions)?;
        script.encode(tokenizer, true, num_vision_tokens)
    }

    /// Encodes what follows a finished reply, its `<|end|>` included: a further question up to the
    /// mark that opens the next reply.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_next_turn(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        num_vision_tokens: usize,
    ) -> Result<Encoded, Error> {
        let mut script = Script::new(SpecialTokens::find(tokenizer)?);
        script.conversation(messages, 0)?;
        script.encode(tokenizer, false, num_vision_tokens)
    }
}

/// Splits a question at every literal `<image>`; without any, all images come first.
///
/// # Errors
/// If the question places another number of images than `num_images`.
pub fn parse_question(text: &str, num_images: usize) -> Result<Vec<Part>, Error> {
    let in_question = text.matches("<image>").count();
    if in_question == 0 {
        let mut parts = vec![Part::Image; num_images];
        parts.push(Part::Text(text.to_owned()));
        return Ok(parts);
    }
    if in_question != num_images {
        return Err(Error::ImageCount { in_question, given: num_images });
    }
    let mut parts = Vec::new();
    for (at, text) in text.split("<image>").enumerate() {
        if at > 0 {
            parts.push(Part::Image);
        }
        if !text.is_empty() {
            parts.push(Part::Text(text.to_owned()));
        }
    }
    Ok(parts)
}

/// The pieces of a prompt and what each of them is.
struct Script {
    special: SpecialTokens,
    pieces: Vec<Piece>,
    kinds: Vec<SpanKind>,
}

impl Script {
    fn new(special: SpecialTokens) -> Self {
        Self { special, pieces: Vec::new(), kinds: Vec::new() }
    }

    fn token(&mut self, id: TokenId, kind: SpanKind) {
        self.pieces.push(Piece::Token(id));
        self.kinds.push(kind);
    }

    /// Appends text; text of one kind between two tokens is one piece, since a tokenizer may merge
    /// across its parts.
    fn text(&mut self, text: &str, kind: SpanKind) {
        match (self.pieces.last_mut(), self.kinds.last()) {
            (Some(Piece::Text(last)), Some(last_kind)) if *last_kind == kind => last.push_str(text),
            _ => {
                self.pieces.push(Piece::Text(text.to_owned()));
                self.kinds.push(kind);
            }
        }
    }

    fn opening(&mut self) {
        let kind = SpanKind::Text(Role::System);
        self.token(self.special.bos, kind);
        self.text(" ", kind);
    }

    /// Appends the turns after the first `skipped` messages, and opens the reply to the last
    /// question.
    fn conversation(&mut self, messages: &[Message], skipped: usize) -> Result<(), Error> {
        let Some(last) = messages[skipped..].last() else {
            return Err(Error::NoQuestion);
        };
        for (index, message) in messages.iter().enumerate().skip(skipped) {
            if message.role == Role::System {
                return Err(Error::SystemNotFirst { index });
            }
            self.message(message)?;
        }
        if last.role == Role::User {
            self.token(self.special.assistant, SpanKind::ReplyMark);
            self.text("\n", SpanKind::Text(Role::Assistant));
        }
        Ok(())
    }

    /// Appends one message with the tokens around it.
    fn message(&mut self, message: &Message) -> Result<(), Error> {
        let kind = SpanKind::Text(message.role);
        match message.role {
            Role::System => self.token(self.special.system, kind),
            Role::User => self.token(self.special.user, kind),
            Role::Assistant => self.token(self.special.assistant, SpanKind::ReplyMark),
        }
        self.text("\n", kind);
        let mut leading = true;
        let mut content = message.content.iter().peekable();
        while let Some(part) = content.next() {
            match part {
                Part::Text(text) => {
                    leading &= text.is_empty();
                    self.text(text, kind);
                }
                Part::Image if message.role != Role::User => {
                    return Err(Error::ImageOutsideQuestion { role: message.role });
                }
                Part::Image => {
                    self.token(self.special.image, SpanKind::Image);
                    let has_line_break =
                        matches!(content.peek(), Some(Part::Text(text)) if text.starts_with('\n'));
                    if leading && !has_line_break {
                        self.text("\n", kind);
                    }
                }
            }
        }
        self.token(self.special.end, kind);
        self.text("\n", kind);
        Ok(())
    }

    fn encode(
        self,
        tokenizer: &Tokenizer,
        opening: bool,
        num_vision_tokens: usize,
    ) -> Result<Encoded, Error> {
        let mut ids = Vec::new();
        let mut layout = Layout::new();
        let encoded = tokenizer.encode_pieces(self.pieces, opening)?;
        for (piece, kind) in encoded.into_iter().zip(self.kinds) {
            let len = if kind == SpanKind::Image { num_vision_tokens } else { piece.len() };
            layout.push(kind, len);
            ids.extend(piece);
        }
        Ok(Encoded { ids, layout })
    }
}
