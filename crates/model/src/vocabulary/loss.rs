//! The loss of hidden states, and its gradients, without ever holding all logits.

use candle_core::{Device, Tensor};
use kernels::parallel::{chunks, chunks_mut, for_each};
use kernels::unwritten;

use super::Vocabulary;
use crate::Error;
use crate::linear::Linear;
use crate::ops::{elements, plain};
use crate::tape::{Gradients, Tape};
use crate::weights::Weight;

/// Logits that are held at once.
const LOGITS: usize = 1 << 22;
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
            return self.composed_loss(hidden, targets, gradients);
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
        let mut start = 0;
        for (index, (head, count)) in self.heads().enumerate() {
            let weights = head.weights();
            let out_width = weights.out_width;
            let mut of_head = Vec::new();
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
            drop(of_head);
            start += count;
        }
        Ok(())
    }

    /// The same by the framework's operations.
    fn composed_loss(
        &self,
        hidden: &Tensor,
        targets: &[u32],
        gradients: Option<(&mut Gradients<'_>, f32)>,
    ) -> Result<(f64, Option<Tensor>), Error> {
        let operands = self.heads().map(|(head, count)| Ok((head.operands()?, count)));
        let operands = operands.collect::<Result<Vec<_>, Error>>()?;
        let weights: Vec<Weight> = operands
            .iter()
            .flat_map(|((weight, bias), _)| [Some(weight), bias.as_ref()])
            .flatten()
            .cloned()
            .collect();
        let shapes: Vec<_> =
            operands.iter().map(|((_, bias), count)| (bias.is_some(), *count)).collect();
        let count = targets.len();
        let targets = Tensor::from_slice(targets, (count, 1), hidden.device())?;
        let compute = move |x: &[Tensor], weights: &[Tensor]| {
            let mut weights = weights.iter();
            let mut parts = Vec::new();
            for (has_bias, count) in &shapes {
                let weight = weights.next().map(|weight| weight.narrow(0, 0, *count));
                let bias = if *has_bias { weights.next() } else { None };
                let bias = bias.map(|bias| bias.narrow(0, 0, *count)).transpose()?;
                if let Some(weight) = weight.transpose()? {
                    parts.push(plain::linear(&x[0], &weight, bias.as_ref())?);
                }
            }
            crate::loss::cross_entropy_sum(&Tensor::cat(&parts, 1)?, &targets)
        };
        let (mut gradients, scale) = match gradients {
            Some((to, scale)) => (Some(to), scale),
            None => (None, 0.0),
        };
        let tape = if gradients.is_some() {
            Tape::on(crate::training::StepOptions::default())
        } else {
            Tape::off()
        };
        tape.watch(hidden);
        let sum = tape.composed(&[hidden], &weights.iter().collect::<Vec<_>>(), compute)?;
        let value = f64::from(sum.to_scalar::<f32>()?);
        let dhidden = match &mut gradients {
            Some(gradients) => {
                let seed = Tensor::new(scale, hidden.device())?;
                gradients.expect(tape.parameters());
                tape.unwind(gradients, (&sum, seed), &[hidden])?.pop().flatten()
            }
            None => None,
        };
        Ok((value, dhidden))
    }
}
