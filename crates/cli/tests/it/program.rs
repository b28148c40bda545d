//! Runs the program.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// Returns standard output of a run that must have succeeded.
    pub(crate) fn success(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout
    }

    /// Returns standard output of a run that must have succeeded, as JSON.
    pub(crate) fn json(self) -> Value {
        let stdout = self.success();
        assert_eq!(stdout.lines().count(), 1, "one object on one line: {stdout}");
        serde_json::from_str(&stdout).expect("the output is JSON")
    }

    /// Returns standard error of a run that must have failed with this exit code.
    pub(crate) fn failure(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        assert_eq!(self.stdout, "", "a failure prints nothing on standard output");
        self.stderr
    }
}

/// Runs `aki` with these arguments.
pub(crate) fn aki<A: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = A>) -> Run {
    aki_with(args, &[], b"")
}

/// Runs `aki` with these arguments, environment variables and standard input.
pub(crate) fn aki_with<A: AsRef<std::ffi::OsStr>>(
    args: impl IntoIterator<Item = A>,
    environment: &[(&str, &str)],
    input: &[u8],
) -> Run {
    let mut child = command(args)
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program was built");
    // A program that fails early does not read its input.
    let _ = child.stdin.take().expect("piped").write_all(input);
    let output = child.wait_with_output().expect("the program ends");
    Run {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

/// Returns the command with an environment that does not depend on the developer's.
pub(crate) fn command<A: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aki"));
    for name in ["HF_HOME", "HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE", "AKI_THREADS", "AKI_CPU"] {
        command.env_remove(name);
    }
    command.args(args);
    command
}

/// Returns a path below `goldens/`.
pub(crate) fn goldens(path: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens").join(path);
    path.display().to_string()
}

/// Reads a JSON file below `goldens/`.
pub(crate) fn golden_json(path: &str) -> Value {
    let text = std::fs::read_to_string(goldens(path)).expect("the golden exists");
    serde_json::from_str(&text).expect("the golden is JSON")
}
