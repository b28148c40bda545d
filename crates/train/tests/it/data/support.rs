//! What the tests of the data share.

use std::path::PathBuf;

use checkpoint::Checkpoint;
use prompt::{ChatTemplate, Tokenizer};
use train::data::{Encoder, EncoderConfig};

/// The golden models.
pub(crate) const SETS: [&str; 3] = ["base", "gqa", "longrope"];
/// The vision tokens of an image in the goldens.
pub(crate) const VISION_TOKENS: usize = 8;

/// Returns the path of a file of the goldens.
pub(crate) fn golden(file: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../goldens")).join(file)
}

/// Returns the tokenizer of a golden model.
pub(crate) fn tokenizer(set: &str) -> Tokenizer {
    Tokenizer::open(golden(&format!("{set}/model"))).expect("the goldens have a tokenizer")
}

/// Returns an encoder of the golden vocabulary with changed settings.
pub(crate) fn encoder(change: impl FnOnce(&mut EncoderConfig)) -> Encoder {
    let mut config = EncoderConfig::instructions(VISION_TOKENS);
    "</s>".clone_into(&mut config.end);
    change(&mut config);
    Encoder::new(tokenizer("base"), ChatTemplate::default(), config).expect("all tokens are there")
}

/// Reads integers of a golden file, one list for each row.
pub(crate) fn rows(set: &str, name: &str) -> Vec<Vec<i64>> {
    let file = Checkpoint::open(golden(&format!("{set}/train_batch.safetensors")))
        .expect("the goldens are in the repository");
    let tensor = file.tensor(name).expect("the golden has it");
    let width = *tensor.shape.last().expect("it has rows");
    let (values, _) = tensor.bytes.as_chunks::<8>();
    let values: Vec<_> = values.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect();
    values.chunks(width).map(<[i64]>::to_vec).collect()
}
