//! The tests, and one line that sums them up.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::docs::marked_commands;
use crate::workspace::{Workspace, read};

/// Runs README.md's command for the tests and prints the sum of all test binaries at the end.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let readme = read(&workspace.path("README.md"))?;
    let commands = marked_commands(&readme);
    let command = commands.iter().find(|command| command.contains("cargo test"));
    let command = command.context("README.md has no marked command that runs the tests")?;
    println!("$ {command}");
    let mut shell = workspace.command("bash");
    shell.args(["-euo", "pipefail", "-c", command]).stdout(Stdio::piped());
    let mut child = shell.spawn().with_context(|| format!("cannot run {shell:?}"))?;
    let stdout = child.stdout.take().context("the output of the tests is piped")?;
    let (mut passed, mut failed) = (0, 0);
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        println!("{line}");
        if let Some((more_passed, more_failed)) = counts(&line) {
            passed += more_passed;
            failed += more_failed;
        }
    }
    let status = child.wait()?;
    println!("{passed} passed, {failed} failed");
    ensure!(status.success(), "`{command}` failed: {status}");
    ensure!(passed > 0, "`{command}` ran no tests");
    Ok(())
}

/// Reads the closing line of a test binary.
fn counts(line: &str) -> Option<(usize, usize)> {
    let results = line.trim().strip_prefix("test result: ")?;
    let count = |what: &str| {
        let words: Vec<&str> = results.split([' ', ';']).filter(|word| !word.is_empty()).collect();
        let at = words.iter().position(|word| *word == what)?;
        words.get(at.checked_sub(1)?)?.parse().ok()
    };
    Some((count("passed")?, count("failed")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_is_read() {
        let line = "test result: ok. 12 passed; 3 failed; 0 ignored; 0 measured; 1 filtered out";
        assert_eq!(counts(line), Some((12, 3)));
        assert_eq!(counts("running 12 tests"), None);
    }
}
