//! The report of Table 1 in miniature: made again from the raw logs that are kept, it is the one in
//! the documentation.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::miniature;
use crate::workspace::{self, Workspace, cargo, read};

/// Where the logs are: each archive holds a folder of its name, a run of `aki table1`. A name without a
/// hyphen has a report; what is called `NAME-more` stands beside NAME in it, and has none of its own. Other
/// logs, such as `card-NAME`, of which a page gives numbers, are unpacked and nothing else.
const LOGS: &str = "docs/table1";
const ENDING: &str = ".tar.xz";
/// The run of all rows.
const MAIN: &str = "table1";

/// Makes the reports and compares them.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let names = names(&workspace.path(LOGS))?;
    ensure!(names.iter().any(|name| name == MAIN), "{LOGS} has no {MAIN}{ENDING}");
    cargo(workspace, &["build", "--quiet", "--release", "--package", "cli"])?;
    let scratch = workspace.path("target/table1");
    if scratch.exists() {
        fs::remove_dir_all(&scratch)
            .with_context(|| format!("cannot remove `{}`", scratch.display()))?;
    }
    let runs = scratch.join("runs");
    fs::create_dir_all(&runs).with_context(|| format!("cannot make `{}`", runs.display()))?;
    for name in &names {
        let mut tar = workspace.command("tar");
        tar.arg("-xJf").arg(workspace.path(&format!("{LOGS}/{name}{ENDING}"))).arg("-C").arg(&runs);
        workspace::run(tar)?;
    }
    for name in names.iter().filter(|name| !name.contains('-')) {
        report(workspace, &scratch, (name, &names))?;
    }
    println!("the reports are what the logs of {} say", names.join(", "));
    Ok(())
}

/// Makes one report and compares it.
fn report(workspace: &Workspace, scratch: &Path, (name, all): (&str, &[String])) -> Result<()> {
    let folder = |name: &str| format!("runs/{name}");
    let mut report = workspace.command(&miniature::binary(workspace)?.display().to_string());
    report.args(["table1", "--report", "--output", &folder(name)]).current_dir(scratch);
    let begins = format!("{name}-");
    let others: Vec<String> =
        all.iter().filter(|other| other.starts_with(&begins)).map(|other| folder(other)).collect();
    if !others.is_empty() {
        report.arg("--beside").args(&others);
    }
    workspace::run(report)?;
    let made = scratch.join(folder(name));
    same(&made.join("table1.md"), &workspace.path(&format!("docs/src/{name}-report.md")))?;
    same(&made.join("table1.html"), &workspace.path(&format!("{LOGS}/{name}.html")))?;
    for image in files(&made.join("images"))? {
        let name = image.file_name().unwrap_or_default().to_string_lossy().into_owned();
        same(&image, &workspace.path(&format!("docs/src/images/{name}")))?;
    }
    Ok(())
}

/// Returns the names of the runs whose logs are kept, sorted.
fn names(folder: &Path) -> Result<Vec<String>> {
    let names = files(folder)?;
    let names = names.iter().filter_map(|path| path.file_name()?.to_str()?.strip_suffix(ENDING));
    Ok(names.map(str::to_owned).collect())
}

/// Returns the files of a folder, sorted.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = || format!("cannot list `{}`", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(list)? {
        found.push(entry.with_context(list)?.path());
    }
    found.sort();
    Ok(found)
}

fn same(made: &Path, page: &Path) -> Result<()> {
    let (made_text, page_text) = (read(made)?, read(page)?);
    let line = made_text.lines().zip(page_text.lines()).position(|(made, page)| made != page);
    let line = line.map_or_else(|| "its end".to_owned(), |line| format!("line {}", line + 1));
    ensure!(
        made_text == page_text,
        "`{}` is not what the logs give from {line} on; compare it with `{}`",
        page.display(),
        made.display()
    );
    Ok(())
}
