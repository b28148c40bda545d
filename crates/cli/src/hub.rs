//! Models by their hub id, downloaded once, with a bar for each file.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use anyhow::Result;
use checkpoint::hub::{self, HubOptions};
use indicatif::ProgressBar;

use crate::environment::Environment;
use crate::progress;
use crate::report::Failure;

/// Returns the directory of a hub id's files, downloading those that are not there yet.
///
/// # Errors
/// If the model is unknown or not reachable, or there is no place for downloads.
pub(crate) fn download(id: &str, environment: &Environment) -> Result<PathBuf> {
    let home = environment
        .hub_home
        .clone()
        .or_else(|| environment.home.as_ref().map(|home| home.join(".cache").join("huggingface")));
    let Some(home) = home else {
        let failure = Failure::new(format!("there is no place to keep `{id}` in"));
        return Err(failure.hint("set HF_HOME to a directory").into());
    };
    let mut options = HubOptions::new(home.join("hub"));
    if let Some(endpoint) = &environment.hub_endpoint {
        options.endpoint.clone_from(endpoint);
    }
    options.token = environment.hub_token.clone().or_else(|| stored_token(&home));
    options.offline = environment.hub_offline;

    // The file that is being downloaded and its bar.
    let current: RefCell<Option<(String, ProgressBar)>> = RefCell::new(None);
    let advanced = |file: &str, done: u64, total: u64| {
        let mut current = current.borrow_mut();
        if current.as_ref().is_none_or(|(name, _)| name != file) {
            *current = Some((file.to_owned(), progress::bytes(file, total)));
        }
        if let Some((_, bar)) = current.as_ref() {
            bar.set_position(done);
            if done >= total {
                bar.finish_and_clear();
            }
        }
    };
    hub::fetch(id, &options, &advanced).map_err(|error| {
        let exists = "an existing path wins over a hub id, and there is no such path here";
        anyhow::Error::new(error)
            .context(Failure::new(format!("cannot use the model `{id}` of the hub")).hint(exists))
    })
}

/// Returns the token that `hf auth login` has left in the hub's directory.
fn stored_token(home: &Path) -> Option<String> {
    let token = std::fs::read_to_string(home.join("token")).ok()?;
    Some(token.trim().to_owned()).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_of_a_login_is_found() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(stored_token(home.path()), None);
        std::fs::write(home.path().join("token"), "hf_secret\n").unwrap();
        assert_eq!(stored_token(home.path()).as_deref(), Some("hf_secret"));
        std::fs::write(home.path().join("token"), "\n").unwrap();
        assert_eq!(stored_token(home.path()), None);
    }
}
