//! The command line: every command, option and help text.

mod bench;
mod compute;
mod eval;
mod miniature;
mod serve;
mod table1;

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use sequence::AttentionPolicy;

pub(crate) use self::bench::{BenchArgs, DecoderSize, Measured};
pub(crate) use self::compute::{ComputeArgs, HardwareArgs, KvCacheArg, QuantizeArg};
pub(crate) use self::eval::{EvalArgs, ScoreArgs, ScoringArgs};
pub(crate) use self::miniature::{MiniatureArgs, QuizArgs, WorldSize};
pub(crate) use self::serve::ServeArgs;
pub(crate) use self::table1::{ConnectorStart, ProbeArgs, Table1Args};
use crate::device::DeviceArg;

/// Multimodal language models with modality-mutual attention, on your own machine.
#[derive(Debug, Parser)]
#[command(
    name = "aki",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Examples:\n  \
        aki ask --image cat.jpg \"What animal is this?\"\n  \
        aki chat --image cat.jpg\n  \
        aki inspect --image cat.jpg --mask mask.png \"What animal is this?\"\n\n\
        Without --model the commands run the model that is built into the program: a small one that \
        knows the pictures of `aki miniature`, and nothing of photographs."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Answer one question, about images or none
    Ask(AskArgs),
    /// Talk with the model, over several turns and images
    Chat(ChatArgs),
    /// Show what a checkpoint holds, or who reads whom in a prompt
    Inspect(InspectArgs),
    /// Write every intermediate of one prompt as safetensors
    Trace(TraceArgs),
    /// Turn text into token ids, or back
    Tokenize(TokenizeArgs),
    /// Turn an image into the pixel values that the model reads
    Preprocess(PreprocessArgs),
    /// Write a checkpoint with random weights
    Init(InitArgs),
    /// Rewrite a checkpoint in another format or number type
    Convert(ConvertArgs),
    /// Train a model by a recipe, or go on with a run
    Train(TrainArgs),
    /// Write a world of pictures with known answers, to train and test on
    Miniature(MiniatureArgs),
    /// Ask a model the questions of benchmarks, and score its answers
    Eval(Box<EvalArgs>),
    /// Score stored answers to benchmarks
    Score(Box<ScoreArgs>),
    /// Ask a model about pictures of the miniature world that are kept for tests, and count
    Quiz(QuizArgs),
    /// Train the rows of the paper's Table 1 in miniature, and report what came out
    Table1(Box<Table1Args>),
    /// Show what image tokens know of the thing that a question asks for
    Probe(ProbeArgs),
    /// Serve a model: the OpenAI API, and a page to try it on
    Serve(Box<ServeArgs>),
    /// Measure speed and memory
    Bench(BenchArgs),
    /// Print the completion script of a shell
    Completions(CompletionsArgs),
}

const MODEL_HELP: &str = "A checkpoint: a directory, a file, a hub id, or `miniature`";
const MODEL_LONG_HELP: &str = "A checkpoint: a directory (config.json, tokenizer, weights), a \
    .safetensors, .pt or .gguf file beside those, a hub id such as Sony/AKI-4B-phi-3.5-mini, or \
    `miniature`, the model that is built into the program: a small one that knows the pictures of \
    `aki miniature`, and nothing of photographs. What exists as a path is taken as a path";

/// Which model.
#[derive(Clone, Debug, Args)]
pub(crate) struct ModelArgs {
    #[arg(long, short = 'm', value_name = "DIR|FILE|HUB_ID", default_value = "miniature")]
    #[arg(help = MODEL_HELP, long_help = MODEL_LONG_HELP)]
    pub(crate) model: String,
}

/// Who reads whom.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct PolicyArgs {
    /// Who reads whom
    #[arg(long, value_name = "POLICY", default_value = "mutual")]
    #[arg(help = format!("Who reads whom: {}", AttentionPolicy::names()))]
    pub(crate) attention: AttentionPolicy,
}

/// How tokens are chosen, and when to stop.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Generation")]
pub(crate) struct GenerationArgs {
    /// The most tokens to generate
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(crate) max_new_tokens: usize,
    /// 0 takes the likeliest token every time; higher is more varied
    #[arg(long, value_name = "T", default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) temperature: f32,
    /// Choose among the K likeliest tokens only
    #[arg(long, value_name = "K")]
    pub(crate) top_k: Option<usize>,
    /// Choose among the likeliest tokens that together have probability P
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) top_p: Option<f32>,
    /// Leave out tokens less likely than P times the likeliest one
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) min_p: Option<f32>,
    /// Above 1 makes tokens that occurred less likely
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    pub(crate) repetition_penalty: Option<f32>,
    /// Where the random numbers of sampling start
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// End the answer before this text; may be given several times
    #[arg(long, value_name = "STRING", action = ArgAction::Append)]
    pub(crate) stop: Vec<String>,
    /// The instructions before the question, in place of those the model was trained with
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
}

/// Answer one question, about images or none.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    aki ask --image cat.jpg \"What animal is this?\"\n  \
    aki ask --image before.jpg --image after.jpg \"<image> is older than <image>. What changed?\"\n  \
    curl -s https://example.com/cat.jpg | aki ask --image - \"What animal is this?\"\n  \
    aki ask --model ./aki-4b --image cat.jpg --json \"What animal is this?\" | jq -r .text\n\n\
    Images come before the question unless the question says <image> where each of them goes. The \
    answer is streamed. Ctrl-C ends it, and what was generated so far is kept; a second Ctrl-C \
    ends the program at once.")]
pub(crate) struct AskArgs {
    /// The question
    pub(crate) question: String,
    /// An image file, or - for standard input; may be given several times
    #[arg(long, short = 'i', value_name = "FILE", action = ArgAction::Append)]
    pub(crate) image: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    /// Print one JSON object: text, `new_ids`, `prompt_ids`, `finish_reason`, timings
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) generation: GenerationArgs,
    /// Follow the N likeliest continuations at once, and take the best
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Generation")]
    pub(crate) beams: usize,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
}

/// Talk with the model, over several turns and images.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    aki chat --image cat.jpg\n  \
    printf '/image cat.jpg\\nWhat animal is this?\\nWhat colour is it?\\n' | aki chat\n\n\
    In the chat: /image FILE shows an image with the next question, /system TEXT changes the \
    instructions, /policy NAME changes who reads whom, /reset starts again, /help lists all, \
    /quit leaves. Ctrl-C ends an answer.")]
pub(crate) struct ChatArgs {
    /// An image for the first question; may be given several times
    #[arg(long, short = 'i', value_name = "FILE", action = ArgAction::Append)]
    pub(crate) image: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    #[command(flatten)]
    pub(crate) generation: GenerationArgs,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
}

/// Show what a checkpoint holds, or who reads whom in a prompt.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    aki inspect --model ./aki-4b\n  \
    aki inspect --image cat.jpg \"What animal is this?\"\n  \
    aki inspect --image cat.jpg --mask mask.png \"What animal is this?\"\n  \
    aki inspect --image cat.jpg --attention causal,mutual --mask two.png \"What is this?\"\n\n\
    Without an image or a question the checkpoint is summed up. With one, the layout of the prompt \
    is printed, and its mask too if it is short; --mask draws the mask as a figure: rows are \
    queries, columns are keys, and what a policy opens beyond a causal mask has a colour of its own.")]
pub(crate) struct InspectArgs {
    /// A question; its prompt is shown
    pub(crate) question: Option<String>,
    /// An image file; may be given several times
    #[arg(long, short = 'i', value_name = "FILE", action = ArgAction::Append)]
    pub(crate) image: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// The policies to show, separated by commas
    #[arg(long, value_name = "POLICY,...", value_delimiter = ',', default_value = "mutual")]
    pub(crate) attention: Vec<AttentionPolicy>,
    /// Show every policy, side by side
    #[arg(long, conflicts_with = "attention")]
    pub(crate) compare: bool,
    /// The instructions before the question, in place of those the model was trained with
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// A reply, to show what it reads and who reads it
    #[arg(long, value_name = "TEXT")]
    pub(crate) reply: Option<String>,
    /// Draw the mask as PNG
    #[arg(long, value_name = "OUT.png")]
    pub(crate) mask: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Write every intermediate of one prompt as safetensors.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    aki trace --image cat.jpg \"What animal is this?\" --attention mutual --output trace.safetensors\n\n\
    The tensors, in order: pixel_values, input_ids, vision.embeddings, vision.layer.{i}, \
    vision.output, resampler.output, text.embeddings, positions, mask, layer.{i} (all but the \
    last), final_norm, logits. Each has a leading batch dimension of 1.")]
pub(crate) struct TraceArgs {
    /// The question
    pub(crate) question: String,
    /// An image file, or - for standard input; may be given several times
    #[arg(long, short = 'i', value_name = "FILE", action = ArgAction::Append)]
    pub(crate) image: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    /// The instructions before the question, in place of those the model was trained with
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// The file to write
    #[arg(long, short = 'o', value_name = "FILE.safetensors")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
}

/// Turn text into token ids, or back.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    aki tokenize --text \"What animal is this?\"\n  \
    aki tokenize --text \"<|user|> Hello\" --bos\n  \
    aki tokenize --file prompt.txt\n  \
    aki tokenize --decode 31,202,102\n\n\
    The ids are printed as a JSON array. Special tokens in the text are parsed, as the reference \
    implementation does; a question of `aki ask` is taken literally instead.")]
#[command(group(clap::ArgGroup::new("input").required(true)))]
pub(crate) struct TokenizeArgs {
    /// The text
    #[arg(long, group = "input", allow_hyphen_values = true)]
    pub(crate) text: Option<String>,
    /// A file with the text, or - for standard input
    #[arg(long, group = "input", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Ids to turn back into text, separated by commas, or a JSON array
    #[arg(long, group = "input", value_name = "IDS")]
    pub(crate) decode: Option<String>,
    /// Put the token that opens a text first
    #[arg(long)]
    pub(crate) bos: bool,
    /// Leave special tokens out of decoded text
    #[arg(long, requires = "decode")]
    pub(crate) skip_special: bool,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
}

/// Turn an image into the pixel values that the model reads.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    aki preprocess cat.jpg --size 384 --output cat.safetensors\n\n\
    Writes one F32 tensor, pixel_values [3, N, N].")]
pub(crate) struct PreprocessArgs {
    /// An image file, or - for standard input
    pub(crate) image: PathBuf,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Height and width in pixels; the model's own if left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8192))]
    pub(crate) size: Option<u32>,
    /// The file to write
    #[arg(long, short = 'o', value_name = "FILE.safetensors")]
    pub(crate) output: PathBuf,
}

/// Write a checkpoint to start from: random weights, or those of pretrained backbones.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    aki init --preset aki-4b --dtype bf16 --seed 0 --output ./aki-4b-random\n  \
    aki init --vision google/siglip-so400m-patch14-384 --text microsoft/Phi-3.5-mini-instruct \
    --tokenizer ./aki-4b --output ./aki-4b-start\n\n\
    Weights are normal with standard deviation 0.02, norms 1, biases 0, the resampler's latents \
    standard normal. Each tensor is seeded by the seed and its name, so that the same seed gives \
    the same files on every machine.")]
pub(crate) struct InitArgs {
    /// Which model: the name of a preset
    #[arg(long, value_name = "NAME", default_value = "aki-4b")]
    pub(crate) preset: String,
    /// The number type of the weights
    #[arg(long, value_enum, default_value_t = FloatArg::Bf16)]
    pub(crate) dtype: FloatArg,
    /// Where the random numbers start
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// The vision encoder to start with: a directory, a file or a hub id of a `SigLIP`
    #[arg(long, value_name = "MODEL")]
    pub(crate) vision: Option<String>,
    /// The decoder to start with: a directory, a file or a hub id
    #[arg(long, value_name = "MODEL")]
    pub(crate) text: Option<String>,
    /// The directory to write
    #[arg(long, short = 'o', value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// A directory whose tokenizer files are copied
    #[arg(long, value_name = "DIR")]
    pub(crate) tokenizer: Option<PathBuf>,
    /// The most bytes of a file, as in 5GB or 500MB
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = parse_size)]
    pub(crate) max_shard_size: u64,
    /// Write into a directory that is not empty
    #[arg(long)]
    pub(crate) force: bool,
}

/// Rewrite a checkpoint in another format or number type.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    aki convert ./aki-4b ./aki-4b-bf16 --dtype bf16\n  \
    aki convert ./aki-4b ./aki-4b-q4 --quantize q4_k\n  \
    aki convert checkpoint_4.pt ./aki-4b --max-shard-size 2GB\n\n\
    Configuration and tokenizer files beside the input are copied. A .pt file is read without \
    executing anything in it.")]
pub(crate) struct ConvertArgs {
    /// A directory, a .safetensors, .pt or .gguf file, or a hub id
    pub(crate) input: String,
    /// The directory to write
    pub(crate) output: PathBuf,
    /// The number type of the weights; auto keeps each tensor's
    #[arg(long, value_enum, default_value_t = DtypeArg::Auto)]
    pub(crate) dtype: DtypeArg,
    /// Store matrices in blocks of few bits, in a GGUF file; a 4-bit model keeps more bits in its
    /// vision encoder, its connector and its output
    #[arg(long, value_enum, value_name = "TYPE")]
    pub(crate) quantize: Option<QuantizeArg>,
    /// The format to write; safetensors if left out, with --quantize gguf
    #[arg(long, value_enum)]
    pub(crate) format: Option<FormatArg>,
    /// The most bytes of a file, as in 5GB or 500MB
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = parse_size)]
    pub(crate) max_shard_size: u64,
    /// Write into a directory that is not empty
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) hardware: HardwareArgs,
}

/// Train a model by a recipe, or go on with a run.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    aki train recipes/pretrain.toml --output runs/pretrain\n  \
    aki train recipes/instruct.toml --set model.init=runs/pretrain --set schedule.steps=1000\n  \
    aki train recipes/pretrain.toml --output runs/pretrain --resume\n  \
    aki train runs/pretrain --resume\n  \
    aki train recipes/table1/dot.toml --set model.init=miniature --dry-run\n\n\
    The run's directory holds the resolved recipe, metrics.jsonl, an event file for TensorBoard, \
    loss.svg and checkpoints that every command takes as --model. Ctrl-C writes a checkpoint and \
    stops; a second Ctrl-C ends the program at once. Whatever ends a run, --resume goes on with it, \
    bit for bit.")]
#[command(group(clap::ArgGroup::new("what").required(true)))]
pub(crate) struct TrainArgs {
    /// A recipe, or with --resume the directory of a run
    #[arg(group = "what")]
    pub(crate) recipe: Option<PathBuf>,
    /// The directory of the run; runs/ and the recipe's name if left out
    #[arg(long, short = 'o', value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Go on with the run in the directory, from its newest complete checkpoint
    #[arg(long)]
    pub(crate) resume: bool,
    /// Begin after another run, or one of its checkpoints, whose recipe has the first phases of this
    /// one and is done with some of them
    #[arg(long, value_name = "RUN")]
    pub(crate) after: Option<PathBuf>,
    /// Change the recipe, as in schedule.lr=1e-5 or data.0.weight=2; may be given several times
    #[arg(long, value_name = "PATH=VALUE", action = ArgAction::Append)]
    pub(crate) set: Vec<String>,
    /// Print the resolved recipe, the parameters and the memory of a step, and do nothing
    #[arg(long, conflicts_with = "resume")]
    pub(crate) dry_run: bool,
    /// Train the steps of a golden set: `train_curve.json` and what lies beside it
    #[arg(long, value_name = "DIR", group = "what")]
    #[arg(conflicts_with_all = ["output", "resume", "after", "set", "dry_run"])]
    pub(crate) golden: Option<PathBuf>,
    /// Print one JSON object at the end
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) json: bool,
    /// What computes: cpu, cuda, cuda:N, metal or metal:N
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub(crate) device: DeviceArg,
    #[command(flatten)]
    pub(crate) hardware: HardwareArgs,
}

/// Print the completion script of a shell.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    aki completions bash > ~/.local/share/bash-completion/completions/aki\n  \
    aki completions fish > ~/.config/fish/completions/aki.fish\n  \
    aki completions zsh > ~/.zfunc/_aki")]
pub(crate) struct CompletionsArgs {
    /// Which shell
    pub(crate) shell: Shell,
}

/// A number type, or the checkpoint's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DtypeArg {
    Auto,
    F32,
    Bf16,
    F16,
}

/// A number type of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FloatArg {
    F32,
    Bf16,
    F16,
}

/// A format that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatArg {
    Safetensors,
    Gguf,
}

impl DtypeArg {
    /// Returns the number type, none for the checkpoint's own.
    pub(crate) fn dtype(self) -> Option<checkpoint::Dtype> {
        match self {
            Self::Auto => None,
            Self::F32 => Some(checkpoint::Dtype::F32),
            Self::Bf16 => Some(checkpoint::Dtype::Bf16),
            Self::F16 => Some(checkpoint::Dtype::F16),
        }
    }
}

impl FloatArg {
    /// Returns the number type.
    pub(crate) fn dtype(self) -> checkpoint::Dtype {
        match self {
            Self::F32 => checkpoint::Dtype::F32,
            Self::Bf16 => checkpoint::Dtype::Bf16,
            Self::F16 => checkpoint::Dtype::F16,
        }
    }
}

/// Parses a number of bytes with an optional decimal or binary unit.
fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = match text[digits..].trim().to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "KB" => 1000,
        "MB" => 1000_u64.pow(2),
        "GB" => 1000_u64.pow(3),
        "KIB" => 1024,
        "MIB" => 1024_u64.pow(2),
        "GIB" => 1024_u64.pow(3),
        _ => return Err("expected a number of bytes, as in 5GB, 500MB or 2GiB".to_owned()),
    };
    let number: u64 = text[..digits].parse().map_err(|_| "expected a number first".to_owned())?;
    number.checked_mul(unit).filter(|size| *size > 0).ok_or("out of range".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_have_decimal_and_binary_units() {
        assert_eq!(parse_size("5GB"), Ok(5_000_000_000));
        assert_eq!(parse_size("2 MiB"), Ok(2 * 1024 * 1024));
        assert_eq!(parse_size("123"), Ok(123));
        assert!(parse_size("5 parsecs").is_err());
        assert!(parse_size("0").is_err());
        assert!(parse_size("99999999999999999999GB").is_err());
    }
}
