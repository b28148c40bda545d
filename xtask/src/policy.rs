//! The page on a new policy: what it changes applies to these sources, and passes the tests that
//! run on every policy.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::docs::lines_of_blocks;
use crate::workspace::{self, Workspace, read};

/// The page.
const PAGE: &str = "docs/src/new-policy.md";
/// What its changes are in, and what its tests read.
const CRATE: &str = "crates/sequence";
const GOLDENS: &str = "goldens";

/// Changes a copy of the crate as the page says, and tests it.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let page = read(&workspace.path(PAGE))?;
    let changes = lines_of_blocks(&page, "```diff").join("\n") + "\n";
    ensure!(changes.contains("@@"), "{PAGE} changes nothing");
    let copy = workspace.path("target/new-policy");
    let earlier = copy.join(CRATE);
    if earlier.is_dir() {
        fs::remove_dir_all(&earlier)
            .with_context(|| format!("cannot remove `{}`", earlier.display()))?;
    }
    for name in [CRATE, GOLDENS] {
        copy_all(&workspace.path(name), &copy.join(name))?;
    }
    // A workspace of one crate, with the versions and lints of this one.
    let whole = read(&workspace.path("Cargo.toml"))?;
    let own = |line: &&str| !line.starts_with("members") && !line.starts_with("default-members");
    let rest: Vec<&str> = whole.lines().filter(own).collect();
    let manifest = rest.join("\n").replacen("[workspace]", &workspace_of_one(), 1);
    put(&copy.join("Cargo.toml"), manifest.as_bytes())?;
    put(&copy.join("Cargo.lock"), &fs::read(workspace.path("Cargo.lock"))?)?;
    let patch = copy.join("page.diff");
    put(&patch, changes.as_bytes())?;
    let mut apply = workspace.command("git");
    // It is no repository of its own, and must not be taken for a part of the one around it.
    apply.args(["apply", "page.diff"]).current_dir(&copy);
    apply.env("GIT_CEILING_DIRECTORIES", workspace.path("target"));
    workspace::run(apply).with_context(|| format!("the changes of {PAGE} do not apply"))?;
    let mut tests = workspace.command("cargo");
    tests.args(["test", "--quiet", "-p", "sequence"]).current_dir(&copy);
    tests.env("CARGO_TARGET_DIR", copy.join("target"));
    workspace::run(tests)
}

/// Returns the head of a manifest of a workspace that has the crate alone.
fn workspace_of_one() -> String {
    format!("[workspace]\nmembers = [\"{CRATE}\"]")
}

/// Copies a folder with all that is in it.
fn copy_all(from: &Path, to: &Path) -> Result<()> {
    let list = || format!("cannot list `{}`", from.display());
    for entry in fs::read_dir(from).with_context(list)? {
        let path = entry.with_context(list)?.path();
        let target = to.join(path.file_name().context("an entry has a name")?);
        if path.is_dir() {
            copy_all(&path, &target)?;
        } else {
            put(&target, &fs::read(&path)?)?;
        }
    }
    Ok(())
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().context("a file is in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    fs::write(path, bytes).with_context(|| format!("cannot write `{}`", path.display()))
}
