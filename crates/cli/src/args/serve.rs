//! The arguments of `aki serve`.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::{ComputeArgs, ModelArgs};

/// Serve a model: the OpenAI API, and a page to try it on.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    aki serve\n  \
    aki serve -m Sony/AKI-4B-phi-3.5-mini --host 0.0.0.0 --api-keys keys.txt\n\n\
    The page is at http://127.0.0.1:8000/, the API at http://127.0.0.1:8000/v1")]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
    /// The address to listen on; 0.0.0.0 is all of them
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// The port to listen on; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    pub(crate) port: u16,
    /// What clients call the model; its directory or id if left out
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// A file with the keys of those who may ask, one in each line, or sha256: and the hash of one
    /// [env: `AKI_API_KEY`]
    #[arg(long, value_name = "FILE")]
    pub(crate) api_keys: Option<PathBuf>,
    /// A web origin whose pages may ask, such as <https://example.com>; may be given several times
    #[arg(long, value_name = "ORIGIN", action = ArgAction::Append)]
    pub(crate) allow_origin: Vec<String>,
    /// The folder whose images may be named by file: addresses
    #[arg(long, value_name = "DIR")]
    pub(crate) allow_files: Option<PathBuf>,
    /// Fetch images from http: and https: addresses, if these are public
    #[arg(long)]
    pub(crate) allow_remote_images: bool,
    /// How many requests are answered at once
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(crate) max_running: usize,
    /// How many more may wait
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) max_waiting: usize,
    /// The memory for keys and values
    #[arg(long, value_name = "MIB", default_value_t = 8192)]
    pub(crate) cache_mib: usize,
    /// The memory for the features of images
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    pub(crate) image_cache_mib: usize,
    /// About how many rows of a prompt are read between two tokens of the others
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub(crate) prefill_rows: usize,
    /// The largest request
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    pub(crate) max_body_mib: usize,
    /// The longest time that a request may take
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(crate) timeout: u64,
    /// Write the log as JSON
    #[arg(long)]
    pub(crate) log_json: bool,
}
