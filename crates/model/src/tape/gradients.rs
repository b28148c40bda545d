//! The gradients of parameters while a backward pass adds them up.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use crate::Error;
use crate::parameter::Parameter;
use crate::training::GradientSink;

/// Adds up what every use of a parameter contributes, and hands it on after the last.
///
/// What is computed on a device stays there until the pass is over and then comes in one piece: to
/// wait for every single gradient would keep the device waiting in between.
pub(crate) struct Gradients<'a> {
    sums: HashMap<String, Vec<f32>>,
    on_device: HashMap<String, Tensor>,
    /// What is final of those, in order.
    ready: Vec<(String, Tensor)>,
    /// How many operations may still contribute.
    uses: HashMap<String, usize>,
    sink: &'a mut GradientSink<'a>,
}

impl<'a> Gradients<'a> {
    pub(crate) fn new(sink: &'a mut GradientSink<'a>) -> Self {
        Self {
            sums: HashMap::new(),
            on_device: HashMap::new(),
            ready: Vec::new(),
            uses: HashMap::new(),
            sink,
        }
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
        let grad = grad.flatten_all()?;
        if grad.device().is_cpu() {
            self.add_all(parameter, &grad.to_vec1()?);
            return Ok(());
        }
        let sum = match self.on_device.remove(parameter.name()) {
            Some(earlier) => (earlier + grad)?,
            None => grad,
        };
        self.on_device.insert(parameter.name().to_owned(), sum);
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
            if *uses > 0 {
                continue;
            }
            if let Some(sum) = self.on_device.remove(name) {
                self.ready.push((name.to_owned(), sum));
            } else if let Some(sum) = self.sums.remove(name) {
                (self.sink)(name, sum)?;
            }
        }
        Ok(())
    }

    /// Hands on what is still on the device.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        if self.ready.is_empty() {
            return Ok(());
        }
        let parts: Vec<_> = self.ready.iter().map(|(_, sum)| sum).collect();
        let all = Tensor::cat(&parts, 0)?.to_device(&Device::Cpu)?.to_vec1::<f32>()?;
        let mut rest = all.as_slice();
        for (name, sum) in &self.ready {
            let (values, others) = rest.split_at(sum.elem_count());
            rest = others;
            let mut values = values.to_vec();
            // A table that is also looked up in has a part that was added up here.
            if let Some(sum) = self.sums.remove(name) {
                values.iter_mut().zip(sum).for_each(|(value, more)| *value += more);
            }
            (self.sink)(name, values)?;
        }
        Ok(())
    }
}
