//! The kernels for 64-bit Arm processors: compiled by cross-compilation, and run in an emulator.

use std::path::Path;

use anyhow::Result;

use crate::workspace::{Workspace, cargo, installed, output, run};

const TARGET: &str = "aarch64-unknown-linux-gnu";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64";
/// Where Debian puts the C library of the target.
const LIBRARIES: &str = "/usr/aarch64-linux-gnu";

/// Compiles the kernels for the target, and runs their tests in the emulator if it is there.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    if cfg!(target_arch = "aarch64") {
        println!("skipped: this is such a processor, and the tests run on it");
        return Ok(());
    }
    let mut rustc = workspace.command("rustc");
    rustc.args(["--print", "target-libdir", "--target", TARGET]);
    if !output(rustc).is_ok_and(|path| Path::new(path.trim()).is_dir()) {
        println!("skipped: `rustup target add {TARGET}` installs the standard library for it");
        return Ok(());
    }
    let package = ["--quiet", "-p", "kernels", "--target", TARGET];
    let denied = ["--all-targets", "--", "-D", "warnings"];
    cargo(workspace, &[&["clippy"], &package[..], &denied].concat())?;
    for program in [EMULATOR, LINKER] {
        if !installed(workspace, program) {
            println!(
                "tests skipped: no `{program}`; Debian has all that they need in qemu-user, \
                 gcc-aarch64-linux-gnu and libc6-dev-arm64-cross"
            );
            return Ok(());
        }
    }
    let mut tests = workspace.command("cargo");
    tests.args(["test", "--lib", "--test", "it"]).args(package);
    tests.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER);
    let runner = format!("{EMULATOR} -L {LIBRARIES}");
    tests.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", runner);
    run(tests)
}
