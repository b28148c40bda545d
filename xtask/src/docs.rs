//! The documentation: links lead somewhere, and README.md's commands work.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::workspace::{self, Workspace, read};

/// What a fenced block's first line says if CI runs its commands.
const MARK: &str = "```sh ci";

/// Checks that relative links of every Markdown file lead to a file, and that every page of the
/// book is in its summary.
pub(crate) fn links(workspace: &Workspace) -> Result<()> {
    let mut broken = Vec::new();
    for page in workspace.files("md")? {
        let text = read(&page)?;
        let dir = page.parent().context("a page has a directory")?;
        for target in link_targets(&text) {
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !dir.join(path).exists() {
                broken.push(format!("{} links to `{target}`", workspace.relative(&page)));
            }
        }
    }
    let book = workspace.path("docs/src");
    let summary = read(&book.join("SUMMARY.md"))?;
    for page in workspace.files("md")?.iter().filter(|page| page.starts_with(&book)) {
        let name = page.strip_prefix(&book)?.display().to_string();
        if name != "SUMMARY.md" && !summary.contains(&format!("({name})")) {
            broken.push(format!("docs/src/SUMMARY.md does not list `{name}`"));
        }
    }
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}

/// Returns the targets of inline links, those of the web left out.
fn link_targets(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    let prose = text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    prose
        .flat_map(|line| line.split("](").skip(1))
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
}

/// Runs the commands of README.md that are marked for CI, exactly as they stand there; the tests
/// are a step of their own.
pub(crate) fn readme(workspace: &Workspace) -> Result<()> {
    let readme = read(Path::new(&workspace.path("README.md")))?;
    let commands = marked_commands(&readme);
    ensure!(!commands.is_empty(), "README.md has no block that starts with `{MARK}`");
    for command in commands.iter().filter(|command| !command.contains("cargo test")) {
        println!("$ {command}");
        let start = Instant::now();
        let mut shell = workspace.command("bash");
        shell.args(["-euo", "pipefail", "-c", command]);
        workspace::run(shell)?;
        println!("({:.1} s)", start.elapsed().as_secs_f32());
    }
    Ok(())
}

/// Returns the commands of all marked blocks.
pub(crate) fn marked_commands(markdown: &str) -> Vec<&str> {
    let mut commands = lines_of_blocks(markdown, MARK);
    commands.retain(|line| !line.trim().is_empty());
    commands
}

/// Returns the lines of all fenced blocks whose first line is `mark`.
pub(crate) fn lines_of_blocks<'m>(markdown: &'m str, mark: &str) -> Vec<&'m str> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in markdown.lines() {
        if line.starts_with("```") {
            inside = !inside && line.trim_end() == mark;
        } else if inside {
            lines.push(line);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_marked_blocks_are_run() {
        let markdown = "```sh ci\na\n\nb\n```\n```sh\nc\n```\n```sh ci\nd\n```\n";
        assert_eq!(marked_commands(markdown), ["a", "b", "d"]);
        assert_eq!(lines_of_blocks(markdown, "```sh ci"), ["a", "", "b", "d"]);
        assert_eq!(lines_of_blocks(markdown, "```sh"), ["c"]);
    }

    #[test]
    fn links_of_the_web_and_of_code_are_left_out() {
        let markdown = "[a](b.md#c) [d](https://e)\n```\n[f](g)\n```\n[h](i)";
        assert_eq!(link_targets(markdown).collect::<Vec<_>>(), ["b.md#c", "i"]);
    }
}
