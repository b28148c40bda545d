//! The directory of a run: what was asked for, what happened, and where to go on from.
//!
//! `recipe.toml` is the resolved recipe, `metrics.jsonl` has a line for every step,
//! `events.out.tfevents.*` the same for `TensorBoard`, `loss.svg` a picture of it, `samples.jsonl`
//! what the model answered, and `checkpoint-*` what a run can go on from.

mod checkpoint;
mod directory;
mod events;
mod metrics;
mod plot;

pub(crate) use self::checkpoint::place;
pub use self::checkpoint::{Found, State, find, newest, prune, save};
pub(crate) use self::directory::METRICS;
pub use self::directory::{
    RunLock, begin, check, check_first_phases, checkpoint_at, inherit, resume, vacant,
};
pub use self::events::EventFile;
pub use self::metrics::{Metrics, StepMetrics};
pub use self::plot::{chart, sparkline, svg};
