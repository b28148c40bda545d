//! Text to ids, layout and labels, for captions and for instructions.
//!
//! The tokens with a meaning come from the form of the text alone; in the text of a dataset they
//! are spelled-out characters.

use prompt::{ChatTemplate, Message, Part, SpecialTokens, Tokenizer, layout_of};
use sequence::{Layout, SpanKind, TokenId};
use serde::{Deserialize, Serialize};

use super::Error;

/// Whether the image comes before the text or after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SegmentOrder {
    /// The image, then the caption or the question.
    #[default]
    ImageText,
    /// The caption or the question, then the image.
    TextImage,
}

/// How text is encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncoderConfig {
    /// How many positions an image takes.
    pub num_vision_tokens: usize,
    /// The most ids of a text, BOS, EOS and `<image>` included: 128 for captions, 512 for
    /// instructions in the paper.
    pub max_text_tokens: usize,
    /// Where the image is.
    pub order: SegmentOrder,
    /// The token that ends a text.
    pub end: String,
}

impl EncoderConfig {
    /// Returns the paper's settings for captions.
    pub fn captions(num_vision_tokens: usize) -> Self {
        Self {
            num_vision_tokens,
            max_text_tokens: 128,
            order: SegmentOrder::ImageText,
            end: "<|endoftext|>".to_owned(),
        }
    }

    /// Returns the paper's settings for instructions.
    pub fn instructions(num_vision_tokens: usize) -> Self {
        Self { max_text_tokens: 512, ..Self::captions(num_vision_tokens) }
    }
}

/// A text to learn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedText {
    /// One id for every position that is not an image's, and one for every image.
    pub ids: Vec<TokenId>,
    /// What the positions are.
    pub layout: Layout,
    /// For each position of the layout the id to be predicted there, if it is to be learned.
    pub labels: Vec<Option<u32>>,
}

/// Makes ids and labels of text; cloning it is cheap, and threads may share it.
#[derive(Clone, Debug)]
pub struct Encoder {
    tokenizer: Tokenizer,
    template: ChatTemplate,
    config: EncoderConfig,
    special: SpecialTokens,
    end: TokenId,
}

impl Encoder {
    /// Returns an encoder; `template` gives the instructions before a question.
    ///
    /// # Errors
    /// If the tokenizer lacks a token, or not even `<image>` has room in a text.
    pub fn new(
        tokenizer: Tokenizer,
        template: ChatTemplate,
        config: EncoderConfig,
    ) -> Result<Self, Error> {
        const LEAST: usize = 3;
        if config.max_text_tokens < LEAST {
            return Err(Error::Setting {
                setting: "max_text_tokens",
                found: config.max_text_tokens.to_string(),
                expected: "at least 3, for BOS, `<image>` and a token",
            });
        }
        let special = SpecialTokens::find(&tokenizer)?;
        let end = tokenizer.id_of(&config.end).ok_or_else(|| Error::MissingEnd {
            token: config.end.clone(),
            file: tokenizer.file().to_owned(),
        })?;
        Ok(Self { tokenizer, template, config, special, end })
    }

    /// Returns the settings.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// Encodes a caption: BOS `<image>{caption}<|endofchunk|>` EOS, or with the image behind the
    /// caption, all of it to be learned. A long caption loses its end.
    ///
    /// # Errors
    /// If the vocabulary cannot represent the text.
    pub fn caption(&self, caption: &str) -> Result<EncodedText, Error> {
        let caption = caption.trim();
        let image = self.special.image;
        let mut ids = self.opening("<image>", &[image])?;
        match self.config.order {
            SegmentOrder::ImageText => {
                ids.push(image);
                ids.extend(self.tokenizer.encode_literal(caption, false)?);
            }
            SegmentOrder::TextImage => {
                ids.truncate(1);
                ids.extend(self.tokenizer.encode_literal(caption, true)?);
                ids.truncate(self.config.max_text_tokens - 1);
                ids.push(image);
            }
        }
        ids.extend([self.special.end_of_chunk, self.end]);
        self.finish(ids, true)
    }

    /// Encodes an instruction: the template's system message, the user's `input` with the image if
    /// there is one, and the reply `target`, of which every token and EOS is to be learned.
    ///
    /// A text that is cut off before the reply has nothing to be learned; with the image behind the
    /// question it may have lost the image too.
    ///
    /// # Errors
    /// If the vocabulary cannot represent the text.
    pub fn instruction(
        &self,
        input: &str,
        target: &str,
        has_image: bool,
    ) -> Result<EncodedText, Error> {
        self.conversation(&[(input.to_owned(), target.to_owned())], has_image)
    }

    /// Encodes a conversation, turns of an input and its reply, as [`Self::instruction`] does for
    /// one. The image is in the first turn. Of every reply all tokens are to be learned, and after
    /// them EOS, also where the template closes the reply with another token.
    ///
    /// # Errors
    /// If there is no turn, or the vocabulary cannot represent the text.
    pub fn conversation(
        &self,
        turns: &[(String, String)],
        has_image: bool,
    ) -> Result<EncodedText, Error> {
        let Some(((input, target), further)) = turns.split_first() else {
            return Err(Error::Empty { stream: "a conversation".to_owned() });
        };
        let content = match (has_image, self.config.order) {
            (false, _) => vec![Part::Text(input.to_owned())],
            (true, SegmentOrder::ImageText) => vec![Part::Image, Part::Text(format!("\n{input}"))],
            (true, SegmentOrder::TextImage) => vec![Part::Text(format!("{input}\n")), Part::Image],
        };
        let mut messages = vec![Message::user(content), Message::assistant(target)];
        for (input, target) in further {
            messages.push(Message::user(vec![Part::Text(input.clone())]));
            messages.push(Message::assistant(target));
        }
        let encoded = self.template.encode(&self.tokenizer, &messages, 1)?;
        let first = if self.template.system.is_some() { "<|system|>" } else { "<|user|>" };
        let roles = [self.special.system, self.special.user];
        let mut ids = self.opening(first, &roles)?;
        // The template opens with `<s> `, and closes the reply with `<|end|>\n`; training has
        // neither the space nor the closing.
        let start = encoded.ids.iter().position(|id| roles.contains(id)).unwrap_or(0);
        let end = encoded.ids.iter().rposition(|id| *id == self.special.end);
        ids.extend(&encoded.ids[start..end.unwrap_or(encoded.ids.len()).max(start)]);
        ids.push(self.end);
        self.finish(ids, false)
    }

    /// Returns BOS and whatever the tokenizer puts between it and the token that starts a text.
    fn opening(&self, token: &str, stops: &[TokenId]) -> Result<Vec<TokenId>, Error> {
        let mut ids = self.tokenizer.encode(token, true)?;
        let len = ids.iter().position(|id| stops.contains(id)).unwrap_or(0);
        ids.truncate(len);
        if ids.first() != Some(&self.special.bos) {
            ids.insert(0, self.special.bos);
        }
        Ok(ids)
    }

    /// Cuts the ids to length and labels them: all of them, or what follows the mark of the reply.
    fn finish(&self, mut ids: Vec<TokenId>, learn_all: bool) -> Result<EncodedText, Error> {
        ids.truncate(self.config.max_text_tokens);
        let layout = layout_of(&ids, None, &self.special, self.config.num_vision_tokens)?;
        let mut labels = Vec::with_capacity(layout.len());
        let mut learn = learn_all;
        for slot in layout.slots() {
            match slot.kind {
                SpanKind::Text(_) if learn => {
                    for id in &ids[slot.ids] {
                        // What closes a reply in a conversation is predicted as EOS, and what the
                        // user says then is given.
                        let closes = !learn_all && *id == self.special.end;
                        labels.push(learn.then_some(if closes { self.end.0 } else { id.0 }));
                        learn &= !closes;
                    }
                }
                kind => {
                    // The mark itself is given, and only what follows it is learned.
                    learn |= kind == SpanKind::ReplyMark;
                    labels.extend(slot.positions.map(|_| None));
                }
            }
        }
        Ok(EncodedText { ids, layout, labels })
    }
}
