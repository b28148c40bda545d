//! Reading what the user names: files, and standard input as `-`.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result};
use prompt::{Preprocessor, RgbImage};

/// Reads a file, or standard input if it is named `-`.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    if is_stdin(path) {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).context("cannot read standard input")?;
        return Ok(bytes);
    }
    fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))
}

/// Reads text from a file, or from standard input if it is named `-`.
///
/// # Errors
/// If it cannot be read or is not UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?).with_context(|| format!("{} is not UTF-8 text", name(path)))
}

/// Reads and decodes an image.
///
/// # Errors
/// If it cannot be read or is not an image.
pub(crate) fn image(path: &Path) -> Result<RgbImage> {
    let bytes = read(path)?;
    Preprocessor::decode(&bytes).with_context(|| format!("cannot use {}", name(path)))
}

/// Returns how messages call a file.
fn name(path: &Path) -> String {
    if is_stdin(path) { "standard input".to_owned() } else { format!("`{}`", path.display()) }
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}
