//! What is trained, as the step and the trainer see it.

mod aki;
mod features;
mod lora;

use std::path::Path;

use model::Aki;
use sequence::AttentionPolicy;

pub use self::aki::{AkiFiles, AkiLearner, AkiTraining};

use crate::Error;
use crate::data::Sample;

/// What a parameter is called and how large it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterSpec {
    /// The name in the checkpoint.
    pub name: String,
    /// The shape, outermost dimension first.
    pub shape: Vec<usize>,
}

impl ParameterSpec {
    /// Returns the number of elements.
    pub fn num_elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The mean loss of some samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchLoss {
    /// The mean over the labelled positions.
    pub mean: f32,
    /// How many those are.
    pub num_labels: usize,
}

/// Takes the gradient of a parameter, by name.
pub type GradientSink<'a> = dyn FnMut(&str, Vec<f32>) -> Result<(), Error> + 'a;

/// A model that learns.
pub trait Learner {
    /// Returns what is trained, in the order of names.
    fn parameters(&self) -> &[ParameterSpec];

    /// Sets who may read whom from now on.
    fn set_attention(&mut self, policy: AttentionPolicy);

    /// Returns the loss of a micro-batch and hands the gradient of each parameter that has one to
    /// the sink, once.
    ///
    /// # Errors
    /// If the model cannot compute them.
    fn gradients(&self, batch: &[Sample], sink: &mut GradientSink<'_>) -> Result<BatchLoss, Error>;

    /// Returns the loss of a micro-batch.
    ///
    /// # Errors
    /// If the model cannot compute it.
    fn loss(&self, batch: &[Sample]) -> Result<BatchLoss, Error>;

    /// Lends the values of a parameter to be changed.
    ///
    /// # Errors
    /// If there is no such parameter.
    fn change(&self, name: &str, change: &mut (dyn FnMut(&mut [f32]) + Send)) -> Result<(), Error>;

    /// Writes the model as a checkpoint that everything else can load.
    ///
    /// # Errors
    /// If a file cannot be written.
    fn save(&self, directory: &Path) -> Result<(), Error>;

    /// Returns the model itself, to generate with, if there is one.
    fn model(&self) -> Option<&Aki> {
        None
    }
}
