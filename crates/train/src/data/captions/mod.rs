//! The captions of the three caption sets, out of the `.txt` beside each picture.

mod literal;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::literal::Literal;
use super::augment::FractionBox;

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

/// A part of a picture and what it shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// What it shows.
    pub phrase: String,
    /// Where it is.
    pub corners: FractionBox,
}

impl Region {
    /// Returns whether a point is in the ellipse that the box is around: the corners of a box are
    /// seldom a part of what is in it.
    pub(crate) fn contains(&self, [x, y]: [f64; 2]) -> bool {
        let [left, top, right, bottom] = self.corners;
        let from_middle = |at: f64, low: f64, high: f64| (2.0 * at - low - high) / (high - low);
        let (across, down) = (from_middle(x, left, right), from_middle(y, top, bottom));
        across * across + down * down <= 1.0
    }
}

/// Returns the regions of a grounding caption, those in front last: what stands before each
/// `<bbox>[left, top][right, bottom]</bbox>`, as in BLIP3-grounding-50m.
///
/// # Errors
/// If the text is not of that form.
pub fn regions(text: &[u8]) -> Result<Vec<Region>, CaptionError> {
    let missing = CaptionError::Missing { expected: "a list of lists that start with a text" };
    let Literal::List(entries) = Literal::parse(std::str::from_utf8(text)?)? else {
        return Err(missing);
    };
    let mut regions = Vec::new();
    for entry in entries {
        let Literal::List(parts) = entry else { return Err(missing) };
        let Some(Literal::Text(text)) = parts.into_iter().next() else { return Err(missing) };
        for piece in text.split("</bbox>") {
            let Some((phrase, corners)) = piece.split_once("<bbox>") else { continue };
            let numbers = corners.split(['[', ']', ',']).map(str::trim).filter(|it| !it.is_empty());
            let numbers: Result<Vec<f64>, _> = numbers.map(str::parse).collect();
            let corners = numbers.ok().and_then(|numbers| FractionBox::try_from(numbers).ok());
            let corners =
                corners.ok_or(CaptionError::Missing { expected: "four numbers in a box" })?;
            let phrase = phrase.trim_matches(|it: char| it.is_whitespace() || it == ',').to_owned();
            regions.push(Region { phrase, corners });
        }
    }
    Ok(regions)
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
