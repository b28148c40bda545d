//! What a text may look like, token by token.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use sequence::TokenId;
use serde_json::{Value, json};

use crate::{Error, Tokenizer};

/// What a text may look like.
#[derive(Clone, Debug, PartialEq)]
pub enum TextForm {
    /// A JSON object, whatever is in it.
    JsonObject,
    /// JSON that a schema describes.
    JsonSchema {
        /// The schema.
        schema: Value,
        /// Whether keywords that cannot be followed are refused; they are ignored otherwise.
        strict: bool,
    },
    /// One of some texts.
    Choice(Vec<String>),
    /// What a regular expression matches as a whole.
    Regex(String),
}

/// Makes [`Grammar`]s for the tokens of a tokenizer; it knows the bytes of each of them.
pub struct GrammarCompiler {
    factory: ParserFactory,
    /// Whether a text's first space is left out when it is shown.
    loses_first_space: bool,
}

impl GrammarCompiler {
    /// Learns the tokens of a tokenizer; `stops` are those that end a text.
    ///
    /// # Errors
    /// If there are no stop tokens, or they are not in the vocabulary.
    pub fn new(tokenizer: &Tokenizer, stops: &[TokenId]) -> Result<Self, Error> {
        let failed = |reason: String| Error::UnusableTokenizer {
            file: tokenizer.file().to_owned(),
            reason: format!("no grammar can be followed with it: {reason}"),
        };
        let size = tokenizer.vocab_size();
        let Some(first) = stops.first().filter(|_| stops.iter().all(|id| (id.0 as usize) < size))
        else {
            return Err(failed("it has no token that ends a text".to_owned()));
        };
        let words: Vec<Vec<u8>> = (0..size as u32)
            .map(TokenId)
            .map(|id| {
                // Tokens without a text of their own can never be a part of one.
                tokenizer.bytes_of(id).filter(|_| !stops.contains(&id)).unwrap_or_default()
            })
            .collect();
        let info = TokRxInfo::new(size as u32, first.0);
        let stops: Vec<u32> = stops.iter().map(|id| id.0).collect();
        let trie = TokTrie::from(&info, &words).with_eos_tokens(&stops);
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory =
            ParserFactory::new_simple(&env).map_err(|error| failed(error.to_string()))?;
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        let loses_first_space = tokenizer.decode_rule().loses_first_space();
        Ok(Self { factory, loses_first_space })
    }

    /// Makes the grammar of a form.
    ///
    /// # Errors
    /// If the form makes no sense or is too complicated, with the reason.
    pub fn compile(&self, form: &TextForm) -> Result<Grammar, Error> {
        let invalid = |reason: String| Error::InvalidGrammar { reason };
        // Models that lose the first space were trained to begin with one.
        let space = if self.loses_first_space { "\" \"? " } else { "" };
        let rule = match form {
            TextForm::JsonObject => format!("%json {}", spaced(json!({"type": "object"}), true)),
            TextForm::JsonSchema { schema, strict } => {
                format!("%json {}", spaced(schema.clone(), *strict))
            }
            TextForm::Choice(texts) => {
                let texts = texts.iter().filter(|text| !text.is_empty());
                let quoted: Vec<String> = texts.map(|text| json!(text).to_string()).collect();
                if quoted.is_empty() {
                    return Err(invalid("there is nothing to choose from".to_owned()));
                }
                format!("({})", quoted.join(" | "))
            }
            TextForm::Regex(regex) => {
                if regex.is_empty() {
                    return Err(invalid("the regular expression is empty".to_owned()));
                }
                format!("/{}/", slashes(regex))
            }
        };
        let grammar = TopLevelGrammar::from_lark(format!("start: {space}body\nbody: {rule}\n"));
        let mut matcher = Matcher::new(self.factory.create_parser(grammar));
        if let Some(reason) = matcher.get_error() {
            return Err(invalid(one_line(&reason)));
        }
        // What can never be fulfilled shows here rather than after the prompt was read.
        matcher.compute_mask_or_eos().map_err(|error| invalid(one_line(&error.to_string())))?;
        Ok(Grammar { matcher: Mutex::new(matcher) })
    }
}

impl fmt::Debug for GrammarCompiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrammarCompiler").finish_non_exhaustive()
    }
}

/// Adds how JSON is spaced, unless the schema says so itself. Spaces of any number would let a
/// model go on with them for ever.
fn spaced(schema: Value, strict: bool) -> Value {
    let mut schema = match schema {
        Value::Object(schema) => schema,
        // `true` and `false` are schemas too.
        other => return other,
    };
    schema.entry("x-guidance").or_insert_with(|| {
        json!({
            "whitespace_flexible": false, "item_separator": ", ", "key_separator": ": ",
            "lenient": !strict,
        })
    });
    Value::Object(schema)
}

/// Writes slashes so that they do not end a regular expression.
fn slashes(regex: &str) -> String {
    let (mut written, mut escaped) = (String::new(), false);
    for letter in regex.chars() {
        if letter == '/' && !escaped {
            written.push('\\');
        }
        written.push(letter);
        escaped = letter == '\\' && !escaped;
    }
    written
}

fn one_line(reason: &str) -> String {
    reason.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A text that is written token by token and has a form; clones go on from where it is.
pub struct Grammar {
    /// The library's matcher may move to another thread, but not be looked at from two.
    matcher: Mutex<Matcher>,
}

impl Grammar {
    /// Sets the logits of tokens that cannot come next to minus infinity.
    ///
    /// # Errors
    /// If finding out takes too much, with the reason.
    pub fn rule_out(&mut self, logits: &mut [f32]) -> Result<(), Error> {
        let matcher = self.matcher.get_mut().unwrap_or_else(PoisonError::into_inner);
        let allowed = matcher.compute_mask_or_eos().map_err(|error| failed(&error))?;
        for (id, logit) in logits.iter_mut().enumerate() {
            // The model's vocabulary may be padded beyond the tokenizer's.
            if id >= allowed.len() || !allowed.is_allowed(id as u32) {
                *logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }

    /// Takes the next token; returns whether the text is complete and nothing can follow.
    ///
    /// # Errors
    /// If the token cannot come next.
    pub fn push(&mut self, id: TokenId) -> Result<bool, Error> {
        let matcher = self.matcher.get_mut().unwrap_or_else(PoisonError::into_inner);
        matcher.consume_token(id.0).map_err(|error| failed(&error))?;
        Ok(matcher.is_stopped())
    }
}

fn failed(error: &impl fmt::Display) -> Error {
    Error::InvalidGrammar { reason: one_line(&error.to_string()) }
}

impl Clone for Grammar {
    fn clone(&self) -> Self {
        let matcher = self.matcher.lock().unwrap_or_else(PoisonError::into_inner);
        // Not even caches are shared, so that replies do not wait for each other.
        Self { matcher: Mutex::new(matcher.deep_clone()) }
    }
}

impl fmt::Debug for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grammar").finish_non_exhaustive()
    }
}
