//! The loss of hidden states, and its gradients, without ever holding all logits.

use candle_core::{D, Device, Tensor};
use kernels::parallel::{chunks, chunks_mut, for_each};
use kernels::unwritten;

use super::Vocabulary;
use crate::Error;
use crate::linear::Linear;
use crate::ops::{elements, plain};
use crate::tape::{Gradients, Tape, column_sums, operand};
use crate::weights::Weight;

/// Logits that are held at once.
const LOGITS: usize = 1 << 22;
/// The same on a device, which is quick with many.
const DEVICE_LOGITS: usize = 1 << 27;
/// The fewest rows that are worth a pass over the table.
const MIN_ROWS: usize = 64;

impl Vocabulary {
    /// Returns the sum of the cross-entropies of predicting a target from each row.
    ///
    /// With somewhere for gradients to go, those of `scale` times the sum: of the hidden states as
    /// the second value. `// [rows, hidden]`
    pub(crate) fn loss(
        &self,
        tape: &Tape,
        hidden: &Tensor,
        targets: &[u32],
        gradients: Option<(&mut Gradients<'_>, f32)>,
    ) -> Result<(f64, Option<Tensor>), Error> {
        let vocab_size = self.len();
        if let Some(id) = targets.iter().copied().find(|id| *id as usize >= vocab_size) {
            return Err(Error::TokenId { id, vocab_size });
        }
        if !hidden.device().is_cpu() {
            return self.dense_loss(hidden, targets, gradients);
        }
        let hidden = hidden.contiguous()?;
        let x = elements(&hidden)?;
        let (mut gradients, scale) = gradients.map_or((None, 0.0), |(to, scale)| (Some(to), scale));
        let mut dhidden = gradients.as_ref().map(|_| unwritten(x.len()));
        let rows = (LOGITS / vocab_size.max(1)).max(MIN_ROWS);
        let mut sum = 0.0;
        for (index, targets) in targets.chunks(rows).enumerate() {
            let at = index * rows * self.hidden..;
            let x = &x[at.start..][..targets.len() * self.hidden];
            let mut logits = self.chunk(tape, x)?;
            sum += match (&mut gradients, &mut dhidden) {
                (Some(gradients), Some(dhidden)) => {
                    let dhidden = &mut dhidden[at.start..][..x.len()];
                    let sum = kernels::cross_entropy_grad(&mut logits, targets, scale);
                    self.chunk_grad(tape, (x, &logits), dhidden, gradients)?;
                    sum
                }
                _ => kernels::cross_entropy(&logits, targets),
            };
        }
        let dhidden = dhidden.map(|dx| Tensor::from_vec(dx, hidden.shape(), &Device::Cpu));
        Ok((sum, dhidden.transpose()?))
    }

    /// Returns the heads: that of the table with as many of its rows as have ids, that of the added
    /// ids.
    fn heads(&self) -> impl Iterator<Item = (&Linear, usize)> {
        let base = (&self.head, self.base);
        [base].into_iter().chain(self.added_head.iter().map(|head| (head, self.added)))
    }

    /// Returns the trained tensors that the loss depends on.
    pub(crate) fn head_parameters(&self) -> Vec<std::sync::Arc<crate::Parameter>> {
        let of = |(head, _): (&Linear, usize)| {
            let weights = head.weights();
            [weights.weight.parameter().cloned(), weights.bias.and_then(Weight::parameter).cloned()]
        };
        self.heads().flat_map(of).flatten().collect()
    }

    /// Returns the logits of some rows. `// [rows, ids]`
    fn chunk(&self, tape: &Tape, x: &[f32]) -> Result<Vec<f32>, Error> {
        let (rows, width) = (x.len() / self.hidden, self.len());
        let mut logits = unwritten(rows * width);
        let mut start = 0;
        for (head, count) in self.heads() {
            let weights = head.weights();
            let bias = weights.bias.map(Weight::tensor).transpose()?;
            let bias = bias.as_ref().map(elements).transpose()?;
            let mut out = Vec::new();
            let out_width = weights.out_width;
            // Where nothing is left out and nothing follows, the logits are written in place.
            let is_all = out_width == width;
            if !is_all {
                out = unwritten(rows * out_width);
            }
            let target = if is_all { &mut logits } else { &mut out };
            weights.weight.with_matrix(tape.rounds(), |weight| {
                kernels::linear_packed(x, weight, bias.as_deref(), self.hidden, target);
                Ok(())
            })?;
            if !is_all {
                let rows = (chunks_mut(&mut logits, width), chunks(&out, out_width));
                for_each(rows, 1, |_, (to, from)| {
                    to[start..start + count].copy_from_slice(&from[..count]);
                });
            }
            start += count;
        }
        Ok(logits)
    }

    /// Adds the gradients of some rows, from those of their logits.
    fn chunk_grad(
        &self,
        tape: &Tape,
        (x, dlogits): (&[f32], &[f32]),
        dx: &mut [f32],
        gradients: &mut Gradients<'_>,
    ) -> Result<(), Error> {
        let (rows, width) = (x.len() / self.hidden, self.len());
        let mut rounded = Vec::new();
        let x = operand(x, &mut rounded, tape.rounds());
        let mut start = 0;
        for (index, (head, count)) in self.heads().enumerate() {
            let weights = head.weights();
            let out_width = weights.out_width;
            let mut of_head;
            let mut dy = dlogits;
            if out_width != width {
                of_head = unwritten(rows * out_width);
                let rows = (chunks_mut(&mut of_head, out_width), chunks(dlogits, width));
                for_each(rows, 1, |_, (to, from)| {
                    let (to, unused) = to.split_at_mut(count);
                    to.copy_from_slice(&from[start..start + count]);
                    unused.fill(0.0);
                });
                dy = &of_head;
            }
            let mut rounded = Vec::new();
            let dy = operand(dy, &mut rounded, tape.rounds());
            if let Some(parameter) = weights.weight.parameter() {
                gradients.add(parameter, |dw, accumulate| {
                    kernels::linear_grad_weight(dy, x, self.hidden, dw, accumulate);
                });
            }
            if let Some(parameter) = weights.bias.and_then(Weight::parameter) {
                gradients.add(parameter, |db, accumulate| {
                    kernels::linear_grad_bias(dy, db, accumulate);
                });
            }
            weights.weight.with_matrix(tape.rounds(), |weight| {
                if index == 0 {
                    kernels::linear_grad_input(dy, weight, self.hidden, dx);
                } else {
                    let mut more = unwritten(dx.len());
                    kernels::linear_grad_input(dy, weight, self.hidden, &mut more);
                    dx.iter_mut().zip(more).for_each(|(dx, more)| *dx += more);
                }
                Ok(())
            })?;
            start += count;
        }
        Ok(())
    }

    /// The same by the framework's operations, on any device.
    pub(super) fn dense_loss(
        &self,
        hidden: &Tensor,
        targets: &[u32],
        gradients: Option<(&mut Gradients<'_>, f32)>,
    ) -> Result<(f64, Option<Tensor>), Error> {
        let hidden = hidden.contiguous()?;
        let device = hidden.device();
        let (mut gradients, scale) = gradients.map_or((None, 0.0), |(to, scale)| (Some(to), scale));
        let (mut sum, mut dhidden) = (0.0, Vec::new());
        let rows = (DEVICE_LOGITS / self.len().max(1)).max(MIN_ROWS);
        for (index, targets) in targets.chunks(rows).enumerate() {
            let x = hidden.narrow(0, index * rows, targets.len())?;
            let targets = Tensor::from_slice(targets, (targets.len(), 1), device)?;
            let logits = self.dense_logits(&x)?;
            let logits = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?;
            let weights = logits.exp()?;
            let totals = weights.sum_keepdim(D::Minus1)?;
            let losses = (totals.log()? - logits.gather(&targets, 1)?)?;
            sum += f64::from(losses.sum_all()?.to_scalar::<f32>()?);
            if let Some(gradients) = &mut gradients {
                let hit = Tensor::full(-1_f32, targets.shape(), device)?;
                let dlogits = weights.broadcast_div(&totals)?.scatter_add(&targets, &hit, 1)?;
                let dlogits = (dlogits * f64::from(scale))?;
                dhidden.push(self.dense_grad((&x, &dlogits), gradients)?);
            }
        }
        let dhidden = if dhidden.is_empty() { None } else { Some(Tensor::cat(&dhidden, 0)?) };
        Ok((sum, dhidden))
    }

    /// Returns the logits of some rows. `// [rows, hidden] -> [rows, ids]`
    fn dense_logits(&self, x: &Tensor) -> Result<Tensor, Error> {
        let mut parts = Vec::new();
        for (head, count) in self.heads() {
            let (weight, bias) = head.operands()?;
            let weight = weight.tensor()?.narrow(0, 0, count)?;
            let bias = bias.map(|bias| bias.tensor()?.narrow(0, 0, count)).transpose()?;
            parts.push(plain::linear(x, &weight, bias.as_ref())?);
        }
        Ok(Tensor::cat(&parts, 1)?)
    }

    /// Adds the gradients of the heads, and returns that of the hidden states.
    fn dense_grad(
        &self,
        (x, dlogits): (&Tensor, &Tensor),
        gradients: &mut Gradients<'_>,
    ) -> Result<Tensor, Error> {
        let (mut start, mut dx) = (0, x.zeros_like()?);
        for (head, count) in self.heads() {
            let (weight, bias) = head.operands()?;
            let dy = dlogits.narrow(1, start, count)?.contiguous()?;
            start += count;
            // Rows of the table that have no id get no gradient.
            let unused = head.weights().out_width - count;
            if let Some(parameter) = weight.parameter() {
                let dweight = dy.t()?.matmul(x)?.pad_with_zeros(0, 0, unused)?;
                gradients.add_tensor(parameter, &dweight)?;
            }
            if let Some(parameter) = bias.as_ref().and_then(Weight::parameter) {
                let dbias = column_sums(&dy)?.pad_with_zeros(0, 0, unused)?;
                gradients.add_tensor(parameter, &dbias)?;
            }
            dx = (dx + dy.matmul(&weight.tensor()?.narrow(0, 0, count)?)?)?;
        }
        Ok(dx)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use checkpoint::Checkpoint;

    use super::*;
    use crate::training::{StepOptions, Trained};
    use crate::{Aki, AkiConfig, LoadOptions};

    type Outcome = (f64, Vec<f32>, Vec<(String, Vec<f32>)>);

    #[test]
    fn a_device_computes_the_loss_and_the_gradients_of_the_cpu() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/base/model");
        let json = std::fs::read_to_string(folder.join("config.json")).unwrap();
        let config = AkiConfig::from_json(&json).unwrap();
        let checkpoint = Checkpoint::open(&folder).unwrap();
        let trained = Trained::of(&|_| true);
        let options = LoadOptions::default();
        let (aki, _) = Aki::load_trainable(config, &checkpoint, options, &trained).unwrap();
        let vocabulary = &aki.vocabulary;
        let targets = [0, 7, vocabulary.len() as u32 - 1, 7, 300];
        let values = (0..5 * vocabulary.hidden).map(|i| (i as f32 * 0.37).sin()).collect();
        let hidden = Tensor::from_vec(values, (5, vocabulary.hidden), &Device::Cpu).unwrap();
        let outcome = |is_dense: bool| -> Outcome {
            let mut of_parameters = Vec::new();
            let mut sink = |name: &str, gradient: Vec<f32>| {
                of_parameters.push((name.to_owned(), gradient));
                Ok(())
            };
            let mut gradients = Gradients::new(&mut sink);
            let head = vocabulary.head_parameters();
            gradients.expect(head.iter().cloned());
            let to = Some((&mut gradients, 0.2));
            let (sum, dhidden) = if is_dense {
                vocabulary.dense_loss(&hidden, &targets, to).unwrap()
            } else {
                let tape = Tape::on(StepOptions::default());
                vocabulary.loss(&tape, &hidden, &targets, to).unwrap()
            };
            gradients.done(&head).unwrap();
            let dhidden = dhidden.unwrap().flatten_all().unwrap().to_vec1().unwrap();
            (sum, dhidden, of_parameters)
        };
        let (found, expected) = (outcome(true), outcome(false));
        let close = |found: &[f32], expected: &[f32]| {
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 2e-6, "{found}, expected {expected}");
            }
        };
        assert!((found.0 - expected.0).abs() < 1e-5, "{}, expected {}", found.0, expected.0);
        close(&found.1, &expected.1);
        assert_eq!(found.2.len(), expected.2.len());
        assert!(!found.2.is_empty());
        for (found, expected) in found.2.iter().zip(&expected.2) {
            assert_eq!(found.0, expected.0);
            close(&found.1, &expected.1);
        }
    }
}
