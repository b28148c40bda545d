//! The options of `aki eval` and `aki score`.
#![allow(clippy::doc_markdown, reason = "the comments are help texts, which have no Markdown")]

use std::path::PathBuf;

use clap::Args;
use eval::rules::RuleSet;
use eval::run::Shard;
use eval::{ImageUse, MissingValues};

use super::{ComputeArgs, ModelArgs, PolicyArgs};

/// Asks a model the questions of benchmarks, and scores its answers.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "every switch of a command line is one")]
#[command(after_help = "Examples:\n  \
    aki eval --list\n  \
    aki eval --model Sony/AKI-4B-phi-3.5-mini --output runs/aki MME POPE\n  \
    aki eval --endpoint http://localhost:8000/v1 --endpoint-model llava --output runs/llava POPE\n  \
    aki eval --shard 2/4 --output runs/part-2 SEEDBench_IMG\n  \
    aki eval --merge runs/part-1 runs/part-2 --output runs/whole\n  \
    aki eval --compare runs/aki runs/llava\n\n\
    The same command goes on where a run was stopped. Tables are looked for in --data as \
    VLMEvalKit keeps them: NAME.tsv, and CV-Bench's parquet files.")]
pub(crate) struct EvalArgs {
    /// Names of benchmarks, or files; all that are there if left out
    #[arg(value_name = "NAME|FILE")]
    pub(crate) benchmarks: Vec<String>,
    /// Where the tables are; `LMUData` or ~/LMUData if left out
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Where answers and reports go
    #[arg(long, short = 'o', value_name = "DIR", default_value = "eval")]
    pub(crate) output: PathBuf,
    /// Show which benchmarks are there, and where to get the others
    #[arg(long, conflicts_with_all = ["merge", "compare"])]
    pub(crate) list: bool,
    /// Put the runs of shards together, into --output
    #[arg(long, value_name = "RUN", num_args = 1.., conflicts_with_all = ["compare", "benchmarks"])]
    pub(crate) merge: Vec<PathBuf>,
    /// Compare two runs, question by question
    #[arg(long, value_names = ["RUN", "RUN"], num_args = 2, conflicts_with = "benchmarks")]
    pub(crate) compare: Vec<PathBuf>,
    /// Where the page of a comparison goes: the scores of both runs, and the answers that differ
    #[arg(long, value_name = "FILE.html", requires = "compare")]
    pub(crate) page: Option<PathBuf>,
    /// Ask the first N questions only
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Ask the I-th of N parts only, for several processes or machines
    #[arg(long, value_name = "I/N")]
    pub(crate) shard: Option<Shard>,
    /// How many questions are answered at once
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) batch: usize,
    /// The most tokens of an answer; the authors' limit if left out
    #[arg(long, value_name = "N")]
    pub(crate) max_new_tokens: Option<usize>,
    /// Which images of a question are shown: first, as the authors' code does, or all, which is
    /// what endpoints get if this is left out
    #[arg(long, value_name = "WHICH")]
    pub(crate) images: Option<ImageUse>,
    /// Wish for a single word or phrase before questions with yes and no
    #[arg(long)]
    pub(crate) short: bool,
    /// Ask before the images are shown, as a model needs it that was trained so
    #[arg(long)]
    pub(crate) text_first: bool,
    /// Show images as they are; the paper's code kept them as JPEG files of quality 75
    #[arg(long)]
    pub(crate) original_images: bool,
    /// Which cells count as missing: pandas, old-pandas (None is a word) or empty
    #[arg(long, value_name = "RULE", default_value = "pandas")]
    pub(crate) missing: MissingValues,
    /// Answer only, do not score
    #[arg(long)]
    pub(crate) no_score: bool,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    #[command(flatten)]
    pub(crate) endpoint: EndpointArgs,
    #[command(flatten)]
    pub(crate) scoring: ScoringArgs,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
}

/// A model behind an endpoint.
#[derive(Debug, Args)]
#[command(next_help_heading = "Endpoint")]
pub(crate) struct EndpointArgs {
    /// Ask an OpenAI-compatible endpoint, such as http://localhost:8000/v1, in place of --model
    #[arg(long, value_name = "URL", conflicts_with = "model")]
    pub(crate) endpoint: Option<String>,
    /// The model's name there
    #[arg(long, value_name = "NAME", default_value = "aki")]
    pub(crate) endpoint_model: String,
    /// The key; `OPENAI_API_KEY` if left out
    #[arg(long, value_name = "KEY")]
    pub(crate) endpoint_key: Option<String>,
    /// How often a failed request is repeated
    #[arg(long, value_name = "N", default_value_t = 6)]
    pub(crate) retries: usize,
    /// How many seconds a reply may take
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(crate) timeout: u64,
}

/// How answers are scored.
#[derive(Debug, Args)]
#[command(next_help_heading = "Scoring")]
pub(crate) struct ScoringArgs {
    /// Which rules tell what an answer says: 2025-03, the paper's, or head, today's
    #[arg(long, value_name = "RULES")]
    pub(crate) rules: Option<RuleSet>,
    /// Take answers such as None for nothing, as spreadsheets between VLMEvalKit's steps do
    #[arg(long)]
    pub(crate) spreadsheet_answers: bool,
    /// The OpenAI-compatible endpoint of a judge, for what no rule can read
    #[arg(long, value_name = "URL")]
    pub(crate) judge: Option<String>,
    /// The judge's name there
    #[arg(long, value_name = "NAME", default_value = "gpt-4o-mini")]
    pub(crate) judge_model: String,
    /// The judge's key; `OPENAI_API_KEY` if left out
    #[arg(long, value_name = "KEY")]
    pub(crate) judge_key: Option<String>,
    /// How many replies of the judge are waited for at once
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) judge_concurrency: usize,
    /// How often a failed request to the judge is repeated
    #[arg(long, value_name = "N", default_value_t = 6)]
    pub(crate) judge_retries: usize,
    /// How many seconds a reply of the judge may take
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) judge_timeout: u64,
    /// The prices of a million tokens read and a million tokens written
    #[arg(long, value_name = "READ,WRITTEN", value_delimiter = ',', num_args = 1..=2)]
    pub(crate) judge_prices: Vec<f64>,
    /// A folder with words of your own for the judge: choice.txt, yes_no.txt, math.txt, mm_vet.txt,
    /// llava_bench.txt
    #[arg(long, value_name = "DIR")]
    pub(crate) judge_requests: Option<PathBuf>,
    /// Show the scores of every category
    #[arg(long)]
    pub(crate) details: bool,
    /// How many wrong answers of each benchmark the page shows, with their images
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub(crate) wrong: usize,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Scores stored answers.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    aki score runs/aki\n  \
    aki score runs/aki --rules head --details\n  \
    aki score answers.jsonl --questions POPE.tsv\n  \
    aki score runs/aki --judge https://api.openai.com/v1 --judge-model gpt-4o-mini\n  \
    aki score --self-test cases.json\n\n\
    Answers are the folder of a run, or a file: lines of JSON (.jsonl) or a JSON list (.json) with \
    `index` and `answer` or `prediction`, or a table (.tsv) with columns `index` and `prediction`, as \
    VLMEvalKit writes them with PRED_FORMAT=tsv or json.")]
pub(crate) struct ScoreArgs {
    /// The folder of a run, or a file of answers
    #[arg(value_name = "RUN|FILE", required_unless_present = "self_test")]
    pub(crate) answers: Option<PathBuf>,
    /// The benchmark's table that a file of answers belongs to
    #[arg(long, value_name = "FILE")]
    pub(crate) questions: Option<PathBuf>,
    /// Which cells of the table count as missing: pandas, old-pandas or empty
    #[arg(long, value_name = "RULE", default_value = "pandas")]
    pub(crate) missing: MissingValues,
    /// Check the scorers against a file of inputs and expected outputs; prints what differs as JSON
    #[arg(long, value_name = "FILE", conflicts_with = "answers")]
    pub(crate) self_test: Option<PathBuf>,
    /// Write report.json, report.csv, report.html and scored.jsonl there; into the run's folder if
    /// left out
    #[arg(long, short = 'o', value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) scoring: ScoringArgs,
}
