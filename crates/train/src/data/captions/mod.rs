//! The captions of the three caption sets, out of the `.txt` beside each picture.

mod literal;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::literal::Literal;

/// What the text of a sample holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaptionKind {
    /// The caption itself, as in BLIP3-KALE.
    #[default]
    Plain,
    /// A JSON list of captions, of which the second one's `text` counts, as in BLIP3-OCR-200m.
    Ocr,
    /// A Python list of which the first caption of the first entry counts, as in
    /// BLIP3-grounding-50m.
    Grounding,
}

/// Why a text has no caption.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptionError {
    /// The text is not UTF-8.
    #[error("the text is not UTF-8")]
    Utf8(#[from] std::str::Utf8Error),
    /// The text should be JSON and is not.
    #[error("the text is not JSON")]
    Json(#[from] serde_json::Error),
    /// The text should be a Python literal and is not.
    #[error("the text is not a Python literal: expected {expected} at byte {at}")]
    Literal {
        /// What would have been right.
        expected: &'static str,
        /// Where.
        at: usize,
    },
    /// The text is well-formed, but the caption is not in its place.
    #[error("the text has no caption, expected {expected}")]
    Missing {
        /// Where it was looked for.
        expected: &'static str,
    },
    /// The caption is there and has no letters.
    #[error("the caption is empty")]
    Empty,
}

impl CaptionKind {
    /// Returns the caption in the text of a sample, white space around it removed.
    ///
    /// # Errors
    /// If it has none.
    pub fn read(self, text: &[u8]) -> Result<String, CaptionError> {
        let text = std::str::from_utf8(text)?;
        let caption = match self {
            Self::Plain => text.to_owned(),
            Self::Ocr => {
                let value: Value = serde_json::from_str(text)?;
                let missing = CaptionError::Missing { expected: "a second element with a `text`" };
                value[1]["text"].as_str().ok_or(missing)?.to_owned()
            }
            Self::Grounding => first_caption(Literal::parse(text)?)?,
        };
        let caption = caption.trim();
        if caption.is_empty() { Err(CaptionError::Empty) } else { Ok(caption.to_owned()) }
    }
}

/// Returns the first caption of the first entry.
fn first_caption(list: Literal) -> Result<String, CaptionError> {
    let first = |list: Literal| match list {
        Literal::List(items) => items.into_iter().next(),
        _ => None,
    };
    match first(list).and_then(first) {
        Some(Literal::Text(caption)) => Ok(caption),
        _ => Err(CaptionError::Missing { expected: "a list whose first entry starts with a text" }),
    }
}
