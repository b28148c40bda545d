//! One step of the optimizer: gradients of some micro-batches, clipped once, applied once.

use bytes::Bytes;
use rayon::prelude::*;

use crate::data::Sample;
use crate::optimizer::AdamW;
use crate::parallel::{
    Collective, Exchange, Plan, Reader, Sums, Tag, Writer, read_values, unpack, write_values,
};
use crate::{Error, Learner};

/// Numbers below which a second thread costs more than it saves.
const PIECE: usize = 1 << 16;

/// What a step did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepReport {
    /// The loss of each micro-batch, those of other processes too.
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
///
/// Every process adds the same number of micro-batches; those of the step are the first ones of all
/// processes in the order of ranks, then the second ones, and so on.
#[derive(Debug)]
pub struct Accumulator<'a> {
    plan: &'a Plan,
    /// The sums of the parameters that are kept here.
    sums: Sums,
    /// Reaches the other processes, if there are any.
    exchange: Option<Exchange<'a>>,
    /// What turns the sums into means.
    share: f64,
    report: StepReport,
}

impl<'a> Accumulator<'a> {
    /// Starts a step.
    pub fn new(plan: &'a Plan, group: &dyn Collective) -> Self {
        let exchange = (group.world() > 1).then(|| Exchange::new(plan, group));
        let sums = vec![None; plan.num_parameters()];
        Self { plan, sums, exchange, share: 1.0, report: StepReport::default() }
    }

    /// Adds a micro-batch; its gradients travel while it is computed.
    ///
    /// # Errors
    /// If the model cannot compute its gradients, or another process is gone.
    pub fn add(
        &mut self,
        learner: &dyn Learner,
        batch: &[Sample],
        group: &mut dyn Collective,
    ) -> Result<(), Error> {
        let Self { plan, sums, exchange, report, .. } = self;
        let loss = learner.gradients(batch, &mut |name, grad| {
            let Some(parameter) = plan.find(name) else {
                return Err(Error::NoParameter { name: name.to_owned() });
            };
            match (&mut *exchange, &mut sums[parameter]) {
                (Some(exchange), _) => exchange.put((parameter, &grad), sums, group)?,
                (None, Some(sum)) => {
                    let pairs = sum.par_iter_mut().zip(&grad).with_min_len(PIECE);
                    pairs.for_each(|(sum, grad)| *sum += grad);
                }
                (None, none) => *none = Some(grad),
            }
            Ok(())
        })?;
        if let Some(exchange) = exchange {
            exchange.end_micro_batch(group)?;
        }
        report.micro_losses.push(loss.mean);
        report.num_labels += loss.num_labels;
        Ok(())
    }

    /// Averages the gradients over micro-batches and processes, and returns what the step saw, the
    /// same in each process. The norm is that of the mean.
    ///
    /// # Errors
    /// If another process is gone.
    pub fn reduce(&mut self, group: &mut dyn Collective) -> Result<StepReport, Error> {
        let own = std::mem::take(&mut self.report);
        if let Some(exchange) = &mut self.exchange {
            exchange.finish(own.micro_losses.len(), &mut self.sums, group)?;
        }
        // The sums stay as they are; whoever reads them multiplies.
        self.share = 1.0 / (own.micro_losses.len().max(1) * group.world()) as f64;
        let squares = |sum: &Option<Vec<f32>>| sum.as_deref().map(kernels::sum_of_squares);
        let mut squares: Vec<_> = self.sums.iter().map(squares).collect();
        let mut report = agree(own, &mut squares, group)?;
        // In the order of names, whoever keeps them.
        report.grad_norm = squares.iter().flatten().sum::<f64>().sqrt() * self.share;
        Ok(report)
    }

    /// Changes the parameters by the reduced gradients, whose norm is `grad_norm`.
    ///
    /// # Errors
    /// If the model does not have a parameter that a gradient came for, or another process is gone.
    pub fn apply(
        &self,
        learner: &dyn Learner,
        optimizer: &mut AdamW,
        (grad_norm, lr): (f64, f64),
        group: &mut dyn Collective,
    ) -> Result<(), Error> {
        let clip = optimizer.config().clip_norm;
        // As torch.nn.utils.clip_grad_norm_ does it.
        let scale = if clip > 0.0 { (clip / (grad_norm + 1e-6)).min(1.0) } else { 1.0 };
        let scale = (scale * self.share) as f32;
        // Nobody else needs the values of one process.
        let (rank, is_told) = (group.rank(), group.world() > 1);
        for bucket in self.plan.buckets().iter().filter(|bucket| bucket.owner == rank) {
            let head = bucket.parameters.len();
            let mut message = vec![0; if is_told { head + bucket.len * 4 } else { 0 }];
            let (flags, bytes) = message.split_at_mut(if is_told { head } else { 0 });
            for (slot, parameter) in bucket.parameters.iter().enumerate() {
                let Some(grad) = &self.sums[*parameter] else { continue };
                let name = &self.plan.names()[*parameter];
                let start = self.plan.place(*parameter).1 * 4;
                learner.change(name, &mut |values| {
                    optimizer.update(name, values, (grad, scale, lr));
                    if is_told {
                        flags[slot] = 1;
                        write_values(values, &mut bytes[start..start + values.len() * 4]);
                    }
                })?;
            }
            let message = Bytes::from(message);
            for other in (0..group.world()).filter(|other| *other != rank) {
                group.send(other, Tag::VALUES, message.clone())?;
            }
        }
        self.follow(learner, group)
    }

    /// Takes over the new values of what others keep.
    fn follow(&self, learner: &dyn Learner, group: &mut dyn Collective) -> Result<(), Error> {
        for (at, bucket) in self.plan.buckets().iter().enumerate() {
            if bucket.owner != group.rank() {
                let message = group.receive(bucket.owner, Tag::VALUES)?;
                unpack(self.plan, at, &message, &mut |parameter, bytes| {
                    let name = &self.plan.names()[parameter];
                    learner.change(name, &mut |values| {
                        values.iter_mut().zip(read_values(bytes)).for_each(|(v, new)| *v = new);
                    })
                })?;
            }
        }
        Ok(())
    }
}

/// Puts together what the processes saw; `squares` are those of the parameters kept here, and then
/// of all.
fn agree(
    own: StepReport,
    squares: &mut [Option<f64>],
    group: &mut dyn Collective,
) -> Result<StepReport, Error> {
    if group.world() == 1 {
        return Ok(own);
    }
    let mut writer = Writer::default();
    writer.put(own.num_labels as u64);
    writer.put(own.micro_losses.len() as u64);
    for loss in &own.micro_losses {
        writer.put(u64::from(loss.to_bits()));
    }
    let kept = squares.iter().enumerate().filter_map(|(at, squares)| Some((at, (*squares)?)));
    let kept: Vec<(usize, f64)> = kept.collect();
    writer.put(kept.len() as u64);
    for (at, squares) in kept {
        writer.put(at as u64);
        writer.put(squares.to_bits());
    }
    let mut report = StepReport::default();
    let mut losses = Vec::new();
    for message in group.gather(writer.finish())? {
        let mut reader = Reader::new(&message);
        report.num_labels += reader.take()? as usize;
        let num_losses = reader.take()?;
        for step in 0..num_losses {
            losses.push((step, f32::from_bits(reader.take()? as u32)));
        }
        for _ in 0..reader.take()? {
            let at = reader.take()? as usize;
            let found = f64::from_bits(reader.take()?);
            if let Some(squares) = squares.get_mut(at) {
                *squares = Some(found);
            }
        }
    }
    // The first micro-batches of all processes, then the second ones.
    losses.sort_by_key(|(step, _)| *step);
    report.micro_losses = losses.into_iter().map(|(_, loss)| loss).collect();
    Ok(report)
}
