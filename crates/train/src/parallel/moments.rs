//! The moments of all processes, on their way into one checkpoint.

use std::borrow::Cow;

use bytes::Bytes;

use super::{Collective, Plan, Reader, Tag, Writer, read_values, write_values};
use crate::Error;
use crate::optimizer::{AdamW, Moment, MomentSource};

/// Moments that each owner keeps; process 0 can ask for them.
pub(crate) struct Scattered<'a> {
    plan: &'a Plan,
    own: &'a AdamW,
    group: &'a mut dyn Collective,
    /// How many steps the moments of each parameter have seen, 0 where there are none.
    steps: Vec<u64>,
}

impl<'a> Scattered<'a> {
    /// Tells all processes what each of them keeps.
    pub(crate) fn new(
        plan: &'a Plan,
        own: &'a AdamW,
        group: &'a mut dyn Collective,
    ) -> Result<Self, Error> {
        let mut writer = Writer::default();
        for (name, moments) in own.moments() {
            if let Some(parameter) = plan.find(name) {
                writer.put(parameter as u64);
                writer.put(moments.steps);
            }
        }
        let mut steps = vec![0; plan.num_parameters()];
        for message in group.gather(writer.finish())? {
            let mut reader = Reader::new(&message);
            for _ in 0..message.len() / 16 {
                let (parameter, found) = (reader.take()? as usize, reader.take()?);
                if let Some(steps) = steps.get_mut(parameter) {
                    *steps = found;
                }
            }
        }
        Ok(Self { plan, own, group, steps })
    }

    /// Answers process 0 until it has what it wants.
    pub(crate) fn serve(&mut self) -> Result<(), Error> {
        loop {
            let request = self.group.receive(0, Tag::NEXT)?;
            if request.is_empty() {
                return Ok(());
            }
            let mut reader = Reader::new(&request);
            let parameter = reader.take()? as usize;
            let moment = if reader.take()? == 0 { Moment::First } else { Moment::Second };
            let name = self.plan.names().get(parameter).map_or("", String::as_str);
            let mut own = self.own;
            let values = own.values(name, moment)?;
            let mut bytes = vec![0; values.len() * 4];
            write_values(&values, &mut bytes);
            self.group.send(0, Tag::MOMENTS, bytes.into())?;
        }
    }

    /// Lets the other processes go on.
    pub(crate) fn end(&mut self) -> Result<(), Error> {
        for other in 1..self.group.world() {
            self.group.send(other, Tag::NEXT, Bytes::new())?;
        }
        Ok(())
    }
}

impl MomentSource for Scattered<'_> {
    fn specs(&self) -> Vec<(String, u64, usize)> {
        let all = self.plan.names().iter().zip(&self.steps).enumerate();
        let kept = all.filter(|(_, (_, steps))| **steps > 0);
        kept.map(|(at, (name, steps))| (name.clone(), *steps, self.plan.len(at))).collect()
    }

    fn values(&mut self, name: &str, moment: Moment) -> Result<Cow<'_, [f32]>, Error> {
        let Some(parameter) = self.plan.find(name) else {
            return Err(Error::NoParameter { name: name.to_owned() });
        };
        let owner = self.plan.owner(parameter);
        if owner == self.group.rank() {
            let moments = self.own.moments().get(name);
            return Ok(moments.map_or(Cow::default(), |own| Cow::Borrowed(own.values(moment))));
        }
        let mut writer = Writer::default();
        writer.put(parameter as u64);
        writer.put(u64::from(moment == Moment::Second));
        self.group.send(owner, Tag::NEXT, writer.finish())?;
        let bytes = self.group.receive(owner, Tag::MOMENTS)?;
        Ok(Cow::Owned(read_values(&bytes).collect()))
    }
}
