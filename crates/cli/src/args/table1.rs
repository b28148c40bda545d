//! The options of `aki table1`.
#![allow(clippy::doc_markdown, reason = "the comments are help texts, which have no Markdown")]

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::device::DeviceArg;

use super::{ComputeArgs, ModelArgs, PolicyArgs, WorldSize};

/// Trains the rows of the paper's Table 1 in miniature, and reports what came out.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
#[command(after_help = "Examples:\n  \
    aki table1 --hours 8 --output runs/table1\n  \
    aki table1 --hours 8 --output runs/table1 --dry-run\n  \
    aki table1 --report --output runs/table1\n  \
    aki table1 --steps 9000 --layers 2 --rows causal,mma --output runs/two-layers\n\n\
    The same command goes on where it was stopped, however it was stopped.")]
pub(crate) struct Table1Args {
    /// How long it may take, training and evaluation together
    #[arg(long, value_name = "H", default_value_t = 8.0)]
    pub(crate) hours: f64,
    /// Give a phase N steps, whatever time that takes: the same on every machine. Where phases of
    /// the recipes have different numbers of steps, the longest has N
    #[arg(long, value_name = "N", conflicts_with = "hours", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) steps: Option<u64>,
    /// Where models, answers, logs and the report go
    #[arg(long, short = 'o', value_name = "DIR", default_value = "runs/table1")]
    pub(crate) output: PathBuf,
    /// How many times every row is trained, each with a seed of its own
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) seeds: u64,
    /// Which rows, by the names of their recipes; all of them if left out
    #[arg(long, value_name = "ROW", value_delimiter = ',')]
    pub(crate) rows: Vec<String>,
    /// A folder of recipes, each a row, in place of those of the paper's rows; what is in its
    /// start/connector.toml, if it has one, is the recipe of the connector
    #[arg(long, value_name = "DIR")]
    pub(crate) recipes: Option<PathBuf>,
    /// The world to train and test on; made in --output if left out
    #[arg(long, value_name = "DIR")]
    pub(crate) world: Option<PathBuf>,
    /// The folder of the world whose benchmarks are asked, such as `counting/test`
    #[arg(long, value_name = "FOLDER", default_value = "test")]
    pub(crate) tests: PathBuf,
    /// How large a world is made
    #[arg(long, value_enum, default_value_t = WorldSize::Full, conflicts_with = "world")]
    pub(crate) world_size: WorldSize,
    /// The model whose vision encoder every row starts with: a directory, a run, or `miniature`
    #[arg(long, value_name = "MODEL", default_value = "miniature")]
    pub(crate) encoder: String,
    /// What the connector, which makes the vision tokens, begins with
    #[arg(long, value_enum, default_value_t = ConnectorStart::Trained)]
    pub(crate) connector: ConnectorStart,
    /// Give the connector's vision tokens another order, a random one for each seed, so that their
    /// places in the picture are no longer those on the grid that `cca` takes them for
    #[arg(long)]
    pub(crate) scatter: bool,
    /// The layers of the decoder; those of --encoder's model if left out
    #[arg(long, value_name = "N")]
    pub(crate) layers: Option<usize>,
    /// The vision tokens of an image; those of --encoder's model if left out
    #[arg(long, value_name = "N")]
    pub(crate) vision_tokens: Option<usize>,
    /// Ask the first N questions of each benchmark only
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub(crate) questions: usize,
    /// How many pictures the linear probe learns from; a quarter more are kept to test it
    #[arg(long, value_name = "N", default_value_t = 800)]
    pub(crate) pictures: usize,
    /// Change every row's recipe, as in compute.precision=bf16; may be given several times
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub(crate) sets: Vec<String>,
    /// What computes: cpu, cuda, cuda:N, metal or metal:N
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub(crate) device: DeviceArg,
    /// How many models are trained at once; one for each processor if left out
    #[arg(long, value_name = "N")]
    pub(crate) processes: Option<usize>,
    /// Make what rows begin with, measure a step, show the plan, and train no row
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Write the report of what is there, and train nothing
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) report: bool,
    /// Other runs of this command, with other sizes, that the report compares the gain with
    #[arg(long, value_name = "DIR", num_args = 1..)]
    pub(crate) beside: Vec<PathBuf>,
}

/// What the connector begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ConnectorStart {
    /// It is trained before any row, with a head, until each vision token names its part of the
    /// picture
    Trained,
    /// It is that of --encoder's model, and so are embeddings and head
    Kept,
    /// Random numbers
    Random,
}

/// Shows what image tokens know of the thing that a question asks for.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    aki probe --model runs/instruct\n  \
    aki probe --model runs/instruct --attention causal\n\n\
    Pictures are of the miniature world and kept for tests. A linear rule is learned from the image \
    tokens of every layer to colour, size and place of the thing in `What color is the star?`, and \
    tested on other pictures.")]
pub(crate) struct ProbeArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// How many pictures are learned from; a quarter more are kept to test
    #[arg(long, value_name = "N", default_value_t = 800)]
    pub(crate) pictures: usize,
    /// Ask before the image is shown, as a model needs it that was trained so
    #[arg(long)]
    pub(crate) text_first: bool,
    /// Write what is found as JSON, too
    #[arg(long, short = 'o', value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
}
