//! The workspace's files and the commands that run in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// The root of the workspace.
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Finds the workspace that this program was built in.
    pub(crate) fn find() -> Result<Self> {
        let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest_dir.parent().context("xtask has no parent directory")?.to_owned();
        ensure!(root.join("Cargo.lock").is_file(), "`{}` is no workspace", root.display());
        Ok(Self { root })
    }

    /// Returns a path below the root.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Returns a path as it is shown in messages.
    pub(crate) fn relative<'p>(&self, path: &'p Path) -> std::path::Display<'p> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }

    /// Returns a command that runs at the root.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        command
    }

    /// Returns all files with one of the extensions, sorted; build output and hidden directories
    /// are left out.
    pub(crate) fn files(&self, extension: &str) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        collect(&self.root, extension, &mut found)?;
        found.sort();
        Ok(found)
    }

    /// Returns the directories of the crates, sorted.
    pub(crate) fn crates(&self) -> Result<Vec<PathBuf>> {
        let mut crates: Vec<_> = fs::read_dir(self.path("crates"))?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        crates.retain(|path| path.join("Cargo.toml").is_file());
        crates.push(self.path("xtask"));
        crates.sort();
        Ok(crates)
    }
}

fn collect(dir: &Path, extension: &str, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list `{}`", dir.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            let skipped = name.starts_with('.') || name == "target" || name == "book";
            if !skipped {
                collect(&path, extension, found)?;
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    Ok(())
}

/// Reads a text file.
pub(crate) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
}

/// Runs a command; its output is shown.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}

/// Runs a command and returns what it wrote to standard output.
pub(crate) fn output(mut command: Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{command:?} did not write text"))
}

/// Runs cargo.
pub(crate) fn cargo(workspace: &Workspace, args: &[&str]) -> Result<()> {
    let mut command = workspace.command("cargo");
    command.args(args);
    run(command)
}

/// Returns whether a program can be started.
pub(crate) fn installed(workspace: &Workspace, program: &str) -> bool {
    let mut command = workspace.command(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Returns whether CI runs, where a step whose tools are missing fails instead of being skipped.
#[allow(clippy::disallowed_methods, reason = "CI tells of itself by a variable alone")]
pub(crate) fn is_ci() -> bool {
    std::env::var_os("CI").is_some()
}
