//! What can go wrong in training.

use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong in training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The data cannot be read on.
    #[error("the data of phase `{phase}` cannot be read")]
    Data {
        /// The phase's name.
        phase: String,
        /// Why.
        #[source]
        source: crate::data::Error,
    },
    /// The model cannot compute.
    #[error("the model cannot compute this batch")]
    Model {
        /// Why.
        #[source]
        source: model::Error,
    },
    /// The tensor framework failed.
    #[error("the tensor framework failed")]
    Framework {
        /// Why.
        #[source]
        source: candle_core::Error,
    },
    /// Weights cannot be read or written.
    #[error("weights cannot be read or written")]
    Checkpoint {
        /// Why.
        #[source]
        source: checkpoint::Error,
    },
    /// The features of images cannot be kept.
    #[error("the features of images cannot be kept")]
    Features {
        /// Why.
        #[from]
        source: crate::features::FeatureCacheError,
    },
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A checkpoint could not be saved.
    #[error(
        "the checkpoint of step {step} cannot be saved, {}; free some space and go on with --resume",
        last_good(last.as_deref())
    )]
    Save {
        /// The steps done.
        step: u64,
        /// The newest complete checkpoint.
        last: Option<PathBuf>,
        /// Why.
        #[source]
        source: Box<Error>,
    },
    /// A file does not hold what it should.
    #[error("`{}` is not valid: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The loss or the norm of the gradients is not a number.
    #[error(
        "the {what} of step {step} is {found}, {}; a lower `lr` or other data may help",
        last_good(last.as_deref())
    )]
    NotFinite {
        /// `loss` or `gradient norm`.
        what: &'static str,
        /// The step, counted from 0.
        step: u64,
        /// What it is.
        found: f64,
        /// The newest complete checkpoint.
        last: Option<PathBuf>,
    },
    /// A gradient came for something that is not trained.
    #[error("no trained parameter is called `{name}`")]
    NoParameter {
        /// Its name.
        name: String,
    },
    /// A gradient is not what the parameter's should be, or came twice.
    #[error("a gradient for `{name}` has {found} elements or came twice, expected {expected} once")]
    Gradient {
        /// The parameter.
        name: String,
        /// The elements expected.
        expected: usize,
        /// The elements found.
        found: usize,
    },
    /// A checkpoint belongs to another model.
    #[error("`{}` holds `{name}` with {found} elements, expected {expected}", path.display())]
    Moments {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The elements expected.
        expected: usize,
        /// The elements found.
        found: usize,
    },
    /// A run is to start where something is already.
    #[error(
        "`{}` is not empty; --resume goes on with the run in it, another --output starts a new one",
        path.display()
    )]
    NotEmpty {
        /// The run's directory.
        path: PathBuf,
    },
    /// A run goes on already.
    #[error("another process trains in `{}`", path.display())]
    Busy {
        /// The run's directory.
        path: PathBuf,
    },
    /// A run is to go on, but there is none.
    #[error("no run in `{}`; leave out --resume to start one", path.display())]
    NoCheckpoint {
        /// The run's directory.
        path: PathBuf,
    },
    /// A run is to go on with another recipe.
    #[error(
        "the recipe is not that of the run in `{}`: `{key}` differs; give the run's own recipe.toml, \
         or another --output",
        path.display()
    )]
    OtherRecipe {
        /// The run's directory.
        path: PathBuf,
        /// The first key that differs.
        key: String,
    },
    /// Adapters have no layer to be added to.
    #[error(
        "no layer matches `lora.targets`: {targets}; a target is a layer's name without `.weight`"
    )]
    NoAdapter {
        /// The patterns.
        targets: String,
    },
    /// Nothing is trained.
    #[error("no tensor is trained, all of them match `frozen`: {patterns}")]
    NothingTrained {
        /// The patterns.
        patterns: String,
    },
    /// A recipe is not valid.
    #[error("{message}")]
    Recipe {
        /// What is wrong, with file and line.
        message: String,
    },
    /// Another process cannot be reached.
    #[error("the processes cannot work together: {reason}")]
    Collective {
        /// Why.
        reason: String,
    },
    /// The launcher's variables make no sense.
    #[error("environment variable `{variable}` is `{found}`, expected {expected}")]
    Launch {
        /// Its name.
        variable: String,
        /// Its value.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// Several processes were started by a program that cannot speak to others.
    #[error(
        "{world} processes were started, but this program is built without MPI; build it with \
         `cargo build --release -p cli --features mpi`, or start one process"
    )]
    WithoutMpi {
        /// How many.
        world: usize,
    },
    /// Whoever watches the run failed.
    #[error("{what} failed")]
    Observer {
        /// What it was doing.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Write { path, source }
    }
}

impl From<model::Error> for Error {
    fn from(source: model::Error) -> Self {
        Self::Model { source }
    }
}

impl From<candle_core::Error> for Error {
    fn from(source: candle_core::Error) -> Self {
        Self::Framework { source }
    }
}

impl From<checkpoint::Error> for Error {
    fn from(source: checkpoint::Error) -> Self {
        Self::Checkpoint { source }
    }
}

fn last_good(last: Option<&Path>) -> String {
    match last {
        Some(path) => format!("the last complete checkpoint is `{}`", path.display()),
        None => "no checkpoint was complete before it".to_owned(),
    }
}
