//! `aki train`: a run by a recipe.

mod preview;
mod request;

use anyhow::Result;

use crate::args::TrainArgs;
use crate::compute;
use crate::environment::Environment;
use crate::report::Failure;
use request::Request;

/// Trains, or says what would be trained.
pub(crate) fn run(args: &TrainArgs, environment: &Environment) -> Result<()> {
    compute::start(args.threads, environment)?;
    let request = Request::parse(args)?;
    if args.dry_run {
        return preview::print(&request, environment);
    }
    Err(Failure::new("only --dry-run is there yet").into())
}
