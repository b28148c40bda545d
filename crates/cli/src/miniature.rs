//! `aki miniature`: the synthetic world.

use std::sync::OnceLock;

use anyhow::{Context, Result};
use engine::CancelToken;
use indicatif::ProgressBar;
use miniature::{Error, Observer, Size, WorldConfig, generate};

use crate::args::{MiniatureArgs, WorldSize};
use crate::interrupt::Interrupt;
use crate::report::Interrupted;
use crate::{output, progress};

/// What Ctrl-C says.
const STOPPING: &str = "stopping; the same command goes on with what is missing";

/// Writes a world.
pub(crate) fn run(args: &MiniatureArgs) -> Result<()> {
    let size = match args.size {
        WorldSize::Tiny => Size::Tiny,
        WorldSize::Small => Size::Small,
        WorldSize::Full => Size::Full,
    };
    let (output, seed, image_size) = (args.output.clone(), args.seed, args.image_size);
    let config = WorldConfig { output, seed, size, image_size, only: args.only.clone() };
    let watch = Watch { bar: OnceLock::new(), token: Interrupt::install()?.arm_with(STOPPING) };
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads.unwrap_or_default())
        .build()
        .context("cannot start threads")?;
    let made = threads.install(|| generate(&config, &watch));
    if let Some(bar) = watch.bar.get() {
        bar.finish_and_clear();
    }
    let summary = match made {
        Err(Error::Interrupted) => return Err(Interrupted.into()),
        made => made?,
    };
    if args.json {
        return output::json(&summary);
    }
    output::line(&format!(
        "{}: {} pictures, {} examples to train on, {} questions to test with",
        args.output.display(),
        summary.pictures,
        summary.examples,
        summary.tests
    ))
}

/// Shows how far it is, and stops on Ctrl-C.
struct Watch {
    bar: OnceLock<ProgressBar>,
    token: CancelToken,
}

impl Observer for Watch {
    fn begin(&self, total: usize) {
        self.bar.get_or_init(|| progress::things("world", total as u64));
    }

    fn advance(&self) {
        if let Some(bar) = self.bar.get() {
            bar.inc(1);
        }
    }

    fn is_interrupted(&self) -> bool {
        self.token.is_cancelled()
    }
}
