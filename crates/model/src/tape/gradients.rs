//! The gradients of parameters while a backward pass adds them up.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::Tensor;

use crate::Error;
use crate::parameter::Parameter;
use crate::training::GradientSink;

/// Adds up what every use of a parameter contributes, and hands it on after the last.
pub(crate) struct Gradients<'a> {
    sums: HashMap<String, Vec<f32>>,
    /// How many operations may still contribute.
    uses: HashMap<String, usize>,
    sink: &'a mut GradientSink<'a>,
}

impl<'a> Gradients<'a> {
    pub(crate) fn new(sink: &'a mut GradientSink<'a>) -> Self {
        Self { sums: HashMap::new(), uses: HashMap::new(), sink }
    }

    /// Announces uses of parameters.
    pub(crate) fn expect(&mut self, parameters: impl IntoIterator<Item = Arc<Parameter>>) {
        for parameter in parameters {
            *self.uses.entry(parameter.name().to_owned()).or_default() += 1;
        }
    }

    /// Adds a contribution: `write` writes it, or adds it to what is there if it is told to.
    pub(crate) fn add(&mut self, parameter: &Parameter, write: impl FnOnce(&mut [f32], bool)) {
        if let Some(sum) = self.sums.get_mut(parameter.name()) {
            write(sum, true);
        } else {
            let mut sum = kernels::unwritten(parameter.num_elements());
            write(&mut sum, false);
            self.sums.insert(parameter.name().to_owned(), sum);
        }
    }

    /// Adds a contribution that is a tensor.
    pub(crate) fn add_tensor(&mut self, parameter: &Parameter, grad: &Tensor) -> Result<(), Error> {
        let grad = grad.flatten_all()?.to_vec1::<f32>()?;
        self.add_all(parameter, &grad);
        Ok(())
    }

    /// Adds a contribution that is there already.
    pub(crate) fn add_all(&mut self, parameter: &Parameter, grad: &[f32]) {
        self.add(parameter, |sum, accumulate| {
            if accumulate {
                sum.iter_mut().zip(grad).for_each(|(sum, grad)| *sum += grad);
            } else {
                sum.copy_from_slice(grad);
            }
        });
    }

    /// Counts one use of parameters as done, and hands on what is final.
    pub(crate) fn done(&mut self, parameters: &[Arc<Parameter>]) -> Result<(), Error> {
        for parameter in parameters {
            let name = parameter.name();
            let uses = self.uses.entry(name.to_owned()).or_default();
            *uses = uses.saturating_sub(1);
            if *uses == 0
                && let Some(sum) = self.sums.remove(name)
            {
                (self.sink)(name, sum)?;
            }
        }
        Ok(())
    }
}
