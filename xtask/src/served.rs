//! A server of the release program, for steps that use one as its users do.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use anyhow::{Context, Result};

use crate::miniature;
use crate::workspace::{Workspace, cargo};

/// A server of the built-in model; it ends when this does.
pub(crate) struct Served {
    child: Child,
    /// Where it is, such as `http://127.0.0.1:1234`.
    pub(crate) address: String,
}

impl Served {
    /// Builds the program and starts it.
    ///
    /// # Errors
    /// If it cannot be built, or does not say where it listens.
    pub(crate) fn start(workspace: &Workspace) -> Result<Self> {
        cargo(workspace, &["build", "--quiet", "--release", "--package", "cli"])?;
        let program = miniature::binary(workspace)?;
        let mut command = workspace.command(&program.display().to_string());
        let mut child = command.args(["serve", "--port", "0"]).stderr(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stderr.take().context("piped")?).lines();
        let first = lines.next().context("the server says nothing")??;
        std::thread::spawn(move || lines.for_each(drop));
        let address = first.strip_prefix("listening on ").context(first.clone())?.to_owned();
        Ok(Self { child, address })
    }

    /// Returns whether it still runs.
    ///
    /// # Errors
    /// If that cannot be found out.
    pub(crate) fn is_alive(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
