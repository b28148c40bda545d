//! The options of `aki score`.

use std::path::PathBuf;

use clap::Args;
use eval::rules::RuleSet;

/// Scores stored answers.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  aki score --self-test cases.json")]
pub(crate) struct ScoreArgs {
    /// Check the scorers against a file of inputs and expected outputs; prints what differs as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) self_test: PathBuf,
    /// Which rules tell what an answer says: 2025-03 or head
    #[arg(long, value_name = "RULES")]
    pub(crate) rules: Option<RuleSet>,
}
