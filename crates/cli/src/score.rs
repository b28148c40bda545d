//! `aki score`: what stored answers are worth.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use eval::rules::RuleSet;

use crate::args::ScoreArgs;
use crate::output;
use crate::report::Failure;

/// Scores.
pub(crate) fn run(args: &ScoreArgs) -> Result<()> {
    self_test(&args.self_test, args.rules)
}

/// Checks the scorers against a file; differences are the output and a failure.
fn self_test(path: &Path, rules: Option<RuleSet>) -> Result<()> {
    let json =
        fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let test = eval::self_test(&json, rules)
        .with_context(|| format!("cannot use `{}`", path.display()))?;
    output::json(&test)?;
    match test.mismatches.len() {
        0 => Ok(()),
        wrong => Err(Failure::new(format!("{wrong} of {} outputs differ", test.checks)).into()),
    }
}
