//! What computes: which instructions, and how many threads, the kernels' and those of everything else.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use crate::args::HardwareArgs;
use crate::environment::Environment;
use crate::report::Failure;

/// Whether the pool of threads has been started.
static STARTED: AtomicBool = AtomicBool::new(false);

/// More threads than any machine has.
const MAX_THREADS: usize = 1024;

/// Chooses the instructions, and starts the pool of threads that everything computes in.
///
/// # Errors
/// If the processor lacks the instructions, or the number of threads makes no sense.
pub(crate) fn start(hardware: &HardwareArgs, environment: &Environment) -> Result<()> {
    if let Some(level) = hardware.cpu_features {
        kernels::set_level(level).context("cannot use the instructions of `--cpu-features`")?;
    } else if let Some(level) = environment.level {
        kernels::set_level(level).context("cannot use the instructions of `AKI_CPU_LEVEL`")?;
    }
    let Some(threads) = hardware.threads.or(environment.threads) else { return Ok(()) };
    if !(1..=MAX_THREADS).contains(&threads) {
        let message = format!("`threads` is {threads}, expected a number from 1 to {MAX_THREADS}");
        return Err(Failure::usage(message).into());
    }
    kernels::parallel::set_num_threads(threads);
    // Several models may be loaded one after the other; the pool is started once.
    if STARTED.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .context("cannot start the threads that compute")
}
