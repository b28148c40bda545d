//! Progress bars, on standard error and only when that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Returns a bar over `total` bytes.
pub(crate) fn bytes(what: &str, total: u64) -> ProgressBar {
    let template = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    styled(ProgressBar::new(total), template, what)
}

/// Returns a spinner for work of unknown length.
pub(crate) fn spinner(what: &str) -> ProgressBar {
    let spinner = styled(ProgressBar::new_spinner(), "{spinner} {msg} {elapsed}", what);
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

/// Returns a bar over things of which there are so many.
pub(crate) fn things(what: &str, total: u64) -> ProgressBar {
    styled(ProgressBar::new(total), "{msg} {wide_bar} {pos}/{len} {per_sec} {eta}", what)
}

/// Returns a bar over the steps of a run, of which there are some later.
pub(crate) fn steps() -> ProgressBar {
    styled(ProgressBar::new(0), "{pos}/{len} {wide_bar} {msg}", "")
}

/// indicatif draws nothing where standard error is not a terminal.
fn styled(bar: ProgressBar, template: &str, what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template);
    // The templates above are constants and parse.
    let bar = match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    };
    bar.with_message(what.to_owned())
}
