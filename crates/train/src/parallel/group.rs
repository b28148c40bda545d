//! Processes that are threads of this one.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{Collective, Tag, gone};
use crate::Error;

/// Makes members of a group that lives in one process, each for a thread of its own.
#[derive(Clone, Copy, Debug)]
pub struct Group;

impl Group {
    /// Returns the members of a group, in the order of ranks.
    #[expect(clippy::new_ret_no_self, reason = "a group is its members")]
    pub fn new(world: usize) -> Vec<Member> {
        let post = Post { letters: HashMap::new(), is_gone: vec![false; world] };
        let shared = Arc::new(Shared { post: Mutex::new(post), changed: Condvar::new() });
        (0..world).map(|rank| Member { rank, world, shared: Arc::clone(&shared) }).collect()
    }
}

/// One member of a [`Group`]. To the others it is gone once it is dropped.
#[derive(Debug)]
pub struct Member {
    rank: usize,
    world: usize,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    post: Mutex<Post>,
    changed: Condvar,
}

#[derive(Debug)]
struct Post {
    /// By sender, receiver and tag.
    letters: HashMap<(usize, usize, Tag), VecDeque<Bytes>>,
    is_gone: Vec<bool>,
}

impl Shared {
    fn post(&self) -> MutexGuard<'_, Post> {
        // A member that panicked is gone; the letters are whole.
        self.post.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Post {
    /// Takes a letter; fails if none can come any more.
    fn take(&mut self, from: usize, to: usize, tag: Tag) -> Result<Option<Bytes>, Error> {
        if let Some(letter) = self.letters.get_mut(&(from, to, tag)).and_then(VecDeque::pop_front) {
            return Ok(Some(letter));
        }
        self.check(from).map(|()| None)
    }

    fn check(&self, other: usize) -> Result<(), Error> {
        match self.is_gone.get(other) {
            Some(false) => Ok(()),
            Some(true) => Err(gone(other)),
            None => {
                let reason = format!("there is no process {other} of {}", self.is_gone.len());
                Err(Error::Collective { reason })
            }
        }
    }
}

impl Collective for Member {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world(&self) -> usize {
        self.world
    }

    fn send(&mut self, to: usize, tag: Tag, message: Bytes) -> Result<(), Error> {
        let mut post = self.shared.post();
        post.check(to)?;
        post.letters.entry((self.rank, to, tag)).or_default().push_back(message);
        self.shared.changed.notify_all();
        Ok(())
    }

    fn receive(&mut self, from: usize, tag: Tag) -> Result<Bytes, Error> {
        let mut post = self.shared.post();
        loop {
            if let Some(letter) = post.take(from, self.rank, tag)? {
                return Ok(letter);
            }
            post = self.shared.changed.wait(post).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn try_receive(&mut self, from: usize, tag: Tag) -> Result<Option<Bytes>, Error> {
        self.shared.post().take(from, self.rank, tag)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut post = self.shared.post();
        if let Some(is_gone) = post.is_gone.get_mut(self.rank) {
            *is_gone = true;
        }
        self.shared.changed.notify_all();
    }
}
