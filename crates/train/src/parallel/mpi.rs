//! Messages through MPI.
//!
//! One thread speaks MPI and nothing else, so that messages travel while the others compute, and so
//! that MPI need not know of threads. A process that ends says goodbye: the others are told that it
//! is gone instead of waiting for it, and it goes on to listen until they have ended too, because
//! MPI itself ends everywhere or nowhere.
#![allow(
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "MPI counts in i32; ranks, tags and parts are far below its limits"
)]

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use mpi::Threading;
use mpi::datatype::Equivalence;
use mpi::point_to_point::{Destination, Message, Source, Status};
use mpi::request::{LocalScope, Request};
use mpi::topology::{Communicator, SimpleCommunicator};

use super::{Collective, Launch, Tag, gone};
use crate::Error;

/// How long nobody looks for messages where nothing is to be sent.
const IDLE: Duration = Duration::from_micros(100);
/// The bytes of the parts that messages travel in: MPI counts in 31 bits. A shorter part ends one.
const PART: usize = 1 << 28;
/// What a process says last.
const GOODBYE: Tag = Tag::MAX;

/// One of the processes that an MPI launcher started.
#[derive(Debug)]
pub struct Mpi {
    rank: usize,
    world: usize,
    /// Closed to end the thread.
    outgoing: Option<Sender<Letter>>,
    incoming: Receiver<Letter>,
    /// What came before it was asked for.
    waiting: HashMap<(usize, Tag), VecDeque<Bytes>>,
    is_gone: HashSet<usize>,
    thread: Option<JoinHandle<()>>,
}

/// A message to or from another process.
#[derive(Debug)]
struct Letter {
    other: usize,
    tag: Tag,
    message: Bytes,
}

impl Mpi {
    /// Joins the processes of a launch.
    ///
    /// # Errors
    /// If MPI cannot be started, or knows of other processes than the launcher's variables.
    pub fn connect(launch: &Launch) -> Result<Self, Error> {
        let (outgoing, letters) = channel();
        let (arrived, incoming) = channel();
        let (started, is_started) = channel();
        let thread = std::thread::Builder::new().name("mpi".to_owned()).spawn(move || {
            let Some((universe, _)) = mpi::initialize_with_threading(Threading::Funneled) else {
                return;
            };
            let world = universe.world();
            let place = (world.rank() as usize, world.size() as usize);
            // Whoever connects may have given up.
            let _ = started.send(place);
            Carrier { world, outgoing: letters, arrived, parts: HashMap::new() }.run();
        });
        let failed = |reason: String| Error::Collective { reason };
        let thread = thread.map_err(|error| failed(format!("no thread for MPI: {error}")))?;
        let place = is_started.recv();
        let (rank, world) = place.map_err(|_| failed("MPI cannot be started".to_owned()))?;
        let mpi = Self {
            rank,
            world,
            outgoing: Some(outgoing),
            incoming,
            waiting: HashMap::new(),
            is_gone: HashSet::new(),
            thread: Some(thread),
        };
        if (rank, world) == (launch.rank, launch.world) {
            return Ok(mpi);
        }
        Err(failed(format!(
            "MPI says that this is process {rank} of {world}, {} says {} of {}; start them with \
             mpirun, or with srun where Slurm speaks MPI",
            launch.launcher.unwrap_or("nobody"),
            launch.rank,
            launch.world
        )))
    }

    fn check(&self, other: usize) -> Result<(), Error> {
        if other >= self.world || other == self.rank {
            let reason = format!("there is no other process {other} of {}", self.world);
            return Err(Error::Collective { reason });
        }
        if self.is_gone.contains(&other) { Err(gone(other)) } else { Ok(()) }
    }

    /// Puts a letter where it is looked for.
    fn sort(&mut self, letter: Letter) {
        let Letter { other, tag, message } = letter;
        if tag == GOODBYE {
            self.is_gone.insert(other);
        } else {
            self.waiting.entry((other, tag)).or_default().push_back(message);
        }
    }

    fn take(&mut self, from: usize, tag: Tag) -> Result<Option<Bytes>, Error> {
        match self.waiting.get_mut(&(from, tag)).and_then(VecDeque::pop_front) {
            Some(message) => Ok(Some(message)),
            None => self.check(from).map(|()| None),
        }
    }
}

impl Collective for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world(&self) -> usize {
        self.world
    }

    fn send(&mut self, to: usize, tag: Tag, message: Bytes) -> Result<(), Error> {
        self.check(to)?;
        let letter = Letter { other: to, tag, message };
        let sent = self.outgoing.as_ref().is_some_and(|outgoing| outgoing.send(letter).is_ok());
        if sent { Ok(()) } else { Err(gone(self.rank)) }
    }

    fn receive(&mut self, from: usize, tag: Tag) -> Result<Bytes, Error> {
        loop {
            if let Some(message) = self.take(from, tag)? {
                return Ok(message);
            }
            let letter = self.incoming.recv().map_err(|_| gone(self.rank))?;
            self.sort(letter);
        }
    }

    fn try_receive(&mut self, from: usize, tag: Tag) -> Result<Option<Bytes>, Error> {
        while let Ok(letter) = self.incoming.try_recv() {
            self.sort(letter);
        }
        self.take(from, tag)
    }
}

impl Drop for Mpi {
    fn drop(&mut self) {
        self.outgoing = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has ended, which is all that is wanted.
            let _ = thread.join();
        }
    }
}

/// What the thread that speaks MPI works with.
struct Carrier {
    world: SimpleCommunicator,
    outgoing: Receiver<Letter>,
    arrived: Sender<Letter>,
    /// The first parts of messages whose last part is still to come.
    parts: HashMap<(usize, Tag), Vec<u8>>,
}

impl Carrier {
    /// Carries letters until nobody sends any more, here and everywhere.
    fn run(mut self) {
        let others = self.world.size() as usize - 1;
        let mut num_gone = 0;
        loop {
            let first = match self.outgoing.recv_timeout(IDLE) {
                Ok(letter) => Some(letter),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let letters: Vec<_> = first.into_iter().chain(self.outgoing.try_iter()).collect();
            num_gone += self.exchange(&letters);
        }
        let own = self.world.rank() as usize;
        let all = (0..=others).filter(|other| *other != own);
        let last = all.map(|other| Letter { other, tag: GOODBYE, message: Bytes::new() });
        num_gone += self.exchange(&last.collect::<Vec<_>>());
        while num_gone < others {
            let (message, status) = self.world.any_process().matched_probe();
            num_gone += usize::from(self.take(message, status));
        }
    }

    /// Sends letters and takes what comes; returns how many of the others said goodbye.
    fn exchange(&mut self, letters: &[Letter]) -> usize {
        mpi::request::scope(|scope| {
            let mut pending = Vec::new();
            for letter in letters {
                start(&self.world, letter, scope, &mut pending);
            }
            let mut num_gone = 0;
            loop {
                let mut is_quiet = true;
                while let Some(found) = self.world.any_process().immediate_matched_probe() {
                    num_gone += usize::from(self.take(found.0, found.1));
                    is_quiet = false;
                }
                let still: Vec<_> = pending.into_iter().filter_map(|r| r.test().err()).collect();
                if still.is_empty() {
                    return num_gone;
                }
                pending = still;
                if is_quiet {
                    std::thread::yield_now();
                }
            }
        })
    }

    /// Takes a part of a message; returns whether it was a goodbye.
    fn take(&mut self, message: Message, status: Status) -> bool {
        let len = status.count(u8::equivalent_datatype()).max(0) as usize;
        let mut part = vec![0_u8; len];
        message.matched_receive_into(&mut part[..]);
        let (other, tag) = (status.source_rank() as usize, Tag(status.tag() as u16));
        let is_goodbye = tag == GOODBYE;
        let mut whole = self.parts.remove(&(other, tag)).unwrap_or_default();
        if whole.is_empty() {
            whole = part;
        } else {
            whole.extend_from_slice(&part);
        }
        if len == PART {
            self.parts.insert((other, tag), whole);
        } else {
            // Nobody may be listening any more.
            let _ = self.arrived.send(Letter { other, tag, message: whole.into() });
        }
        is_goodbye
    }
}

/// Starts to send a letter, in parts.
fn start<'a, 's>(
    world: &SimpleCommunicator,
    letter: &'a Letter,
    scope: &'s LocalScope<'a>,
    pending: &mut Vec<Request<'a, [u8], &'s LocalScope<'a>>>,
) {
    let process = world.process_at_rank(letter.other as i32);
    let mut rest: &'a [u8] = &letter.message;
    loop {
        let (part, next) = rest.split_at(rest.len().min(PART));
        pending.push(process.immediate_send_with_tag(scope, part, i32::from(letter.tag.0)));
        if part.len() < PART {
            return;
        }
        rest = next;
    }
}
