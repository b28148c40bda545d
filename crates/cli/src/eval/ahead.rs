//! Images that are made ready while the model is busy with others.
//!
//! Reading, decoding and resizing a photograph takes a processor longer than a graphics card takes
//! to look at it. Invariant: at most [`AHEAD`] questions' images are ready and not taken.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use eval::Error;
use eval::run::Job;

/// The images of how many questions are made ready before they are wanted.
const AHEAD: usize = 16;
/// More threads than this would wait for each other or for the file.
const MOST_THREADS: usize = 4;

/// A job's images: pixel values by the image's number; the inner error is the images' own.
pub(super) type Ready = Result<Result<Vec<(usize, Vec<f32>)>, String>, Error>;

/// The images of jobs that are answered in their order.
pub(super) struct Ahead<'j> {
    /// The jobs that look at other images than the one before, with their places.
    jobs: Vec<(usize, &'j Job)>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Which of the jobs a thread takes next.
    next: usize,
    /// Which of them is taken next at the earliest.
    wanted: usize,
    ready: BTreeMap<usize, Ready>,
    stopped: bool,
}

/// Ends the threads when it goes, for whatever reason.
pub(super) struct StopAtEnd<'a, 'j>(pub(super) &'a Ahead<'j>);

impl Drop for StopAtEnd<'_, '_> {
    fn drop(&mut self) {
        self.0.lock().stopped = true;
        self.0.changed.notify_all();
    }
}

/// Ends the waiting for a thread that panics: what it was to make is made by who wants it.
struct StopAtPanic<'a, 'j>(&'a Ahead<'j>);

impl Drop for StopAtPanic<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            drop(StopAtEnd(self.0));
        }
    }
}

impl<'j> Ahead<'j> {
    pub(super) fn new(jobs: &'j [Job]) -> Self {
        let is_other = |at: usize| at == 0 || jobs[at].image_key != jobs[at - 1].image_key;
        let jobs = jobs.iter().enumerate().filter(|(at, _)| is_other(*at)).collect();
        Self { jobs, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Returns how many threads are worth it.
    pub(super) fn num_threads(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        (cores / 2).clamp(1, MOST_THREADS).min(self.jobs.len())
    }

    /// Makes images ready until there are no more, or [`StopAtEnd`] goes.
    pub(super) fn work(&self, prepare: &(dyn Fn(&Job) -> Ready + Sync)) {
        let _guard = StopAtPanic(self);
        while let Some(at) = self.next() {
            let ready = prepare(self.jobs[at].1);
            let mut state = self.lock();
            if at >= state.wanted {
                state.ready.insert(at, ready);
            }
            drop(state);
            self.changed.notify_all();
        }
    }

    fn next(&self) -> Option<usize> {
        let mut state = self.lock();
        while !state.stopped && state.next < self.jobs.len() {
            if state.next < state.wanted + AHEAD {
                state.next += 1;
                return Some(state.next - 1);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    /// Returns the images of a job, none if nobody makes them ready.
    pub(super) fn take(&self, job: usize) -> Option<Ready> {
        let at = self.jobs.binary_search_by_key(&job, |(at, _)| *at).ok()?;
        let mut state = self.lock();
        state.wanted = state.wanted.max(at);
        // What was passed over is not wanted any more.
        state.next = state.next.max(at);
        state.ready = state.ready.split_off(&at);
        self.changed.notify_all();
        loop {
            if let Some(ready) = state.ready.remove(&at) {
                state.wanted = at + 1;
                self.changed.notify_all();
                return Some(ready);
            }
            if state.stopped {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use eval::Form;

    use super::*;

    fn jobs(keys: &[&str]) -> Vec<Job> {
        let job = |(question, key): (usize, &&str)| Job {
            question,
            parts: Vec::new(),
            form: Form::Adapter,
            max_new_tokens: 1,
            image_key: (*key).to_owned(),
            upright: false,
        };
        keys.iter().enumerate().map(job).collect()
    }

    #[test]
    fn images_are_ready_once_in_order_and_not_too_many() {
        let keys: Vec<String> = (0..300).map(|at| (at / 2).to_string()).collect();
        let jobs = jobs(&keys.iter().map(String::as_str).collect::<Vec<_>>());
        let ahead = Ahead::new(&jobs);
        let (made, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let prepare = |job: &Job| {
            let made = made.fetch_add(1, Ordering::SeqCst) + 1;
            assert!(made <= taken.load(Ordering::SeqCst) + AHEAD + 2);
            Ok(Ok(vec![(job.question, Vec::new())]))
        };
        std::thread::scope(|scope| {
            let _stop = StopAtEnd(&ahead);
            (0..2).for_each(|_| drop(scope.spawn(|| ahead.work(&prepare))));
            for at in 0..jobs.len() {
                let found = ahead.take(at);
                assert_eq!(found.is_some(), at % 2 == 0, "{at}");
                if let Some(ready) = found {
                    assert_eq!(ready.unwrap().unwrap(), [(at, Vec::new())]);
                    taken.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        assert_eq!(made.into_inner(), 150);
    }

    #[test]
    fn what_is_passed_over_is_not_waited_for_and_a_stop_ends_the_waiting() {
        let keys: Vec<String> = (0..100).map(|at| at.to_string()).collect();
        let jobs = jobs(&keys.iter().map(String::as_str).collect::<Vec<_>>());
        let ahead = Ahead::new(&jobs);
        std::thread::scope(|scope| {
            let _stop = StopAtEnd(&ahead);
            scope.spawn(|| ahead.work(&|_| Ok(Err("broken".to_owned()))));
            assert!(matches!(ahead.take(90), Some(Ok(Err(_)))));
        });
        assert!(ahead.take(91).is_none_or(|ready| matches!(ready, Ok(Err(_)))));
        assert!(ahead.take(99).is_none_or(|ready| matches!(ready, Ok(Err(_)))));
    }
}
