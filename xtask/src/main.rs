//! `cargo xtask ci`: everything that CI checks, the same on every machine.
//!
//! `cargo xtask STEP...` runs single steps, `cargo xtask` lists them. Steps need nothing but the
//! Rust toolchain; the ones of further tools say so when the tool is not installed.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a developer's tool; its output is its purpose")]

mod clients;
mod dependencies;
mod docs;
mod miniature;
mod neon;
mod page;
mod pocket;
mod policy;
mod served;
mod sources;
mod suite;
mod table;
mod workspace;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};

use workspace::{Workspace, cargo, installed};

/// One thing that CI checks.
struct Step {
    name: &'static str,
    about: &'static str,
    run: fn(&Workspace) -> Result<()>,
}

/// The steps in order, the quickest to fail first; the tests are last so that their result is the
/// last line of the output.
const STEPS: &[Step] = &[
    Step { name: "fmt", about: "rustfmt leaves everything as it is", run: fmt },
    Step { name: "sources", about: "file lengths, forgotten modules, lints", run: sources::check },
    Step { name: "dependencies", about: "who may depend on whom", run: dependencies::check },
    Step { name: "links", about: "links in the documentation lead somewhere", run: docs::links },
    Step { name: "typos", about: "spelling, if `typos` is installed", run: typos },
    Step {
        name: "deny",
        about: "licences and advisories, if `cargo-deny` is installed",
        run: deny,
    },
    Step { name: "clippy", about: "no warnings", run: clippy },
    Step { name: "doc", about: "the API documentation builds without warnings", run: doc },
    Step { name: "readme", about: "the commands of README.md work", run: docs::readme },
    Step { name: "miniature", about: "the bundled model, end to end", run: miniature::check },
    Step { name: "table", about: "the report of Table 1, from its logs", run: table::check },
    Step { name: "page", about: "the page, in Chromium", run: page::check },
    Step { name: "clients", about: "the clients and the fuzzer of others", run: clients::check },
    Step { name: "pocket", about: "the guided tour, and a new thing learned", run: pocket::check },
    Step { name: "policy", about: "the page on a new policy can be followed", run: policy::check },
    Step { name: "neon", about: "the kernels for Arm, if Rust has its target", run: neon::check },
    Step { name: "mpi", about: "processes that train together, if MPI is installed", run: mpi },
    Step { name: "test", about: "all tests and doc-tests", run: suite::run },
];

/// What shows the guided tour.
const TOUR: &str = "tour";

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let result = Workspace::find().and_then(|workspace| run(&workspace, &names));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(workspace: &Workspace, names: &[String]) -> Result<()> {
    if names.len() == 1 && names[0] == TOUR {
        return pocket::tour(workspace);
    }
    if names.is_empty() {
        println!("cargo xtask ci runs every step; cargo xtask STEP... runs some:");
        for step in STEPS {
            println!("  {:<14} {}", step.name, step.about);
        }
        println!("cargo xtask {TOUR} shows the whole path in small, command by command");
        return Ok(());
    }
    let all = names.len() == 1 && names[0] == "ci";
    if !all && let Some(name) = names.iter().find(|name| STEPS.iter().all(|s| s.name != **name)) {
        bail!("unknown step `{name}`, `cargo xtask` lists them");
    }
    for step in STEPS.iter().filter(|step| all || names.iter().any(|name| name == step.name)) {
        println!("=== {}: {}", step.name, step.about);
        let start = Instant::now();
        let result = (step.run)(workspace);
        let seconds = start.elapsed().as_secs_f32();
        let outcome = if result.is_ok() { "ok" } else { "FAILED" };
        // The tests end with their own summary.
        if step.name != "test" || result.is_err() {
            println!("=== {}: {outcome} in {seconds:.1} s", step.name);
        }
        result.map_err(|error| error.context(format!("step `{}` failed", step.name)))?;
    }
    Ok(())
}

fn fmt(workspace: &Workspace) -> Result<()> {
    cargo(workspace, &["fmt", "--all", "--check"])
}

fn clippy(workspace: &Workspace) -> Result<()> {
    cargo(workspace, &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

fn doc(workspace: &Workspace) -> Result<()> {
    let args = ["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"];
    let mut command = workspace.command("cargo");
    command.args(args).env("RUSTDOCFLAGS", "-D warnings");
    workspace::run(command)
}

fn typos(workspace: &Workspace) -> Result<()> {
    if !installed(workspace, "typos") {
        println!("skipped: `cargo install typos-cli` installs it");
        return Ok(());
    }
    workspace::run(workspace.command("typos"))
}

fn deny(workspace: &Workspace) -> Result<()> {
    if !installed(workspace, "cargo-deny") {
        println!("skipped: `cargo install cargo-deny` installs it");
        return Ok(());
    }
    cargo(workspace, &["deny", "check", "bans", "licenses", "sources"])
}

fn mpi(workspace: &Workspace) -> Result<()> {
    for program in ["mpirun", "mpicc"] {
        if !installed(workspace, program) {
            println!("skipped: no `{program}`; Debian has it in libopenmpi-dev and openmpi-bin");
            return Ok(());
        }
    }
    let features = ["--quiet", "-p", "cli", "-p", "train", "--features", "cli/mpi,train/mpi"];
    let lints = ["--all-targets", "--", "-D", "warnings"];
    cargo(workspace, &[&["clippy"], &features[..], &lints].concat())?;
    cargo(workspace, &["test", "--quiet", "-p", "cli", "--features", "mpi", "--test", "it", "mpi"])
}
