//! What an answer says: the rules of `VLMEvalKit`, of the paper's time and of today.

mod math;
mod option;
mod pair;
pub mod python;
mod yes_no;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use self::math::{MathQuestion, MathValue, extract_locally};
pub(crate) use self::option::FAILURE;
pub use self::option::{NONE_OF_THEM, Options, infer, infer_letter, infer_text, letters};
pub use self::pair::parse_pair;
pub use self::yes_no::{YesNo, strip_punctuation};
use crate::Error;

/// The rules of a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuleSet {
    /// Those of the paper's time.
    #[default]
    #[serde(rename = "2025-03")]
    March2025,
    /// Those of August 2026.
    #[serde(rename = "head")]
    Head,
}

impl RuleSet {
    /// Returns the name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::March2025 => "2025-03",
            Self::Head => "head",
        }
    }
}

impl fmt::Display for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RuleSet {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "2025-03" => Ok(Self::March2025),
            "head" => Ok(Self::Head),
            _ => Err(Error::UnknownRuleSet { name: name.to_owned() }),
        }
    }
}
