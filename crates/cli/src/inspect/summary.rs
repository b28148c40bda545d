//! A checkpoint in a few lines: parts, parameters, types, and what does not fit.

use std::collections::BTreeMap;
use std::fmt;

use checkpoint::Checkpoint;
use model::AkiConfig;
use serde::Serialize;

use crate::files;
use crate::load::Model;

/// How many tensors of a kind are listed by name.
const MAX_LISTED: usize = 12;

/// What a checkpoint holds.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    model: String,
    config: Shape,
    parts: Vec<Part>,
    num_tensors: usize,
    parameters: u64,
    bytes: u64,
    /// Tensors that the configuration asks for and the checkpoint lacks.
    missing: Vec<String>,
    /// Tensors that the configuration does not ask for.
    unused: Vec<String>,
    /// Tensors of another shape than the configuration's.
    misshaped: Vec<String>,
}

/// The sizes that describe a model.
#[derive(Debug, Serialize)]
struct Shape {
    image_size: usize,
    num_vision_tokens: usize,
    initial_tokenizer_len: usize,
}

/// The tensors whose names start alike.
#[derive(Debug, Serialize)]
struct Part {
    name: String,
    num_tensors: usize,
    parameters: u64,
    bytes: u64,
    /// Parameters by number type.
    dtypes: BTreeMap<&'static str, u64>,
}

impl Summary {
    /// Compares what a checkpoint holds with what its configuration asks for.
    pub(super) fn new(model: &Model, config: &AkiConfig, checkpoint: &Checkpoint) -> Self {
        let expected: BTreeMap<String, Vec<usize>> = config.tensor_shapes().into_iter().collect();
        let mut parts: BTreeMap<String, Part> = BTreeMap::new();
        let (mut unused, mut misshaped) = (Vec::new(), Vec::new());
        for name in checkpoint.names() {
            let Some(tensor) = checkpoint.tensor(name) else { continue };
            let prefix = name.split('.').next().unwrap_or(name);
            let part = parts.entry(prefix.to_owned()).or_insert_with(|| Part::new(prefix));
            let parameters = tensor.shape.iter().product::<usize>() as u64;
            part.num_tensors += 1;
            part.parameters += parameters;
            part.bytes += tensor.bytes.len() as u64;
            *part.dtypes.entry(tensor.dtype.name()).or_default() += parameters;
            match expected.get(name) {
                None => unused.push(name.to_owned()),
                Some(shape) if *shape != tensor.shape => misshaped
                    .push(format!("`{name}` has shape {:?}, expected {shape:?}", tensor.shape)),
                Some(_) => {}
            }
        }
        let missing = expected.keys().filter(|name| checkpoint.tensor(name).is_none()).cloned();
        let parts: Vec<Part> = parts.into_values().collect();
        Self {
            model: model.to_string(),
            config: Shape {
                image_size: config.image_size,
                num_vision_tokens: config.num_vision_tokens,
                initial_tokenizer_len: config.initial_tokenizer_len,
            },
            num_tensors: parts.iter().map(|part| part.num_tensors).sum(),
            parameters: parts.iter().map(|part| part.parameters).sum(),
            bytes: parts.iter().map(|part| part.bytes).sum(),
            missing: missing.collect(),
            parts,
            unused,
            misshaped,
        }
    }
}

impl Part {
    fn new(name: &str) -> Self {
        let dtypes = BTreeMap::new();
        Self { name: name.to_owned(), num_tensors: 0, parameters: 0, bytes: 0, dtypes }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.model)?;
        writeln!(
            f,
            "images of {0} x {0} pixels become {1} vision tokens; the vocabulary is extended from {2} on\n",
            self.config.image_size,
            self.config.num_vision_tokens,
            self.config.initial_tokenizer_len
        )?;
        writeln!(f, "{:<18} {:>8} {:>15} {:>10}  types", "part", "tensors", "parameters", "size")?;
        for part in &self.parts {
            let dtypes: Vec<&str> = part.dtypes.keys().copied().collect();
            writeln!(
                f,
                "{:<18} {:>8} {:>15} {:>10}  {}",
                part.name,
                part.num_tensors,
                thousands(part.parameters),
                files::size(part.bytes),
                dtypes.join(", ")
            )?;
        }
        writeln!(
            f,
            "{:<18} {:>8} {:>15} {:>10}",
            "all",
            self.num_tensors,
            thousands(self.parameters),
            files::size(self.bytes)
        )?;
        list(f, "missing", &self.missing)?;
        list(f, "unused", &self.unused)?;
        list(f, "misshaped", &self.misshaped)
    }
}

/// Lists the first of some tensors.
fn list(f: &mut fmt::Formatter<'_>, what: &str, names: &[String]) -> fmt::Result {
    if names.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n{what}: {}", files::count(names.len(), "tensor"))?;
    for name in names.iter().take(MAX_LISTED) {
        writeln!(f, "  {name}")?;
    }
    if names.len() > MAX_LISTED {
        writeln!(f, "  and {} more", names.len() - MAX_LISTED)?;
    }
    Ok(())
}

/// Returns a number with its digits in groups of three.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_three() {
        let numbers = [0, 999, 1000, 4_330_957_954];
        assert_eq!(numbers.map(thousands), ["0", "999", "1,000", "4,330,957,954"]);
    }
}
