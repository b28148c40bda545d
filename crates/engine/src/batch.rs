//! Several requests at once.

use std::cmp::Reverse;
use std::collections::VecDeque;

use model::Aki;
use sequence::TokenId;

use crate::context::{Context, Pending, advance};
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
/// Requests join between steps and leave when they are done: first come, first served among the
/// clients of whom the fewest requests run, so that nobody waits for one who asks for much. What a
/// finished request leaves cached is reused by a later one that begins alike, and what a running one
/// has is copied. A prompt is read in
/// a pass of its own, a part in each step, so that replies go on meanwhile.
#[derive(Debug)]
pub struct Batch<'m> {
    model: &'m Aki,
    slots: Vec<Slot>,
    limits: BatchLimits,
    waiting: VecDeque<(RequestId, Request)>,
    /// The waiting request that had its turn, and for which there was no room yet.
    next: Option<RequestId>,
    num_requests: u64,
    /// What the next step that succeeds reports.
    events: Vec<Event>,
}

/// How much a [`Batch`] does at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// How many requests run at once; at least one does.
    pub max_running: usize,
    /// How many positions all caches together have memory for. A request is admitted when its
    /// prompt and its longest reply fit.
    pub max_positions: usize,
    /// About how many rows of a prompt are read in a step. An image and what it reads are never
    /// cut.
    pub prefill_rows: usize,
}

impl Default for BatchLimits {
    /// Returns eight at once, without other limits.
    fn default() -> Self {
        Self { max_running: 8, max_positions: usize::MAX, prefill_rows: usize::MAX }
    }
}

/// A cache and the request that uses it.
#[derive(Debug)]
struct Slot {
    context: Context,
    running: Option<(RequestId, Reply)>,
    /// The last request that used it, and whose that was.
    last: RequestId,
    client: u64,
    /// Whether the reading of the prompt has begun.
    begun: bool,
}

impl<'m> Batch<'m> {
    /// Returns a batch without requests that runs up to `max_running` at once, and at least one.
    pub fn new(model: &'m Aki, max_running: usize) -> Self {
        Self::within(model, BatchLimits { max_running, ..BatchLimits::default() })
    }

    /// Returns a batch without requests.
    pub fn within(model: &'m Aki, mut limits: BatchLimits) -> Self {
        limits.max_running = limits.max_running.max(1);
        limits.max_positions = limits.max_positions.max(1);
        Self {
            model,
            slots: Vec::new(),
            limits,
            waiting: VecDeque::new(),
            next: None,
            num_requests: 0,
            events: Vec::new(),
        }
    }

    /// Enqueues a request.
    ///
    /// # Errors
    /// If the prompt is empty, does not fit together, into the model's context or the memory.
    pub fn add(&mut self, request: Request) -> Result<RequestId, Error> {
        request.prompt.validate(self.longest())?;
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

    /// Returns how many positions are cached or have memory set apart, at work or not.
    pub fn num_positions(&self) -> usize {
        self.slots.iter().map(Slot::promised).sum()
    }

    /// Returns the longest sequence that the model and the memory allow.
    fn longest(&self) -> usize {
        self.model.max_positions().min(self.limits.max_positions)
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
        let limit = self.longest();
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
        let limit = self.longest();
        while self.num_running() < self.limits.max_running {
            let Some((id, request)) = self.next_waiting() else { break };
            let client = request.client;
            let mut reply = Reply::new(&request, limit);
            if let Some(reason) = reply.finished() {
                self.events.push(Event::Finished { request: id, reply: reply.finish(reason) });
                continue;
            }
            let index = self.choose_slot(&request)?;
            let needed = request.prompt.layout.len() + reply.limit();
            if !self.make_room(index, needed)? {
                // Nobody overtakes it: among smaller ones it might wait for ever.
                self.next = Some(id);
                self.waiting.push_front((id, request));
                break;
            }
            let slot = &mut self.slots[index];
            reply.start(slot.context.begin(self.model, request.prompt));
            slot.context.reserve(reply.limit())?;
            slot.last = id;
            slot.client = client;
            slot.begun = false;
            slot.running = Some((id, reply));
        }
        Ok(())
    }

    /// Takes out the request that was next already, or the oldest one of a client of whom the
    /// fewest requests run.
    fn next_waiting(&mut self) -> Option<(RequestId, Request)> {
        let running = |client: u64| {
            let of = |slot: &&Slot| slot.running.is_some() && slot.client == client;
            self.slots.iter().filter(of).count()
        };
        let was_next = |id: RequestId| self.next == Some(id);
        let ranks = self.waiting.iter().map(|(id, request)| {
            if was_next(*id) { (0, *id) } else { (1 + running(request.client), *id) }
        });
        let (index, _) = ranks.enumerate().min_by_key(|(_, rank)| *rank)?;
        self.next = None;
        self.waiting.remove(index)
    }

    /// Returns the idle slot for a request: the one that has most of its prompt cached, unless
    /// most of what that one holds would be lost and there is room for a new one.
    fn choose_slot(&mut self, request: &Request) -> Result<usize, Error> {
        let idle = self.slots.iter().enumerate().filter(|(_, slot)| slot.running.is_none());
        let best = idle
            .map(|(index, slot)| (slot.context.reusable(self.model, &request.prompt), index))
            .max_by_key(|&(kept, index)| (kept, Reverse(self.slots[index].last)));
        match best {
            Some((kept, index))
                if self.slots.len() >= self.limits.max_running
                    || 2 * kept >= self.slots[index].context.num_cached() =>
            {
                Ok(index)
            }
            _ => {
                let context = Context::new(self.model)?;
                self.slots.push(Slot {
                    context,
                    running: None,
                    last: RequestId(0),
                    client: 0,
                    begun: false,
                });
                Ok(self.slots.len() - 1)
            }
        }
    }

    /// Forgets what finished requests left, the oldest first, until `needed` positions fit into
    /// the slot `index`; returns whether they do.
    fn make_room(&mut self, index: usize, needed: usize) -> Result<bool, Error> {
        loop {
            let others = self.slots.iter().enumerate().filter(|(other, _)| *other != index);
            let taken: usize = others.map(|(_, slot)| slot.promised()).sum();
            let own = self.slots[index].context.capacity();
            let free = self.limits.max_positions.saturating_sub(taken);
            if own.max(needed) <= free {
                return Ok(true);
            }
            let idle = self.slots.iter().enumerate().filter(|(other, slot)| {
                *other != index && slot.running.is_none() && slot.context.capacity() > 0
            });
            let oldest = idle.min_by_key(|(_, slot)| slot.last).map(|(other, _)| other);
            let Some(freed) = oldest.or((own > needed).then_some(index)) else {
                return Ok(false);
            };
            self.slots[freed].context = Context::new(self.model)?;
        }
    }

    /// Reads a part of the oldest prompt that is not read yet, and computes the next row of every
    /// reply; returns the logits that are complete.
    ///
    /// The two are passes of their own: a reply that shared one with a prompt would be computed in
    /// another order of sums than alone.
    fn compute(&mut self) -> Result<Vec<(RequestId, Vec<f32>)>, Error> {
        let reading = self.slots.iter().filter(|slot| !slot.context.is_step());
        let oldest = reading.filter_map(|slot| Some(slot.running.as_ref()?.0)).min();
        let mut logits = Vec::new();
        if let Some(oldest) = oldest {
            self.share(oldest)?;
            let rows = self.limits.prefill_rows;
            logits = self.pass(|request, context, model| {
                (request == oldest).then(|| context.pending_part(model, rows))
            })?;
        }
        let read: Vec<RequestId> = logits.iter().map(|(request, _)| *request).collect();
        logits.extend(self.pass(|request, context, model| {
            let next = context.is_step() && !read.contains(&request);
            next.then(|| Ok((context.pending(model)?, true)))
        })?);
        Ok(logits)
    }

    /// Copies what another sequence has cached of a prompt that is about to be read: several replies
    /// to one question read it once.
    fn share(&mut self, request: RequestId) -> Result<(), Error> {
        let of = |slot: &Slot| slot.running.as_ref().is_some_and(|(id, _)| *id == request);
        let Some(index) = self.slots.iter().position(of) else { return Ok(()) };
        if std::mem::replace(&mut self.slots[index].begun, true) {
            return Ok(());
        }
        self.slots.swap(0, index);
        let Some((slot, others)) = self.slots.split_first_mut() else { return Ok(()) };
        for other in others {
            let cached = slot.context.adopt(self.model, &other.context)?;
            if let Some((_, reply)) = &mut slot.running {
                reply.found(cached);
            }
        }
        self.slots.swap(0, index);
        Ok(())
    }

    /// Computes rows of the running requests that `choose` takes, in one pass of the model; one
    /// whose inputs do not fit together fails alone.
    fn pass(
        &mut self,
        mut choose: impl FnMut(RequestId, &mut Context, &Aki) -> Option<Rows>,
    ) -> Logits {
        let mut sequences = Vec::with_capacity(self.slots.len());
        let mut whose = Vec::with_capacity(self.slots.len());
        for Slot { context, running, .. } in &mut self.slots {
            let Some(request) = running.as_ref().map(|(request, _)| *request) else { continue };
            match choose(request, context, self.model) {
                None => {}
                Some(Ok((pending, complete))) => {
                    sequences.push((context, pending));
                    whose.push((request, complete));
                }
                Some(Err(error)) => {
                    *running = None;
                    self.events.push(Event::Failed { request, error });
                }
            }
        }
        if sequences.is_empty() {
            return Ok(Vec::new());
        }
        let logits = advance(self.model, &mut sequences)?;
        let complete = whose.into_iter().zip(logits).filter(|((_, complete), _)| *complete);
        Ok(complete.map(|((request, _), logits)| (request, logits)).collect())
    }

    /// Chooses a token for every request that has logits.
    fn accept(&mut self, logits: Vec<(RequestId, Vec<f32>)>) {
        for (request, logits) in logits {
            let of = |slot: &&mut Slot| slot.running.as_ref().is_some_and(|(id, _)| *id == request);
            let Some(slot) = self.slots.iter_mut().find(of) else { continue };
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

/// The rows that a pass computes of one request, and whether they are all that is pending.
type Rows = Result<(Pending, bool), Error>;
/// Logits and whose they are.
type Logits = Result<Vec<(RequestId, Vec<f32>)>, Error>;

impl Slot {
    /// Returns how many positions its memory is for: of an idle one what there is.
    fn promised(&self) -> usize {
        if self.running.is_some() { self.context.promised() } else { self.context.capacity() }
    }
}
