//! Several requests at once.

use std::collections::VecDeque;

use model::Aki;
use sequence::TokenId;

use crate::context::{Context, advance};
use crate::reply::Reply;
use crate::{CancelToken, Error, FinishReason, Generated, Request, TokenLogprobs};

/// The name of a request in its [`Batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// What a step brought for one request.
#[derive(Debug)]
pub enum Event {
    /// A new token.
    Token {
        /// Whose.
        request: RequestId,
        /// Which.
        id: TokenId,
        /// How likely it was, if the request asked for it.
        logprobs: Option<TokenLogprobs>,
    },
    /// The reply is complete.
    Finished {
        /// Whose.
        request: RequestId,
        /// The reply.
        reply: Generated,
    },
    /// No token could be chosen; the request is over.
    Failed {
        /// Whose.
        request: RequestId,
        /// Why.
        error: Error,
    },
}

/// Several requests at once: every [`Batch::step`] computes the next token of each that runs, in
/// one pass of the model, and each gets the tokens that it would get alone.
///
/// Requests join between steps, first come, first served, and leave when they are done. What a
/// finished request leaves cached is reused by a later one that begins alike.
#[derive(Debug)]
pub struct Batch<'m> {
    model: &'m Aki,
    slots: Vec<Slot>,
    max_running: usize,
    waiting: VecDeque<(RequestId, Request)>,
    num_requests: u64,
    /// What the next step that succeeds reports.
    events: Vec<Event>,
}

/// A cache and the request that uses it.
#[derive(Debug)]
struct Slot {
    context: Context,
    running: Option<(RequestId, Reply)>,
    /// The last request that used it.
    last: RequestId,
}

impl<'m> Batch<'m> {
    /// Returns a batch without requests that runs up to `max_running` at once, and at least one.
    pub fn new(model: &'m Aki, max_running: usize) -> Self {
        Self {
            model,
            slots: Vec::new(),
            max_running: max_running.max(1),
            waiting: VecDeque::new(),
            num_requests: 0,
            events: Vec::new(),
        }
    }

    /// Enqueues a request.
    ///
    /// # Errors
    /// If the prompt is empty, does not fit together or into the model's context.
    pub fn add(&mut self, request: Request) -> Result<RequestId, Error> {
        request.prompt.validate(self.model.max_positions())?;
        let id = RequestId(self.num_requests);
        self.num_requests += 1;
        self.waiting.push_back((id, request));
        Ok(id)
    }

    /// Ends a request at the next step, with what there is of its reply; returns whether there is
    /// such a request.
    pub fn cancel(&mut self, id: RequestId) -> bool {
        let waiting = self.waiting.iter_mut().find(|(request, _)| *request == id);
        let running = self.slots.iter_mut().filter_map(|slot| slot.running.as_mut());
        let mut running = running.filter(|(request, _)| *request == id);
        if let Some((_, request)) = waiting {
            // Not the request's own switch: other requests may share it.
            request.cancel = CancelToken::cancelled();
            true
        } else if let Some((_, reply)) = running.next() {
            reply.cancel();
            true
        } else {
            false
        }
    }

    /// Returns how many requests are being answered.
    pub fn num_running(&self) -> usize {
        self.slots.iter().filter(|slot| slot.running.is_some()).count()
    }

    /// Returns how many requests have not begun.
    pub fn num_waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Returns whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.num_running() == 0 && self.waiting.is_empty()
    }

    /// Admits what there is room for, and computes one token of every running request.
    ///
    /// # Errors
    /// If the model cannot compute the step. Every request that was running is over then; those
    /// that wait are kept, and so are the events of requests that had ended before.
    pub fn step(&mut self) -> Result<Vec<Event>, Error> {
        self.end_cancelled();
        match self.admit().and_then(|()| self.compute()) {
            Ok(logits) => self.accept(logits),
            Err(error) => {
                self.slots.iter_mut().for_each(|slot| slot.running = None);
                return Err(error);
            }
        }
        Ok(std::mem::take(&mut self.events))
    }

    fn end_cancelled(&mut self) {
        for slot in &mut self.slots {
            let ended = slot.running.take_if(|(_, reply)| reply.is_cancelled());
            self.events.extend(ended.map(|(request, reply)| Event::Finished {
                request,
                reply: reply.finish(FinishReason::Cancelled),
            }));
        }
        let limit = self.model.max_positions();
        self.waiting.retain(|(request, asked)| {
            let cancelled = asked.cancel.is_cancelled();
            if cancelled {
                let reply = Reply::new(asked, limit).finish(FinishReason::Cancelled);
                self.events.push(Event::Finished { request: *request, reply });
            }
            !cancelled
        });
    }

    fn admit(&mut self) -> Result<(), Error> {
        let limit = self.model.max_positions();
        while self.num_running() < self.max_running {
            let Some((id, request)) = self.waiting.pop_front() else { break };
            let mut reply = Reply::new(&request, limit);
            if let Some(reason) = reply.finished() {
                self.events.push(Event::Finished { request: id, reply: reply.finish(reason) });
                continue;
            }
            let index = self.choose_slot(&request)?;
            let slot = &mut self.slots[index];
            reply.start(slot.context.begin(self.model, request.prompt));
            slot.context.reserve(reply.limit())?;
            slot.last = id;
            slot.running = Some((id, reply));
        }
        Ok(())
    }

    /// Returns the idle slot for a request: the one that has most of its prompt cached, unless
    /// most of what that one holds would be lost and there is room for a new one.
    fn choose_slot(&mut self, request: &Request) -> Result<usize, Error> {
        let idle = self.slots.iter().enumerate().filter(|(_, slot)| slot.running.is_none());
        let best = idle
            .map(|(index, slot)| (slot.context.reusable(self.model, &request.prompt), index))
            .max_by_key(|&(kept, index)| (kept, std::cmp::Reverse(self.slots[index].last)));
        match best {
            Some((kept, index))
                if self.slots.len() >= self.max_running
                    || 2 * kept >= self.slots[index].context.num_cached() =>
            {
                Ok(index)
            }
            _ => {
                let context = Context::new(self.model)?;
                self.slots.push(Slot { context, running: None, last: RequestId(0) });
                Ok(self.slots.len() - 1)
            }
        }
    }

    /// Computes the pending rows of every running request; one whose inputs do not fit together
    /// fails alone.
    fn compute(&mut self) -> Result<Vec<Vec<f32>>, Error> {
        let mut sequences = Vec::with_capacity(self.slots.len());
        for Slot { context, running, .. } in &mut self.slots {
            let Some(request) = running.as_ref().map(|(request, _)| *request) else { continue };
            match context.pending(self.model) {
                Ok(pending) => sequences.push((context, pending)),
                Err(error) => {
                    *running = None;
                    self.events.push(Event::Failed { request, error });
                }
            }
        }
        if sequences.is_empty() { Ok(Vec::new()) } else { advance(self.model, &mut sequences) }
    }

    /// Chooses a token for every running request, in the order of [`Self::compute`].
    fn accept(&mut self, logits: Vec<Vec<f32>>) {
        let running = self.slots.iter_mut().filter(|slot| slot.running.is_some());
        for (slot, logits) in running.zip(logits) {
            let Some((request, mut reply)) = slot.running.take() else { continue };
            match reply.accept(logits) {
                Ok(id) => {
                    let logprobs = reply.last_logprobs().cloned();
                    self.events.push(Event::Token { request, id, logprobs });
                    if let Some(reason) = reply.finished() {
                        self.events.push(Event::Finished { request, reply: reply.finish(reason) });
                    } else {
                        slot.context.push(id);
                        slot.running = Some((request, reply));
                    }
                }
                Err(error) => self.events.push(Event::Failed { request, error }),
            }
        }
    }
}
