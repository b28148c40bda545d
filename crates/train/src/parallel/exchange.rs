//! Gradients on their way to the owners of their parameters.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Bucket, Collective, Plan, Tag, read_values, write_values};
use crate::Error;

/// Sends the gradients of micro-batches bucket by bucket while they are computed, and adds up those
/// that come here.
#[derive(Debug)]
pub(crate) struct Exchange<'a> {
    plan: &'a Plan,
    rank: usize,
    world: usize,
    /// What the micro-batch at hand has of each bucket.
    filling: Vec<Filling>,
    /// The buckets that are added up here.
    arriving: Vec<Arriving>,
}

#[derive(Debug, Default)]
struct Filling {
    message: Vec<u8>,
    num_filled: usize,
    is_sent: bool,
}

#[derive(Debug)]
struct Arriving {
    bucket: usize,
    /// Our own part of micro-batches that waits for its turn.
    own: VecDeque<Bytes>,
    /// How many parts are in the sums.
    num_added: usize,
}

/// The sums of gradients by parameter; none where no gradient came.
pub(crate) type Sums = Vec<Option<Vec<f32>>>;

impl<'a> Exchange<'a> {
    pub(crate) fn new(plan: &'a Plan, group: &dyn Collective) -> Self {
        let rank = group.rank();
        let owned = plan.buckets().iter().enumerate().filter(|(_, bucket)| bucket.owner == rank);
        let arriving =
            owned.map(|(bucket, _)| Arriving { bucket, own: VecDeque::new(), num_added: 0 });
        let filling = plan.buckets().iter().map(|_| Filling::default()).collect();
        Self { plan, rank, world: group.world(), filling, arriving: arriving.collect() }
    }

    /// Takes the gradient of a parameter; sends its bucket if it is full.
    pub(crate) fn put(
        &mut self,
        (parameter, grad): (usize, &[f32]),
        sums: &mut Sums,
        group: &mut dyn Collective,
    ) -> Result<(), Error> {
        let (at, start) = self.plan.place(parameter);
        let bucket = &self.plan.buckets()[at];
        let filling = &mut self.filling[at];
        let slot = bucket.parameters.iter().position(|found| *found == parameter);
        let head = bucket.parameters.len();
        filling.message.resize(head + bucket.len * 4, 0);
        let (flags, values) = filling.message.split_at_mut(head);
        let values = &mut values[start * 4..(start + self.plan.len(parameter)) * 4];
        let flag = slot.and_then(|slot| flags.get_mut(slot)).filter(|flag| **flag == 0);
        let Some(flag) = flag.filter(|_| values.len() == grad.len() * 4 && !filling.is_sent) else {
            let name = self.plan.names()[parameter].clone();
            return Err(Error::Gradient { name, expected: values.len() / 4, found: grad.len() });
        };
        *flag = 1;
        write_values(grad, values);
        filling.num_filled += 1;
        if filling.num_filled == head {
            self.dispatch(at, group)?;
        }
        self.add_arrived(sums, group)
    }

    /// Sends what the micro-batch left: no gradient came for some parameters.
    pub(crate) fn end_micro_batch(&mut self, group: &mut dyn Collective) -> Result<(), Error> {
        for at in 0..self.filling.len() {
            if !self.filling[at].is_sent {
                self.dispatch(at, group)?;
            }
            self.filling[at] = Filling::default();
        }
        Ok(())
    }

    fn dispatch(&mut self, at: usize, group: &mut dyn Collective) -> Result<(), Error> {
        let filling = &mut self.filling[at];
        filling.is_sent = true;
        let message = Bytes::from(std::mem::take(&mut filling.message));
        let owner = self.plan.buckets()[at].owner;
        if owner != self.rank {
            return group.send(owner, tag(at), message);
        }
        if let Some(arriving) = self.arriving.iter_mut().find(|arriving| arriving.bucket == at) {
            arriving.own.push_back(message);
        }
        Ok(())
    }

    /// Adds up what is here already, as far as the order allows.
    fn add_arrived(&mut self, sums: &mut Sums, group: &mut dyn Collective) -> Result<(), Error> {
        for arriving in &mut self.arriving {
            loop {
                let from = arriving.num_added % self.world;
                let message = if from == self.rank {
                    arriving.own.pop_front()
                } else {
                    group.try_receive(from, tag(arriving.bucket))?
                };
                let Some(message) = message else { break };
                add(self.plan, arriving.bucket, &message, sums)?;
                arriving.num_added += 1;
            }
        }
        Ok(())
    }

    /// Waits for the gradients of `num_micro_batches` of every process.
    pub(crate) fn finish(
        &mut self,
        num_micro_batches: usize,
        sums: &mut Sums,
        group: &mut dyn Collective,
    ) -> Result<(), Error> {
        for arriving in &mut self.arriving {
            while arriving.num_added < num_micro_batches * self.world {
                let from = arriving.num_added % self.world;
                let message = if from == self.rank {
                    arriving.own.pop_front().unwrap_or_default()
                } else {
                    group.receive(from, tag(arriving.bucket))?
                };
                add(self.plan, arriving.bucket, &message, sums)?;
                arriving.num_added += 1;
            }
        }
        Ok(())
    }
}

/// Adds a message to the sums.
fn add(plan: &Plan, bucket: usize, message: &[u8], sums: &mut Sums) -> Result<(), Error> {
    unpack(plan, bucket, message, &mut |parameter, bytes| {
        let values = read_values(bytes);
        match &mut sums[parameter] {
            Some(sum) => sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value),
            none => *none = Some(values.collect()),
        }
        Ok(())
    })
}

/// Takes the values of a parameter.
pub(crate) type Take<'a> = dyn FnMut(usize, &[u8]) -> Result<(), Error> + 'a;

/// Hands every parameter that a message of a bucket has to `take`.
pub(crate) fn unpack(
    plan: &Plan,
    bucket: usize,
    message: &[u8],
    take: &mut Take<'_>,
) -> Result<(), Error> {
    let Bucket { parameters, len, .. } = &plan.buckets()[bucket];
    if message.is_empty() {
        return Ok(());
    }
    let expected = parameters.len() + len * 4;
    if message.len() != expected {
        let found = message.len();
        let reason = format!(
            "a message has {found} bytes, expected {expected}; start the same program with the \
             same recipe in every process"
        );
        return Err(Error::Collective { reason });
    }
    let (flags, values) = message.split_at(parameters.len());
    for (parameter, _) in parameters.iter().zip(flags).filter(|(_, flag)| **flag != 0) {
        let start = plan.place(*parameter).1;
        take(*parameter, &values[start * 4..(start + plan.len(*parameter)) * 4])?;
    }
    Ok(())
}

fn tag(bucket: usize) -> Tag {
    // A plan has no more buckets than there are tags.
    Tag(Tag::GRADIENTS.0 + bucket as u16)
}
