//! Progress over benchmarks, on standard error.

use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::time::Instant;

use engine::CancelToken;
use eval::run::{Asked, Observer, Prediction};
use indicatif::{HumanDuration, ProgressBar};

use crate::{output, progress};

/// Two bars: the benchmark's and that of all of them.
#[derive(Debug)]
pub(super) struct Watch {
    cancel: CancelToken,
    start: Instant,
    /// Questions of all benchmarks.
    total: usize,
    done: Cell<usize>,
    asked: Cell<usize>,
    bar: RefCell<Option<ProgressBar>>,
    name: RefCell<String>,
}

impl Watch {
    pub(super) fn new(total: usize, cancel: CancelToken) -> Self {
        Self {
            cancel,
            start: Instant::now(),
            total,
            done: Cell::new(0),
            asked: Cell::new(0),
            bar: RefCell::new(None),
            name: RefCell::new(String::new()),
        }
    }

    /// Says how a benchmark went.
    pub(super) fn end_benchmark(&self, name: &str, asked: &Asked) {
        self.finish();
        let mut line = format!("{name}: {} answers", asked.asked);
        // Writing to a string cannot fail.
        if asked.known > 0 {
            let _ = write!(line, ", {} known before", asked.known);
        }
        if asked.failed > 0 {
            let _ = write!(line, ", {} failed (the same command asks them again)", asked.failed);
        }
        if asked.asked > 0 && asked.seconds > 0.0 {
            let seconds = asked.seconds;
            let (rate, tokens) = (asked.asked as f64 / seconds, asked.new_tokens as f64 / seconds);
            let _ = write!(line, ", {seconds:.1} s, {rate:.2} answers/s, {tokens:.1} tokens/s");
        }
        output::note(&line);
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Returns how far all benchmarks are, and how long they will take.
    fn message(&self) -> String {
        let (done, asked) = (self.done.get(), self.asked.get());
        let left = self.total.saturating_sub(done);
        let rest = if asked > 0 {
            let rest = self.start.elapsed().mul_f64(left as f64 / asked as f64);
            format!(", {} left", HumanDuration(rest))
        } else {
            String::new()
        };
        format!("{} (all: {done}/{}{rest})", self.name.borrow(), self.total)
    }
}

impl Observer for Watch {
    fn begin(&self, benchmark: &str, total: usize, answered: usize) {
        benchmark.clone_into(&mut self.name.borrow_mut());
        self.done.set(self.done.get() + answered);
        let bar = progress::things(benchmark, total as u64);
        bar.set_position(answered as u64);
        bar.set_message(self.message());
        // What was known before took no time.
        bar.reset_eta();
        *self.bar.borrow_mut() = Some(bar);
    }

    fn advance(&self, prediction: &Prediction) {
        if let Some(problem) = &prediction.error {
            let name = self.name.borrow();
            let note = format!("{name}, question {}, {problem}", prediction.index);
            match &*self.bar.borrow() {
                Some(bar) => bar.suspend(|| output::note(&note)),
                None => output::note(&note),
            }
        }
        self.done.set(self.done.get() + 1);
        self.asked.set(self.asked.get() + 1);
        if let Some(bar) = &*self.bar.borrow() {
            bar.inc(1);
            bar.set_message(self.message());
        }
    }

    fn is_interrupted(&self) -> bool {
        self.cancel.is_cancelled()
    }
}
