//! How many threads compute: the kernels', and those of everything else.

use anyhow::{Context, Result};

use crate::environment::Environment;
use crate::report::Failure;

/// More threads than any machine has.
const MAX_THREADS: usize = 1024;

/// Starts the pool of threads that everything computes in.
///
/// # Errors
/// If the number of threads makes no sense.
pub(crate) fn start(threads: Option<usize>, environment: &Environment) -> Result<()> {
    if let Some(level) = environment.level {
        kernels::set_level(level).context("cannot use the instructions of `AKI_CPU_LEVEL`")?;
    }
    let Some(threads) = threads.or(environment.threads) else { return Ok(()) };
    if !(1..=MAX_THREADS).contains(&threads) {
        let message = format!("`threads` is {threads}, expected a number from 1 to {MAX_THREADS}");
        return Err(Failure::usage(message).into());
    }
    kernels::parallel::set_num_threads(threads);
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .context("cannot start the threads that compute")
}
