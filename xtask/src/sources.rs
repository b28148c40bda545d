//! Habits that no lint knows: file lengths, forgotten modules, tests that never run.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::workspace::{Workspace, read};

/// The most lines of a source file.
const MAX_LINES: usize = 600;

/// Files that may be longer, each with its reason.
const LONG: &[(&str, &str)] = &[];

/// Crates in which `unsafe` is allowed, with comments.
const UNSAFE: &[&str] = &["kernels", "checkpoint"];

/// Attributes that would keep a test from saying what it is for.
const FORBIDDEN: &[(&str, &str)] = &[
    ("#[ignore", "a test runs or does not exist"),
    ("#[should_panic", "an error is a value that a test can look at"),
];

/// Checks every rule and lists all violations.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let files = workspace.files("rs")?;
    let mut violations = Vec::new();
    for path in &files {
        let text = read(path)?;
        let name = workspace.relative(path).to_string();
        let lines = text.lines().count();
        if lines > MAX_LINES && LONG.iter().all(|(long, _)| *long != name) {
            violations.push(format!("{name} has {lines} lines, at most {MAX_LINES} are allowed"));
        }
        for (attribute, reason) in FORBIDDEN {
            if text.lines().any(|line| line.trim_start().starts_with(attribute)) {
                violations.push(format!("{name} has `{attribute}]`: {reason}"));
            }
        }
        if !is_root(path) && !is_declared(path)? {
            violations.push(format!("{name} is not declared as a module, so it is never compiled"));
        }
    }
    for dir in workspace.crates()? {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for root in ["src/lib.rs", "src/main.rs"].map(|root| dir.join(root)) {
            let checked = root.is_file() && !UNSAFE.contains(&name.as_str());
            if checked && !read(&root)?.contains("#![forbid(unsafe_code)]") {
                let root = workspace.relative(&root).to_string();
                violations.push(format!("{root} does not say `#![forbid(unsafe_code)]`"));
            }
        }
        if test_binaries(&files, &dir.join("tests")) > 1 {
            violations.push(format!("crate `{name}` has more than one test binary"));
        }
    }
    ensure!(violations.is_empty(), "{}", violations.join("\n"));
    Ok(())
}

/// Returns how many test binaries cargo makes: of files in `tests` and of directories with a
/// `main.rs` there.
fn test_binaries(files: &[PathBuf], tests: &Path) -> usize {
    let is_binary = |path: &&PathBuf| {
        let parent = path.parent();
        parent == Some(tests)
            || (path.ends_with("main.rs") && parent.and_then(Path::parent) == Some(tests))
    };
    files.iter().filter(is_binary).count()
}

/// Returns whether cargo compiles the file by itself.
fn is_root(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    let parent = path.parent().and_then(Path::file_name).unwrap_or_default();
    name == "lib.rs"
        || name == "main.rs"
        || name == "build.rs"
        || ["benches", "examples", "bin"].iter().any(|dir| parent == *dir)
}

/// Returns whether one of the files that may declare a module does.
fn is_declared(path: &Path) -> Result<bool> {
    let stem = path.file_stem().unwrap_or_default();
    let Some(dir) = path.parent() else { return Ok(false) };
    // `a/b.rs` and `a/b/mod.rs` are the module `b` of `a`.
    let (module, home) = match (stem == "mod", dir.file_name(), dir.parent()) {
        (true, Some(name), Some(home)) => (name.to_string_lossy(), home),
        _ => (stem.to_string_lossy(), dir),
    };
    let parents: [PathBuf; 4] =
        [home.join("mod.rs"), home.join("lib.rs"), home.join("main.rs"), home.with_extension("rs")];
    for parent in parents.iter().filter(|parent| parent.is_file() && **parent != *path) {
        let declares = read(parent)?.lines().any(|line| {
            let line = line.trim();
            line.strip_suffix(&format!("mod {module};"))
                .is_some_and(|before| before.is_empty() || before.starts_with("pub"))
        });
        if declares {
            return Ok(true);
        }
    }
    Ok(false)
}
