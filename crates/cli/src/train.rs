//! `aki train`: a run by a recipe.

mod golden;
mod group;
mod learner;
mod preview;
mod request;
mod warnings;
mod watch;

use anyhow::Result;
use serde::Serialize;
use train::data::SourceContext;
use train::feed::RecipeFeed;
use train::run::{self, Found};
use train::trainer::{Job, Outcome};

use crate::args::TrainArgs;
use crate::environment::Environment;
use crate::interrupt::Interrupt;
use crate::load;
use crate::report::{Failure, Interrupted};
use crate::{compute, output};
use learner::Origin;
use request::Request;
use watch::Watch;

/// What Ctrl-C says.
const STOPPING: &str = "finishing the step and writing a checkpoint; Ctrl-C again ends at once";
/// How many threads make samples where the recipe does not say.
const LOADER_THREADS: usize = 4;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    directory: String,
    steps: u64,
    is_finished: bool,
    checkpoint: Option<String>,
    losses: &'a [f64],
}

/// Trains, or says what would be trained.
pub(crate) fn run(args: &TrainArgs, environment: &Environment) -> Result<()> {
    compute::start(&args.hardware, environment)?;
    kernels::keep_freed_memory();
    if let Some(directory) = &args.golden {
        return golden::run(directory, args.json, args.device.open()?);
    }
    let request = Request::parse(args)?;
    if args.dry_run {
        return preview::print(&request, environment);
    }
    let outcome = train(&request, args, environment)?;
    let Some(outcome) = outcome else { return Ok(()) };
    if args.json {
        output::json(&Report {
            directory: request.directory.display().to_string(),
            steps: outcome.step,
            is_finished: outcome.is_finished,
            checkpoint: outcome.checkpoint.as_ref().map(|path| path.display().to_string()),
            losses: &outcome.losses,
        })?;
    } else {
        output::text(&watch::summary(&outcome))?;
    }
    if outcome.is_finished {
        return Ok(());
    }
    output::note(&format!(
        "stopped after step {}; aki train {} --resume goes on",
        outcome.step,
        request.directory.display()
    ));
    Err(Interrupted.into())
}

/// Does a run; returns how it ended in the process that tells.
fn train(
    request: &Request,
    args: &TrainArgs,
    environment: &Environment,
) -> Result<Option<Outcome>> {
    let device = args.device.open()?;
    let interrupt = Interrupt::install()?;
    let mut group = group::join(environment)?;
    let Request { recipe, phases, directory } = request;
    let is_first = group.rank() == 0;
    let from = start(request, args, is_first)?;
    let origin = Origin::locate(recipe, from.as_ref(), environment)?;
    let config = origin.config()?;
    let (tokenizer, preprocessor) = (origin.tokenizer()?, load::preprocessor(&config));
    let mut watch = Watch::new(request, (&config, &tokenizer), interrupt.arm_with(STOPPING))?;
    warnings::show(watch.bar());
    let template = prompt::ChatTemplate::default();
    let num_vision_tokens = config.num_vision_tokens;
    let context =
        SourceContext::new(tokenizer, template, preprocessor, num_vision_tokens, recipe.seed);
    let context = SourceContext { num_patches: config.vision.num_patches(), ..context };
    let num_threads = recipe.compute.loader_threads.unwrap_or(LOADER_THREADS);
    let mut feed = RecipeFeed::new(recipe, phases, context, (num_threads, &*group))?;
    if is_first {
        watch.announce(&config);
    }
    let mut learner = learner::load((&origin, from.as_ref()), request, (group.rank(), device))?;
    // Only now: what could not even start leaves nothing behind.
    let _lock = if is_first { Some(run::begin(directory, recipe)?) } else { None };
    if let Some(from) = from.as_ref().filter(|_| is_first && args.after.is_some()) {
        run::inherit(directory, from)?;
    }
    group.barrier()?;
    let job = Job {
        directory,
        recipe,
        phases,
        learner: &mut learner,
        feed: &mut feed,
        observer: &mut watch,
        group: &mut *group,
    };
    let outcome = train::trainer::train(job, from);
    watch.finish();
    Ok(Some(outcome?).filter(|_| is_first))
}

/// Settles where the run starts; the first of several processes tells what it finds.
fn start(request: &Request, args: &TrainArgs, is_first: bool) -> Result<Option<Found>> {
    let Request { recipe, directory, .. } = request;
    if args.resume {
        let (found, broken) = run::resume(directory, recipe)?;
        for error in broken.iter().filter(|_| is_first) {
            output::note(&format!("passing over a broken checkpoint: {error}"));
        }
        if found.is_some() {
            return Ok(found);
        }
    } else if is_first {
        run::vacant(directory)?;
    }
    let is_elsewhere = recipe.model.start == train::recipe::Start::SftResume;
    if args.after.is_none() && !is_elsewhere {
        return Ok(None);
    }
    if recipe.lora.is_some() {
        let failure = Failure::new("a run with `lora` cannot go on in another directory");
        return Err(failure.hint("--resume goes on with it in its own").into());
    }
    let Some(after) = &args.after else {
        let found = run::checkpoint_at(recipe.model.init.as_ref())?;
        run::check(&found, recipe)?;
        return Ok(Some(found));
    };
    if !after.exists() {
        let failure = Failure::new(format!("no such file or directory: `{}`", after.display()));
        return Err(failure.hint("expected a run, or one of its checkpoints").into());
    }
    let found = run::checkpoint_at(after)?;
    run::check_first_phases(&found, recipe)?;
    if found.state.phase >= request.phases.len() {
        let message = format!("`{}` has learned all of this recipe", after.display());
        return Err(Failure::new(message).hint("it is the model that is asked for").into());
    }
    Ok(Some(found))
}
