//! Several streams as one, each as often as its weight says.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rng::mix;
use super::{Error, SampleRng, Source, Task};

/// Sets the choices between streams apart from those within them.
const CHOICE: u64 = 0x6368_6f69_6365;

/// One stream of a mixture.
pub struct Mixed {
    /// What it is called.
    pub name: String,
    /// How often it is chosen, in proportion to the others.
    pub weight: f64,
    /// The stream.
    pub source: Box<dyn Source>,
}

/// An endless stream of tasks of other streams, each chosen at random by the weights, whatever was
/// chosen before.
///
/// The n-th choice depends on the seed and n alone.
pub struct Mixture {
    parts: Vec<Mixed>,
    total: f64,
    seed: u64,
    num_drawn: u64,
}

/// A place in the stream as it is saved.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    seed: u64,
    num_drawn: u64,
    parts: Vec<PartPosition>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartPosition {
    name: String,
    /// As text, which is read as it was written.
    weight: String,
    source: Value,
}

impl Mixture {
    /// Returns the mixture; the weights need not add up to anything.
    ///
    /// # Errors
    /// If there is no stream, or a weight is not above zero.
    pub fn new(parts: Vec<Mixed>, seed: u64) -> Result<Self, Error> {
        if parts.is_empty() {
            return Err(Error::Empty { stream: "a mixture of no data sets".to_owned() });
        }
        let total: f64 = parts.iter().map(|part| part.weight).sum();
        for part in &parts {
            check_weight(&part.name, part.weight)?;
        }
        Ok(Self { parts, total, seed: mix(seed, CHOICE), num_drawn: 0 })
    }

    /// Returns which stream is next.
    fn choose(&self) -> usize {
        let mut left = SampleRng::new(self.seed, self.num_drawn).unit() * self.total;
        let reached = self.parts.iter().position(|part| {
            left -= part.weight;
            left < 0.0
        });
        // Rounding may leave a little beyond the last.
        reached.unwrap_or(self.parts.len() - 1)
    }
}

/// Checks that a weight can be a share.
pub(super) fn check_weight(name: &str, weight: f64) -> Result<(), Error> {
    if weight > 0.0 && weight.is_finite() {
        return Ok(());
    }
    Err(Error::Setting {
        setting: "weight",
        found: format!("{weight} for data set `{name}`"),
        expected: "a number above 0",
    })
}

impl Source for Mixture {
    fn next(&mut self) -> Result<Task, Error> {
        let chosen = self.choose();
        self.num_drawn += 1;
        self.parts[chosen].source.next()
    }

    fn position(&self) -> Value {
        let part = |part: &Mixed| PartPosition {
            name: part.name.clone(),
            weight: part.weight.to_string(),
            source: part.source.position(),
        };
        let position = Position {
            seed: self.seed,
            num_drawn: self.num_drawn,
            parts: self.parts.iter().map(part).collect(),
        };
        serde_json::to_value(position).expect("numbers and names can be written as JSON")
    }

    fn seek(&mut self, position: &Value) -> Result<(), Error> {
        let wrong = |reason: String| Error::Position {
            stream: "the mixture of data sets".to_owned(),
            reason,
        };
        let position = Position::deserialize(position).map_err(|error| wrong(error.to_string()))?;
        let list = |parts: Vec<(&str, String)>| {
            let parts = parts.iter().map(|(name, weight)| format!("`{name}` of weight {weight}"));
            parts.collect::<Vec<_>>().join(", ")
        };
        let saved = position.parts.iter().map(|part| (&*part.name, part.weight.clone()));
        let ours = self.parts.iter().map(|part| (&*part.name, part.weight.to_string()));
        let (found, expected) = (list(saved.collect()), list(ours.collect()));
        if found != expected {
            return Err(wrong(format!("it is of {found}, expected {expected}")));
        }
        if position.seed != self.seed {
            return Err(wrong("it has another seed".to_owned()));
        }
        for (part, saved) in self.parts.iter_mut().zip(&position.parts) {
            part.source.seek(&saved.source)?;
        }
        self.num_drawn = position.num_drawn;
        Ok(())
    }
}

impl std::fmt::Debug for Mixed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mixed")
            .field("name", &self.name)
            .field("weight", &self.weight)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Mixture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mixture")
            .field("parts", &self.parts)
            .field("num_drawn", &self.num_drawn)
            .finish_non_exhaustive()
    }
}
