//! `aki eval`: benchmarks.

mod ahead;
mod answerer;
mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use engine::CancelToken;
use eval::endpoint::EndpointConfig;
use eval::report::{benchmark_folders, compare, comparison_text};
use eval::run::{Answerer, EndpointAnswerer, Merged, RunSettings, Selection, Store, ask, merge};
use eval::score::Sheet;
use eval::{CV_BENCH_URL, Dataset, Error, ImageUse, MessageOptions, Published, catalog, find};

use self::answerer::ModelAnswerer;
use self::watch::Watch;
use crate::args::EvalArgs;
use crate::environment::Environment;
use crate::interrupt::Interrupt;
use crate::report::{Failure, Interrupted};
use crate::runtime::Runtime;
use crate::{compute, output, score};

/// What Ctrl-C says.
const STOPPING: &str = "stopping after the answers under way; the same command goes on";

/// Evaluates, lists, merges or compares.
pub(crate) fn run(args: &EvalArgs, environment: &Environment) -> Result<()> {
    let root = args.data.clone().or_else(|| environment.benchmark_root());
    let root = root.unwrap_or_else(|| PathBuf::from("."));
    if args.list {
        return list(&root, args);
    }
    if !args.merge.is_empty() {
        for Merged { name, answers, questions } in merge(&args.merge, &args.output)? {
            output::line(&format!("{name}: {answers} of {questions} questions are answered"))?;
        }
        return Ok(());
    }
    if let [first, second] = &args.compare[..] {
        return differences(first, second, args, environment);
    }
    // Tables are read on several threads already.
    compute::start(&args.compute.hardware, environment)?;
    let datasets = open(args, &root)?;
    let cancel = Interrupt::install()?.arm_with(STOPPING);
    let mut folders = Vec::new();
    if let Some(url) = &args.endpoint.endpoint {
        let config = EndpointConfig {
            key: args.endpoint.endpoint_key.clone().or_else(|| environment.openai_key.clone()),
            concurrency: args.batch,
            retries: args.endpoint.retries,
            timeout: Duration::from_secs(args.endpoint.timeout),
            notify: output::note,
            ..EndpointConfig::new(url, &args.endpoint.endpoint_model)
        };
        let token = cancel.clone();
        let mut answerer = EndpointAnswerer::new(config, move || token.is_cancelled());
        let model = format!("{} at {url}", args.endpoint.endpoint_model);
        ask_all(args, &datasets, (&model, &mut answerer), &cancel, &mut folders)?;
    } else {
        let runtime = Runtime::load(&args.model.model, &args.compute, environment)?;
        let mut answerer = ModelAnswerer::new(&runtime, args, cancel.clone());
        ask_all(args, &datasets, (&args.model.model, &mut answerer), &cancel, &mut folders)?;
    }
    if args.no_score {
        return Ok(());
    }
    let sheets = read(&folders)?;
    let title = score::title(&sheets).unwrap_or_default();
    let sources = score::Sources { title, sheets: &sheets, datasets: &datasets };
    score::finish(sources, Some(&args.output), &args.scoring, environment)
}

fn read(folders: &[PathBuf]) -> Result<Vec<score::Asked>> {
    folders
        .iter()
        .map(|folder| Ok(Sheet::read(folder).map(|(run, sheet)| (Some(run), sheet))?))
        .collect()
}

/// Opens the benchmarks that are asked for, all that there are if none are.
fn open(args: &EvalArgs, root: &Path) -> Result<Vec<Dataset>> {
    let paths = if args.benchmarks.is_empty() {
        let found: Vec<PathBuf> =
            catalog(root).into_iter().filter_map(|found| found.path).collect();
        if found.is_empty() {
            let failure = Failure::new(format!("no benchmarks in `{}`", root.display()));
            return Err(failure
                .hint("`aki eval --list` says where to get them; --data names another folder")
                .into());
        }
        found
    } else {
        args.benchmarks.iter().map(|name| find(name, root)).collect::<Result<_, _>>()?
    };
    let mut datasets = Vec::new();
    for path in paths {
        let dataset = Dataset::open(&path, args.missing)?;
        for note in &dataset.notes {
            output::note(&format!("{}: {note}", dataset.name));
        }
        datasets.push(dataset);
    }
    Ok(datasets)
}

/// Asks the questions of every benchmark; the folders of their answers are added to `folders`.
fn ask_all(
    args: &EvalArgs,
    datasets: &[Dataset],
    (model, answerer): (&str, &mut dyn Answerer),
    cancel: &CancelToken,
    folders: &mut Vec<PathBuf>,
) -> Result<()> {
    let by_endpoint = args.endpoint.endpoint.is_some();
    let images = args.images.unwrap_or(if by_endpoint { ImageUse::All } else { ImageUse::First });
    let selection = Selection {
        limit: args.limit,
        shard: args.shard.unwrap_or_default(),
        message: MessageOptions { images, short: args.short, text_first: args.text_first },
        max_new_tokens: args.max_new_tokens,
        jpeg: !args.original_images,
    };
    let total = datasets.iter().map(|dataset| eval::run::num_selected(dataset, &selection)).sum();
    let watch = Watch::new(total, cancel.clone());
    for dataset in datasets {
        let folder = args.output.join(&dataset.name);
        let settings = settings(args, dataset, model, &selection);
        let mut store = Store::open(&folder, &settings, dataset, selection.shard)
            .map_err(|error| other_run(error, &folder))?;
        let asked = ask(dataset, &selection, &mut store, answerer, &watch);
        let asked = match asked {
            Err(Error::Interrupted) => {
                watch.finish();
                return Err(Interrupted.into());
            }
            asked => asked.map_err(score::hinted)?,
        };
        watch.end_benchmark(&dataset.name, &asked);
        folders.push(folder);
    }
    watch.finish();
    Ok(())
}

fn other_run(error: Error, folder: &Path) -> anyhow::Error {
    if !matches!(error, Error::OtherRun { .. }) {
        return error.into();
    }
    let hint = format!(
        "choose another --output, or remove `{}` if its answers are not needed any more",
        folder.display()
    );
    let message = error.to_string();
    Failure::new(message).hint(hint).into()
}

/// Returns what has to be the same for a run to go on.
fn settings(args: &EvalArgs, dataset: &Dataset, model: &str, selection: &Selection) -> RunSettings {
    let mut options = BTreeMap::new();
    let mut set = |name: &str, value: String| options.insert(name.to_owned(), value);
    set("images", format!("{:?}", selection.message.images).to_lowercase());
    set("short", selection.message.short.to_string());
    if args.text_first {
        set("text-first", "true".to_owned());
    }
    set("jpeg", selection.jpeg.to_string());
    set("missing", format!("{:?}", args.missing).to_lowercase());
    let limit = selection.max_new_tokens.unwrap_or_else(|| dataset.family.max_new_tokens());
    set("max-new-tokens", limit.to_string());
    if args.endpoint.endpoint.is_none() {
        set("attention", args.policy.attention.to_string());
        set("dtype", format!("{:?}", args.compute.dtype).to_lowercase());
        if let Some(quantize) = args.compute.quantize {
            set("quantize", quantize.quantization().name().to_owned());
        }
        if let Some(kv_type) = args.compute.kv_cache.kv_type() {
            set("kv-cache", kv_type.name().to_owned());
        }
    }
    RunSettings {
        benchmark: dataset.name.clone(),
        family: dataset.family,
        data: dataset.path().to_owned(),
        checksum: dataset.checksum.clone(),
        model: model.to_owned(),
        options,
    }
}

/// Shows what is there, and where to get what is not.
fn list(root: &Path, args: &EvalArgs) -> Result<()> {
    output::line(&format!("in {}:\n", root.display()))?;
    for found in catalog(root) {
        let line = match (&found.path, &found.address) {
            (None, Some(address)) => format!("missing, get it from {address}"),
            (None, None) => "missing".to_owned(),
            (Some(path), _) => match Dataset::open(path, args.missing) {
                Err(error) => format!("broken: {error}"),
                Ok(dataset) => described(&dataset),
            },
        };
        output::line(&format!("{:<16} {line}", found.name))?;
    }
    output::line(&format!(
        "\nPut tables there as NAME.tsv, and the parquet files of {CV_BENCH_URL} into CV-Bench/."
    ))
}

fn described(dataset: &Dataset) -> String {
    let (family, count) = (dataset.family, dataset.questions.len());
    let mut line = format!("{count} questions, {family}");
    if dataset.notes.is_empty() && Published::find(&dataset.name).is_some() {
        line.push_str(", the published file");
    }
    for note in &dataset.notes {
        line.push_str("\n                 ");
        line.push_str(note);
    }
    line
}

/// Compares two runs.
fn differences(
    first: &Path,
    second: &Path,
    args: &EvalArgs,
    environment: &Environment,
) -> Result<()> {
    let scored = |run: &Path| -> Result<score::Run> {
        let sheets = read(&benchmark_folders(run)?)?;
        let title = score::title(&sheets).unwrap_or_default();
        let (scored, _) = score::score_all(&sheets, Some(run), &args.scoring, environment)
            .with_context(|| format!("cannot score `{}`", run.display()))?;
        Ok(score::Run { title: format!("{title} ({})", run.display()), sheets, scored })
    };
    let (a, b) = (scored(first)?, scored(second)?);
    let comparison = compare((&a.title, &a.scored), (&b.title, &b.scored));
    if comparison.benchmarks.is_empty() {
        return Err(Failure::new("the runs have no answered question in common").into());
    }
    if let Some(path) = &args.page {
        score::comparison_page(path, &comparison, (&a, &b), args.scoring.wrong)?;
    }
    if args.scoring.json {
        return output::json(&comparison);
    }
    output::text(&comparison_text(&comparison))
}
