//! The report of Table 1 in miniature: made again from the raw logs that are kept, it is the one in
//! the documentation.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::miniature;
use crate::workspace::{self, Workspace, cargo, read};

/// Where the logs are: each archive holds a folder of its name, a run of `aki table1`.
const LOGS: &str = "docs/table1";
const ENDING: &str = ".tar.xz";
/// The run of all rows, which the others stand beside.
const MAIN: &str = "table1";
/// What is made of it, and where the documentation has it.
const MADE: [(&str, &str); 2] =
    [("table1.md", "docs/src/table1-report.md"), ("table1.html", "docs/table1/table1.html")];

/// Makes the report and compares it.
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
    let folder = |name: &str| format!("runs/{name}");
    let mut report = workspace.command(&miniature::binary(workspace)?.display().to_string());
    report.args(["table1", "--report", "--output", &folder(MAIN)]).current_dir(&scratch);
    let others: Vec<String> =
        names.iter().filter(|name| *name != MAIN).map(|name| folder(name)).collect();
    if !others.is_empty() {
        report.arg("--beside").args(&others);
    }
    workspace::run(report)?;
    let made = runs.join(MAIN);
    for (name, page) in MADE {
        same(&made.join(name), &workspace.path(page))?;
    }
    let images = made.join("images");
    for image in files(&images)? {
        let name = image.file_name().unwrap_or_default().to_string_lossy().into_owned();
        same(&image, &workspace.path(&format!("docs/src/images/{name}")))?;
    }
    println!("the report is what the logs of {} say", names.join(", "));
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
