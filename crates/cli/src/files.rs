//! Directories of checkpoints: preparing them, copying what belongs beside the weights.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::report::Failure;

/// Makes an output directory; one that holds something is only taken with `force`.
///
/// # Errors
/// If it is not empty, no directory, or cannot be made.
pub(crate) fn prepare_output(dir: &Path, force: bool) -> Result<()> {
    if dir.is_dir() {
        let mut entries =
            fs::read_dir(dir).with_context(|| format!("cannot list `{}`", dir.display()))?;
        if entries.next().is_some() && !force {
            let failure =
                Failure::new(format!("output directory `{}` is not empty", dir.display()));
            return Err(failure.hint("--force writes into it all the same").into());
        }
        return Ok(());
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot make directory `{}`", dir.display()))
}

/// Copies the named files that exist; returns their names.
///
/// # Errors
/// If a file cannot be copied, or there is none.
pub(crate) fn copy<'n>(from: &Path, to: &Path, names: &[&'n str]) -> Result<Vec<&'n str>> {
    let mut copied = Vec::new();
    for name in names {
        let source = from.join(name);
        if source.is_file() {
            fs::copy(&source, to.join(name)).with_context(|| {
                format!("cannot copy `{}` to `{}`", source.display(), to.display())
            })?;
            copied.push(*name);
        }
    }
    if copied.is_empty() {
        let wanted = names.join(", ");
        let message = format!("`{}` holds none of {wanted}", from.display());
        return Err(Failure::new(message).into());
    }
    Ok(copied)
}

/// Returns a number of bytes as people write it.
pub(crate) fn size(bytes: u64) -> String {
    let units = ["KB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", units[unit])
}

/// Returns a count with its noun.
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_to_their_unit() {
        assert_eq!(size(999), "999 B");
        assert_eq!(size(8_661_915_908), "8.7 GB");
        assert_eq!(size(999_960), "1.0 MB");
    }
}
