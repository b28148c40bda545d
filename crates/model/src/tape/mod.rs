//! Gradients: what a forward pass computed, walked backwards.
//!
//! The model is written in the operations of a [`Tape`]. One that is off computes and remembers
//! nothing, as inference does; one that is on keeps for every operation what its gradient needs,
//! and gives it back as the backward pass is through with it. The framework's own gradients are
//! used for nothing but compositions away from the CPU.

mod attention;
mod device;
mod gradients;
mod linear;
mod ops;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use candle_core::{Tensor, TensorId, Var};

pub(crate) use self::attention::{Part, Parts, side_by_side};
pub(crate) use self::device::column_sums;
pub(crate) use self::gradients::Gradients;
pub(crate) use self::linear::{LinearWeights, operand};
pub(crate) use self::ops::parts;
use crate::Error;
use crate::parameter::Parameter;
use crate::training::{Precision, StepOptions};
use crate::weights::Weight;

/// What gives the gradients of an operation's inputs from those of its outputs.
type Backward =
    Box<dyn FnOnce(&mut Gradients<'_>, Vec<Option<Tensor>>) -> Result<Vec<Option<Tensor>>, Error>>;

/// One operation.
struct Node {
    /// Those that a gradient is wanted for.
    inputs: Vec<Option<TensorId>>,
    outputs: Vec<TensorId>,
    parameters: Vec<Arc<Parameter>>,
    backward: Backward,
}

#[derive(Default)]
struct Recording {
    nodes: Vec<Node>,
    /// What depends on a parameter or on a leaf that is watched.
    tracked: HashSet<TensorId>,
}

/// The operations of a forward pass.
pub(crate) struct Tape {
    options: Option<StepOptions>,
    /// Whether there are many rows, which decides how products are summed.
    has_many_rows: bool,
    recording: Option<RefCell<Recording>>,
}

impl Tape {
    /// Returns a tape that remembers nothing, for inference on few rows at a time.
    pub(crate) fn off() -> Self {
        Self { options: None, has_many_rows: false, recording: None }
    }

    /// Returns a tape that remembers nothing, for inference on prompts and images.
    ///
    /// Products are then summed in another order than in [`Self::off`], so the two must not take
    /// turns by the number of rows that happen to come together: what a row gives would depend
    /// on the rows beside it.
    pub(crate) fn of_prompts() -> Self {
        Self { has_many_rows: true, ..Self::off() }
    }

    /// Returns a tape that remembers nothing but computes as training does.
    pub(crate) fn forward_only(options: StepOptions) -> Self {
        Self { options: Some(options), has_many_rows: true, recording: None }
    }

    /// Returns a tape that remembers.
    pub(crate) fn on(options: StepOptions) -> Self {
        Self { recording: Some(RefCell::default()), ..Self::forward_only(options) }
    }

    /// Returns whether this is training, with gradients or without.
    fn is_training(&self) -> bool {
        self.options.is_some()
    }

    /// Returns whether linear layers round their operands to bfloat16.
    pub(crate) fn rounds(&self) -> bool {
        self.options.is_some_and(|options| options.precision == Precision::Bf16)
    }

    /// Counts a tensor among those that gradients are wanted for.
    pub(crate) fn watch(&self, x: &Tensor) {
        if let Some(recording) = &self.recording {
            recording.borrow_mut().tracked.insert(x.id());
        }
    }

    /// Returns whether a gradient is wanted for a tensor.
    fn tracks(&self, x: &Tensor) -> bool {
        self.recording.as_ref().is_some_and(|it| it.borrow().tracked.contains(&x.id()))
    }

    /// Remembers an operation, if a gradient is wanted for anything it depends on.
    ///
    /// `backward` gets the gradients of the outputs, of which at least one is there, and gives those
    /// of the inputs; those of parameters it adds itself.
    fn record(
        &self,
        inputs: &[&Tensor],
        parameters: Vec<Arc<Parameter>>,
        outputs: &[&Tensor],
        backward: impl FnOnce(
            &mut Gradients<'_>,
            Vec<Option<Tensor>>,
        ) -> Result<Vec<Option<Tensor>>, Error>
        + 'static,
    ) {
        let Some(recording) = &self.recording else { return };
        let mut recording = recording.borrow_mut();
        let Recording { nodes, tracked } = &mut *recording;
        let inputs: Vec<_> =
            inputs.iter().map(|x| Some(x.id()).filter(|id| tracked.contains(id))).collect();
        if inputs.iter().all(Option::is_none) && parameters.is_empty() {
            return;
        }
        tracked.extend(outputs.iter().map(|out| out.id()));
        let outputs = outputs.iter().map(|out| out.id()).collect();
        nodes.push(Node { inputs, outputs, parameters, backward: Box::new(backward) });
    }

    /// Remembers an operation of one output.
    fn record_one(
        &self,
        inputs: &[&Tensor],
        parameters: Vec<Arc<Parameter>>,
        output: &Tensor,
        backward: impl FnOnce(&mut Gradients<'_>, Tensor) -> Result<Vec<Option<Tensor>>, Error>
        + 'static,
    ) {
        self.record(inputs, parameters, &[output], |gradients, mut douts| {
            match douts.pop().flatten() {
                Some(dout) => backward(gradients, dout),
                None => Ok(Vec::new()),
            }
        });
    }

    /// Computes a part of the model, and computes it again in the backward pass if that is how
    /// memory is saved, so that of all its activations only its input is kept.
    pub(crate) fn part(
        &self,
        x: &Tensor,
        compute: impl Fn(&Self, &Tensor) -> Result<Tensor, Error> + 'static,
    ) -> Result<Tensor, Error> {
        let Some(options) = self.options.filter(|it| it.recompute && self.recording.is_some())
        else {
            return compute(self, x);
        };
        let out = compute(&Self::forward_only(options), x)?;
        let input = x.clone();
        let tracked = self.tracks(x);
        // Whether it has parameters shows only when it is computed again.
        self.watch(x);
        self.record_one(&[x], Vec::new(), &out, move |gradients, dout| {
            let tape = Self::on(options);
            if tracked {
                tape.watch(&input);
            }
            let out = compute(&tape, &input)?;
            gradients.expect(tape.parameters());
            tape.unwind(gradients, (&out, dout), &[&input])
        });
        Ok(out)
    }

    /// Computes a composition of the framework's operations, with the framework's gradients.
    pub(crate) fn composed(
        &self,
        inputs: &[&Tensor],
        weights: &[&Weight],
        compute: impl Fn(&[Tensor], &[Tensor]) -> candle_core::Result<Tensor> + 'static,
    ) -> Result<Tensor, Error> {
        let xs: Vec<Tensor> = inputs.iter().copied().cloned().collect();
        let values =
            weights.iter().map(|it| it.tensor()).collect::<candle_core::Result<Vec<_>>>()?;
        let out = compute(&xs, &values)?;
        let trained: Vec<_> = weights.iter().map(|it| it.parameter().cloned()).collect();
        let parameters = trained.iter().flatten().cloned().collect();
        self.record_one(inputs, parameters, &out, move |gradients, dout| {
            let vars = |tensors: &[Tensor]| {
                tensors.iter().map(Var::from_tensor).collect::<candle_core::Result<Vec<_>>>()
            };
            let (xs, values) = (vars(&xs)?, vars(&values)?);
            let tensors =
                |vars: &[Var]| vars.iter().map(|it| it.as_tensor().clone()).collect::<Vec<_>>();
            let out = compute(&tensors(&xs), &tensors(&values))?;
            let store = (out * dout)?.sum_all()?.backward()?;
            for (value, parameter) in values.iter().zip(&trained) {
                if let (Some(parameter), Some(grad)) = (parameter, store.get(value)) {
                    gradients.add_tensor(parameter, grad)?;
                }
            }
            Ok(xs.iter().map(|x| store.get(x).map(Tensor::detach)).collect())
        });
        Ok(out)
    }

    /// Returns the parameters of all operations, each as often as it is used.
    pub(crate) fn parameters(&self) -> Vec<Arc<Parameter>> {
        let Some(recording) = &self.recording else { return Vec::new() };
        let recording = recording.borrow();
        recording.nodes.iter().flat_map(|node| node.parameters.iter().cloned()).collect()
    }

    /// Walks back from the gradient of a result, and returns those of the wanted inputs.
    pub(crate) fn unwind(
        self,
        gradients: &mut Gradients<'_>,
        (result, dresult): (&Tensor, Tensor),
        wanted: &[&Tensor],
    ) -> Result<Vec<Option<Tensor>>, Error> {
        let Some(recording) = self.recording else { return Ok(Vec::new()) };
        let mut nodes = recording.into_inner().nodes;
        let mut flowing = HashMap::from([(result.id(), dresult)]);
        while let Some(node) = nodes.pop() {
            let douts: Vec<_> = node.outputs.iter().map(|id| flowing.remove(id)).collect();
            if douts.iter().any(Option::is_some) {
                let dinputs = (node.backward)(gradients, douts)?;
                for (id, dinput) in node.inputs.into_iter().zip(dinputs) {
                    let (Some(id), Some(dinput)) = (id, dinput) else { continue };
                    let sum = match flowing.remove(&id) {
                        Some(earlier) => ops::sum(&earlier, &dinput, 1.0)?,
                        None => dinput,
                    };
                    flowing.insert(id, sum);
                }
            }
            gradients.done(&node.parameters)?;
        }
        Ok(wanted.iter().map(|x| flowing.remove(&x.id())).collect())
    }
}
