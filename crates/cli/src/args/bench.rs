//! The arguments of `aki bench`.

use clap::{Args, ValueEnum};

use super::{ComputeArgs, ModelArgs};

/// Measure speed and memory.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    aki bench --model ./aki-4b\n  \
    aki bench --model ./aki-4b --threads 4 --repeat 10 prefill decode\n  \
    aki bench --json image | jq .rows\n  \
    aki bench train\n  \
    aki bench --model ./aki-4b quality\n\n\
    Each is run once to warm up and then --repeat times; the median counts. The prompt is an image \
    and --text-tokens tokens around it. `train` takes no model: it measures steps of two decoders of 7 and \
    30 million parameters on 16 texts of 192 tokens, AdamW included. `quality` \
    loads the model in f32 and then in every form of fewer bits, and compares them along --repeat replies of \
    --new-tokens tokens to pictures of the miniature world. Other programs on the machine slow everything down: compare \
    figures of alternating runs only.")]
pub(crate) struct BenchArgs {
    /// What to measure; all but `train` and `quality` if left out
    #[arg(value_enum)]
    pub(crate) what: Vec<Measured>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// The prompt's tokens beside the image's
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub(crate) text_tokens: usize,
    /// The tokens of a reply
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub(crate) new_tokens: usize,
    /// The replies at once in `batch`
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) batch: usize,
    /// The decoder that `train` measures; both if left out
    #[arg(long, value_name = "SIZE")]
    pub(crate) decoder: Option<DecoderSize>,
    /// How often each is measured
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) repeat: usize,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
}

/// A decoder whose training can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DecoderSize {
    /// 6 layers of width 256, 7 million parameters
    #[value(name = "7m")]
    Small,
    /// 8 layers of width 512, 30 million parameters
    #[value(name = "30m")]
    Large,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Measured {
    /// The vision encoder and the connector
    Image,
    /// Reading a prompt
    Prefill,
    /// The time to the first token of a question on a new image
    First,
    /// The time to the first token of another question on the same image
    Second,
    /// Writing a reply, token by token
    Decode,
    /// Writing several replies at once
    Batch,
    /// Steps of training
    Train,
    /// How close fewer bits come to f32: the divergence of the next token's distribution, and how
    /// often the likeliest token is the same
    Quality,
}
