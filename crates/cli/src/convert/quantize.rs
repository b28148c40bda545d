//! Which tensors become blocks of few bits, and what a file says of it.

use std::collections::BTreeMap;

use checkpoint::{Dtype, MetadataValue};
use model::Quantization;
use model::quantization::Choice;

use crate::files;

/// The types of a model's matrices, and what was not as wanted.
pub(super) struct Mix {
    quantization: Quantization,
    /// How many tensors became which type because their rows are not whole blocks of the wanted one.
    instead: BTreeMap<&'static str, usize>,
    /// How many stay as they are because their rows are whole blocks of none.
    kept: usize,
}

impl Mix {
    pub(super) fn new(quantization: Quantization) -> Self {
        Self { quantization, instead: BTreeMap::new(), kept: 0 }
    }

    /// Returns the type of blocks of a tensor, none if it stays as it is.
    pub(super) fn choose(&mut self, name: &str, shape: &[usize]) -> Option<Dtype> {
        let choice = self.quantization.choose(name, shape);
        match choice {
            Choice::Instead(dtype) => *self.instead.entry(dtype.name()).or_default() += 1,
            Choice::NoWholeBlocks => self.kept += 1,
            Choice::Wanted(_) | Choice::NoMatrix => {}
        }
        choice.dtype()
    }

    /// Returns what was not as wanted.
    pub(super) fn report(&self) -> Vec<String> {
        let instead = self.instead.iter().map(|(name, number)| {
            let tensors = files::count(*number, "tensor");
            format!("{tensors} became {name}: the rows are no whole blocks of 256 elements")
        });
        let kept = (self.kept > 0).then(|| {
            let tensors = files::count(self.kept, "tensor");
            format!("{tensors} kept their type: the rows are no whole blocks of 32 elements")
        });
        instead.chain(kept).collect()
    }
}

/// Returns a file's metadata.
pub(super) fn metadata(quantization: Option<Quantization>) -> BTreeMap<String, MetadataValue> {
    let mut metadata = BTreeMap::new();
    let mut put = |key: &str, value| metadata.insert(format!("general.{key}"), value);
    put("architecture", MetadataValue::Text("aki".to_owned()));
    // The format's numbers for what most of a file is in.
    let file_type = match quantization {
        None => return metadata,
        Some(Quantization::Q4_0) => 2,
        Some(Quantization::Q8_0) => 7,
        Some(Quantization::Q4K) => 15,
        Some(Quantization::Q5K) => 17,
        Some(Quantization::Q6K) => 18,
    };
    put("file_type", MetadataValue::U32(file_type));
    put("quantization_version", MetadataValue::U32(2));
    metadata
}
