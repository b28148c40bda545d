//! The checkpoint crate from outside.

#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests do")]

mod convert;
mod gguf;
mod hostile;
mod hub;
mod safetensors;
mod torch;
mod writer;

use std::path::{Path, PathBuf};

use checkpoint::{Bytes, Dtype, Tensor};

#[test]
fn no_test_file_is_forgotten() {
    let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it"));
    let main = std::fs::read_to_string(directory.join("main.rs")).unwrap();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(stem == "main" || main.contains(&format!("mod {stem};\n")), "{stem}");
    }
}

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

fn fixture(name: &str) -> PathBuf {
    Path::new(FIXTURES).join(name)
}

fn f32s(shape: &[usize], values: impl IntoIterator<Item = f32>) -> Tensor {
    let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
    assert_eq!(bytes.len(), shape.iter().product::<usize>() * 4);
    Tensor { dtype: Dtype::F32, shape: shape.to_vec(), bytes: Bytes::from(bytes) }
}

/// Returns the message and its causes on one line, with the directory taken out.
fn message(error: &dyn std::error::Error, directory: &Path) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text.replace(&format!("{}/", directory.display()), "")
        .replace(&*directory.to_string_lossy(), "DIR")
}
