//! One step of the optimizer: gradients of some micro-batches, clipped once, applied once.

use std::collections::BTreeMap;

use crate::data::Sample;
use crate::optimizer::AdamW;
use crate::parallel::Collective;
use crate::{Error, Learner};

/// What a step did.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// The loss of each micro-batch.
    pub micro_losses: Vec<f32>,
    /// The norm of all gradients together, before it was clipped.
    pub grad_norm: f64,
    /// How many positions were predicted.
    pub num_labels: usize,
}

impl StepReport {
    /// Returns the mean of the micro-batches' losses.
    pub fn loss(&self) -> f64 {
        let sum: f64 = self.micro_losses.iter().copied().map(f64::from).sum();
        sum / self.micro_losses.len().max(1) as f64
    }
}

/// The gradients of one step, added up over its micro-batches.
#[derive(Clone, Debug, Default)]
pub struct Accumulator {
    sums: BTreeMap<String, Vec<f32>>,
    report: Option<StepReport>,
}

impl Accumulator {
    /// Adds a micro-batch.
    ///
    /// # Errors
    /// If the model cannot compute its gradients.
    pub fn add(&mut self, learner: &dyn Learner, batch: &[Sample]) -> Result<(), Error> {
        let sums = &mut self.sums;
        let loss = learner.gradients(batch, &mut |name, grad| {
            match sums.get_mut(name) {
                Some(sum) => sum.iter_mut().zip(grad).for_each(|(sum, grad)| *sum += grad),
                None => {
                    sums.insert(name.to_owned(), grad.to_vec());
                }
            }
            Ok(())
        })?;
        let report = self.report.get_or_insert_with(|| StepReport {
            micro_losses: Vec::new(),
            grad_norm: 0.0,
            num_labels: 0,
        });
        report.micro_losses.push(loss.mean);
        report.num_labels += loss.num_labels;
        Ok(())
    }

    /// Returns whether every loss so far is a number.
    pub fn is_finite(&self) -> bool {
        self.report.iter().flat_map(|report| &report.micro_losses).all(|loss| loss.is_finite())
    }

    /// Averages the gradients over micro-batches and processes, and returns what the step saw. The
    /// norm is that of the mean.
    ///
    /// # Errors
    /// If another process is gone.
    pub fn reduce(
        &mut self,
        learner: &dyn Learner,
        group: &mut dyn Collective,
    ) -> Result<StepReport, Error> {
        let mut report = self.report.take().unwrap_or_else(|| StepReport {
            micro_losses: Vec::new(),
            grad_norm: 0.0,
            num_labels: 0,
        });
        let world = group.world();
        let share = 1.0 / (report.micro_losses.len().max(1) * world) as f32;
        let mut squares = 0.0;
        for parameter in learner.parameters() {
            if world > 1 {
                // Another process may have reached what this one has not.
                let len = parameter.num_elements();
                let sum = self.sums.entry(parameter.name.clone()).or_insert_with(|| vec![0.0; len]);
                group.all_reduce_sum(sum)?;
            }
            if let Some(sum) = self.sums.get_mut(&parameter.name) {
                for value in sum.iter_mut() {
                    *value *= share;
                }
                squares += kernels::sum_of_squares(sum);
            }
        }
        report.grad_norm = squares.sqrt();
        Ok(report)
    }

    /// Changes the parameters by the reduced gradients, whose norm is `grad_norm`.
    ///
    /// # Errors
    /// If the model does not have a parameter that a gradient came for.
    pub fn apply(
        &self,
        learner: &dyn Learner,
        optimizer: &mut AdamW,
        (grad_norm, lr): (f64, f64),
    ) -> Result<(), Error> {
        let clip = optimizer.config().clip_norm;
        // As torch.nn.utils.clip_grad_norm_ does it.
        let scale = if clip > 0.0 { (clip / (grad_norm + 1e-6)).min(1.0) } else { 1.0 };
        for (name, grad) in &self.sums {
            learner.change(name, &mut |values| {
                optimizer.update(name, values, (grad, scale as f32, lr));
            })?;
        }
        Ok(())
    }
}
