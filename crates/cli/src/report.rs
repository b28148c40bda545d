//! What a failure looks like to the user: an `error:` line, its causes, a hint, an exit code.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

/// What went wrong, in the user's words, with the next step if we know one.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
    usage: bool,
}

impl Failure {
    /// A failure of the run.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, usage: false }
    }

    /// A command line that asks for something impossible.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, usage: true }
    }

    /// Adds the next step.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The generation was interrupted; what there is has been printed.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Prints an error, unless it only says that nobody reads our output, and returns the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if error.downcast_ref::<Interrupted>().is_some() {
        return ExitCode::from(130);
    }
    let broken_pipe = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe);
    if broken_pipe {
        return ExitCode::SUCCESS;
    }
    show(error);
    let usage = error.downcast_ref::<Failure>().is_some_and(|failure| failure.usage);
    ExitCode::from(if usage { 2 } else { 1 })
}

/// Prints an error, its causes and the hint.
pub(crate) fn show(error: &anyhow::Error) {
    // Nothing can be done if standard error is gone too.
    let _ = io::stderr().lock().write_all(render(error).as_bytes());
}

/// Returns the text of an error.
fn render(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error}\n");
    let mut last = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Some libraries repeat their cause in their own message.
        if !last.contains(&cause) {
            text.extend(["  caused by: ", &cause, "\n"]);
        }
        last = cause;
    }
    if let Some(hint) = error.downcast_ref::<Failure>().and_then(|failure| failure.hint.as_deref())
    {
        text.extend(["hint: ", hint, "\n"]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn an_error_shows_its_causes_and_the_hint() {
        let root = io::Error::new(io::ErrorKind::NotFound, "no such file");
        let error = Err::<(), _>(root)
            .context("cannot read `a`")
            .context(Failure::new("cannot load `a`").hint("try `b`"))
            .unwrap_err();
        insta::assert_snapshot!(render(&error), @r"
        error: cannot load `a`
          caused by: cannot read `a`
          caused by: no such file
        hint: try `b`
        ");
    }
}
