//! The environment variables that Aki reads. Nothing else in the workspace reads any.
#![allow(clippy::disallowed_methods, reason = "this is the one place that reads them")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;
use kernels::Level;
use train::parallel::Launch;

use crate::report::Failure;

/// What the environment says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// `HF_HOME`: where downloads of the hub are kept.
    pub(crate) hub_home: Option<PathBuf>,
    /// `HF_ENDPOINT`: the hub's address.
    pub(crate) hub_endpoint: Option<String>,
    /// `HF_TOKEN`: the access token for the hub.
    pub(crate) hub_token: Option<String>,
    /// `HF_HUB_OFFLINE`: whether only what was downloaded before is used.
    pub(crate) hub_offline: bool,
    /// `AKI_THREADS`: how many threads compute.
    pub(crate) threads: Option<usize>,
    /// `LMUData`: where benchmarks are.
    pub(crate) benchmarks: Option<PathBuf>,
    /// `OPENAI_API_KEY`: the key for endpoints and judges.
    pub(crate) openai_key: Option<String>,
    /// `AKI_CPU_LEVEL`: the instructions that the kernels use.
    pub(crate) level: Option<Level>,
    /// `AKI_API_KEY`: the key that `aki serve` asks for.
    pub(crate) serve_key: Option<String>,
    /// The user's home directory.
    pub(crate) home: Option<PathBuf>,
    /// What launchers of several processes say, by variable: those of torchrun, `OpenMPI`, Slurm.
    pub(crate) launch: BTreeMap<&'static str, String>,
}

impl Environment {
    /// Reads the environment of this process.
    ///
    /// # Errors
    /// If a variable has a value that makes no sense.
    pub(crate) fn read() -> Result<Self> {
        Self::from_lookup(|name| std::env::var_os(name))
    }

    /// Returns where benchmarks are: `LMUData` if that is a folder, or the user's own.
    pub(crate) fn benchmark_root(&self) -> Option<PathBuf> {
        let set = self.benchmarks.clone().filter(|path| path.is_dir());
        set.or_else(|| Some(self.home.as_ref()?.join("LMUData")))
    }

    fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let text = |name: &str| set(name).map(|value| value.to_string_lossy().into_owned());
        let threads = match text("AKI_THREADS") {
            None => None,
            Some(value) => Some(value.parse().ok().filter(|n| *n > 0).ok_or_else(|| {
                Failure::usage(format!(
                    "environment variable `AKI_THREADS` is `{value}`, expected a number from 1"
                ))
            })?),
        };
        let level = match text("AKI_CPU_LEVEL") {
            None => None,
            Some(name) => Some(name.parse().map_err(|error| {
                Failure::usage(format!("environment variable `AKI_CPU_LEVEL`: {error}"))
            })?),
        };
        let offline = text("HF_HUB_OFFLINE");
        Ok(Self {
            hub_home: set("HF_HOME").map(PathBuf::from),
            hub_endpoint: text("HF_ENDPOINT"),
            hub_token: text("HF_TOKEN"),
            hub_offline: offline.is_some_and(|value| {
                matches!(value.to_ascii_lowercase().as_str(), "1" | "on" | "yes" | "true")
            }),
            threads,
            benchmarks: set("LMUData").map(PathBuf::from),
            openai_key: text("OPENAI_API_KEY"),
            level,
            serve_key: text("AKI_API_KEY"),
            home: set("HOME").or_else(|| set("USERPROFILE")).map(PathBuf::from),
            launch: Launch::variables().filter_map(|name| Some((name, text(name)?))).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Result<Environment> {
        let find = |name: &str| pairs.iter().find(|(key, _)| *key == name);
        Environment::from_lookup(|name| find(name).map(|(_, value)| OsString::from(value)))
    }

    #[test]
    fn empty_variables_count_as_unset() {
        let environment = with(&[("HF_HOME", ""), ("HF_TOKEN", ""), ("AKI_THREADS", "")]).unwrap();
        assert!(environment.hub_home.is_none());
        assert!(environment.hub_token.is_none());
        assert!(environment.threads.is_none());
    }

    #[test]
    fn offline_is_what_the_hub_clients_understand() {
        for (value, offline) in [("1", true), ("TRUE", true), ("yes", true), ("0", false)] {
            assert_eq!(with(&[("HF_HUB_OFFLINE", value)]).unwrap().hub_offline, offline);
        }
    }

    #[test]
    fn a_number_of_threads_that_is_none_is_refused() {
        insta::assert_snapshot!(
            with(&[("AKI_THREADS", "many")]).unwrap_err(),
            @"environment variable `AKI_THREADS` is `many`, expected a number from 1"
        );
    }

    #[test]
    fn instructions_that_are_none_are_refused() {
        let error = with(&[("AKI_CPU_LEVEL", "sse9")]).unwrap_err().to_string();
        let start = "environment variable `AKI_CPU_LEVEL`: this processor has no instruction level \
                     `sse9`, expected one of `portable`";
        assert!(error.starts_with(start), "{error}");
        let level = with(&[("AKI_CPU_LEVEL", "portable")]).unwrap().level;
        assert_eq!(level, Some(Level::Portable));
    }
}
