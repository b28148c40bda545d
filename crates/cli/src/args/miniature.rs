//! The arguments of the commands around the miniature world.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{ComputeArgs, ModelArgs, PolicyArgs};

/// Write a world of pictures with known answers, to train and test on.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    aki miniature --output worlds/tiny --size tiny\n  \
    aki miniature --output worlds/one --seed 1 --size full --image-size 112\n  \
    aki miniature --output mine --only rockets\n\n\
    The same seed gives the same bytes on every machine. Files that are there are kept: an \
    interrupted world is gone on with by the same command.")]
pub(crate) struct MiniatureArgs {
    /// The folder to write into
    #[arg(long, short = 'o', value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// What decides every picture and every question
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// How much is made
    #[arg(long, value_enum, default_value_t = WorldSize::Small)]
    pub(crate) size: WorldSize,
    /// The width and height of pictures
    #[arg(long, value_name = "PIXELS", default_value_t = 384)]
    pub(crate) image_size: usize,
    /// Write this folder only, such as `vqa`; more than one by commas. Some are no part of a world
    /// and are written only so: `rockets`, a folder of pictures with questions, as you may have one
    /// yourself, and `counting`, `counting-two-marks` and `counting-grid`, questions that take a look at
    /// every thing of a crowd
    #[arg(long, value_name = "FOLDER", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// How many threads draw; all processors if left out
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Print one JSON object at the end
    #[arg(long)]
    pub(crate) json: bool,
}

/// How much of a world is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WorldSize {
    /// 24 pictures a set: seconds
    Tiny,
    /// 1,000 pictures a set: minutes
    Small,
    /// 20,000 pictures a set: to train on
    Full,
}

/// Ask a model about pictures of the miniature world that are kept for tests, and count.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    aki quiz --seed 7\n  \
    aki quiz --model runs/instruct --pictures 100 --json\n  \
    aki quiz --seeds 5 --json > scores.json")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct QuizArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// What decides every picture and every question
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// How many pictures are asked about; each is asked about up to ten times
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) pictures: u64,
    /// How many seeds, from `--seed` on; each has pictures of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seeds: u64,
    /// Ask about rockets, a kind of thing that the world does not have: see the guide on adapters
    #[arg(long)]
    pub(crate) rockets: bool,
    /// Ask as in a conversation, without saying that one word is wanted
    #[arg(long)]
    pub(crate) conversation: bool,
    /// Print every question with the reply to it
    #[arg(long)]
    pub(crate) verbose: bool,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
}
