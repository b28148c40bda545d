//! Threads that wait for work without sleeping at once.
//!
//! A model is thousands of short parallel loops, one after the other, with little between them.
//! Threads that fall asleep after every loop cost more to wake than many a loop takes, so these
//! look for the next one for a while first. A loop is open for threads to join until it has no
//! tasks left; whoever comes late does not hold it up. One loop runs at a time: another that is
//! started meanwhile, in a task or by another thread of the program, runs on the thread that
//! started it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a thread looks for work before it sleeps.
const PATIENCE: Duration = Duration::from_micros(150);
/// Looks between two looks at the clock.
const LOOKS: usize = 32;

/// The state of the pool: how often a loop was opened, whether one is open, how many threads may
/// join it still, how many are in it.
const OPENINGS: u32 = 32;
const OPEN: u64 = 1 << 31;
const SEAT: u64 = 1 << 15;
const SEATS: u64 = OPEN - SEAT;
const JOINED: u64 = SEAT - 1;

/// The most threads that a loop is given.
const MAX_THREADS: usize = 1 << 10;

/// Threads that were asked for; zero for as many as there are processors.
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Threads that the loops of this thread are limited to; zero for no limit.
    static LIMIT: Cell<usize> = const { Cell::new(0) };
}

static PROCESSORS: OnceLock<usize> = OnceLock::new();

/// Returns how many threads a loop that this thread starts runs on.
pub fn num_threads() -> usize {
    let limit = LIMIT.get();
    if limit > 0 {
        return limit;
    }
    match THREADS.load(Ordering::Relaxed) {
        0 => *PROCESSORS.get_or_init(|| {
            thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS)
        }),
        threads => threads,
    }
}

/// Sets how many threads loops run on from now on; zero for as many as there are processors.
pub fn set_num_threads(threads: usize) {
    THREADS.store(threads.min(MAX_THREADS), Ordering::Relaxed);
}

/// Runs `work`, whose loops on this thread use so many threads, at least one.
pub fn with_num_threads<T>(threads: usize, work: impl FnOnce() -> T) -> T {
    struct Restore(usize);
    impl Drop for Restore {
        fn drop(&mut self) {
            LIMIT.set(self.0);
        }
    }
    let _restore = Restore(LIMIT.replace(threads.clamp(1, MAX_THREADS)));
    work()
}

/// A loop: `work` for every number below `tasks`.
struct Loop<'a> {
    work: &'a (dyn Fn(usize) + Sync),
    tasks: usize,
    next: AtomicUsize,
    panic: Mutex<Option<Box<dyn std::any::Any + Send>>>,
}

impl Loop<'_> {
    /// Takes tasks until there are none left.
    fn take_part(&self) {
        let run = || {
            loop {
                let task = self.next.fetch_add(1, Ordering::Relaxed);
                if task >= self.tasks {
                    break;
                }
                (self.work)(task);
            }
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
            // The others need not begin anything more.
            self.next.store(self.tasks, Ordering::Relaxed);
            lock(&self.panic).get_or_insert(panic);
        }
    }
}

struct Pool {
    state: AtomicU64,
    /// The loop that is open.
    current: AtomicPtr<Loop<'static>>,
    /// Whether somebody runs a loop.
    is_taken: AtomicBool,
    /// Threads that were started.
    started: AtomicUsize,
    /// Threads that sleep, and what they sleep on.
    asleep: AtomicUsize,
    bed: Mutex<()>,
    bell: Condvar,
}

static POOL: Pool = Pool {
    state: AtomicU64::new(0),
    current: AtomicPtr::new(ptr::null_mut()),
    is_taken: AtomicBool::new(false),
    started: AtomicUsize::new(0),
    asleep: AtomicUsize::new(0),
    bed: Mutex::new(()),
    bell: Condvar::new(),
};

/// Runs `work` for every number below `tasks`, on this thread and others, in any order.
///
/// # Panics
/// With the panic of a task, once no other task runs any more.
pub(crate) fn run(tasks: usize, work: &(dyn Fn(usize) + Sync)) {
    let others = num_threads().min(tasks).saturating_sub(1);
    if others == 0 || POOL.is_taken.swap(true, Ordering::Acquire) {
        for task in 0..tasks {
            work(task);
        }
        return;
    }
    let job = Loop { work, tasks, next: AtomicUsize::new(0), panic: Mutex::new(None) };
    POOL.start(others);
    POOL.open(&job, others);
    // It does not unwind: panics are caught where they occur.
    job.take_part();
    POOL.close();
    POOL.is_taken.store(false, Ordering::Release);
    let panic = lock(&job.panic).take();
    if let Some(panic) = panic {
        resume_unwind(panic);
    }
}

impl Pool {
    /// Starts threads until there are so many; with fewer, if the system has no more, all goes on.
    fn start(&'static self, wanted: usize) {
        let started = self.started.load(Ordering::Relaxed);
        for index in started..wanted {
            let name = format!("kernels-{index}");
            if thread::Builder::new().name(name).spawn(|| self.serve()).is_err() {
                return;
            }
            self.started.store(index + 1, Ordering::Relaxed);
        }
    }

    /// Lets threads join a loop. The caller has the pool to itself.
    fn open(&self, job: &Loop<'_>, seats: usize) {
        self.current.store(ptr::from_ref(job).cast_mut().cast(), Ordering::Relaxed);
        // Nobody changes the state of a pool that is closed and empty.
        let openings = (self.state.load(Ordering::Relaxed) >> OPENINGS).wrapping_add(1);
        let state = (openings << OPENINGS) | OPEN | (seats as u64 * SEAT);
        // In one order with `asleep`: either this sees who sleeps, or who goes to sleep sees this.
        self.state.store(state, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) > 0 {
            drop(lock(&self.bed));
            self.bell.notify_all();
        }
    }

    /// Lets nobody join any more, and waits for those that have.
    fn close(&self) {
        self.state.fetch_and(!(OPEN | SEATS), Ordering::Relaxed);
        let mut looks = 0;
        while self.state.load(Ordering::Acquire) & JOINED != 0 {
            looks += 1;
            if looks < 64 * LOOKS {
                std::hint::spin_loop();
            } else {
                // Somebody in the middle of a task has lost its processor.
                thread::yield_now();
            }
        }
    }

    /// What a thread does all its life.
    fn serve(&self) {
        let mut seen = 0;
        loop {
            let state = self.wait(seen);
            let joined = (state & JOINED) + 1;
            let after = (state & !JOINED | joined) - SEAT;
            if self
                .state
                .compare_exchange(state, after, Ordering::Acquire, Ordering::Relaxed)
                .is_err()
            {
                continue;
            }
            seen = state >> OPENINGS;
            let job = self.current.load(Ordering::Relaxed);
            // SAFETY: the loop was open when this thread joined, so whoever opened it waits in
            // `close` until the thread has left; until then the loop is alive, and it is shared
            // by reference alone.
            unsafe { &*job }.take_part();
            self.state.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits for a loop other than the last one seen that has a seat left; returns the state.
    fn wait(&self, seen: u64) -> u64 {
        let is_new =
            |state: u64| state & OPEN != 0 && state & SEATS != 0 && state >> OPENINGS != seen;
        let mut start = None;
        loop {
            for _ in 0..LOOKS {
                let state = self.state.load(Ordering::Acquire);
                if is_new(state) {
                    return state;
                }
                std::hint::spin_loop();
            }
            if start.get_or_insert_with(Instant::now).elapsed() < PATIENCE {
                continue;
            }
            let mut bed = lock(&self.bed);
            self.asleep.fetch_add(1, Ordering::SeqCst);
            while !is_new(self.state.load(Ordering::SeqCst)) {
                bed = self.bell.wait(bed).unwrap_or_else(PoisonError::into_inner);
            }
            self.asleep.fetch_sub(1, Ordering::SeqCst);
            start = None;
        }
    }
}

/// Nothing is left half done under these locks, so a panic leaves nothing to repair.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_whoever_starts_loops_meanwhile() {
        let start = |seed: usize| {
            for round in 0..300 {
                let tasks = (seed * 31 + round * 7) % 50;
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                with_num_threads(1 + (seed + round) % 5, || {
                    run(tasks, &|task| {
                        counts[task].fetch_add(1, Ordering::Relaxed);
                        // A loop in a task.
                        let inner = AtomicUsize::new(0);
                        run(3, &|_| {
                            inner.fetch_add(1, Ordering::Relaxed);
                        });
                        assert_eq!(inner.into_inner(), 3);
                    });
                });
                assert!(counts.into_iter().all(|count| count.into_inner() == 1));
                if round % 50 == 0 {
                    // Threads fall asleep when nobody gives them work, and must wake again.
                    while POOL.started.load(Ordering::Relaxed) > 0
                        && POOL.asleep.load(Ordering::Relaxed) == 0
                    {
                        thread::yield_now();
                    }
                }
            }
        };
        thread::scope(|scope| {
            for seed in 0..4 {
                scope.spawn(move || start(seed));
            }
        });
    }

    #[test]
    fn many_small_tasks_run_once_each() {
        let counts: Vec<AtomicUsize> = (0..100_000).map(|_| AtomicUsize::new(0)).collect();
        // Not at once while another test has the threads.
        while POOL.is_taken.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        with_num_threads(4, || {
            run(counts.len(), &|task| {
                counts[task].fetch_add(1, Ordering::Relaxed);
            });
        });
        assert!(counts.into_iter().all(|count| count.into_inner() == 1));
    }

    #[test]
    fn threads_that_sleep_are_woken_to_take_part() {
        let limit = Duration::from_secs(20);
        let start = Instant::now();
        let is_shared = || {
            while POOL.started.load(Ordering::Relaxed) > 0
                && POOL.asleep.load(Ordering::Relaxed) < POOL.started.load(Ordering::Relaxed)
                && start.elapsed() < limit
            {
                thread::yield_now();
            }
            // Each task waits for the other, for a while: another test may have the threads.
            let present = AtomicUsize::new(0);
            let met = AtomicUsize::new(0);
            with_num_threads(2, || {
                run(2, &|_| {
                    present.fetch_add(1, Ordering::SeqCst);
                    let start = Instant::now();
                    while start.elapsed() < limit / 40 && present.load(Ordering::SeqCst) < 2 {
                        thread::yield_now();
                    }
                    met.fetch_add(present.load(Ordering::SeqCst) / 2, Ordering::SeqCst);
                });
            });
            met.into_inner() == 2
        };
        let mut is_met = is_shared();
        while !is_met && start.elapsed() < limit {
            is_met = is_shared();
        }
        assert!(is_met, "no thread woke up within {limit:?}");
    }

    #[test]
    fn a_panic_comes_back_to_who_started_the_loop_and_the_pool_goes_on() {
        for round in 0..20 {
            let result = catch_unwind(|| {
                with_num_threads(4, || run(40, &|task| assert!(task != round, "task {task}")));
            });
            let panic = result.unwrap_err();
            assert_eq!(panic.downcast_ref::<String>(), Some(&format!("task {round}")));
            let sum = AtomicUsize::new(0);
            with_num_threads(4, || {
                run(10, &|task| {
                    sum.fetch_add(task, Ordering::Relaxed);
                });
            });
            assert_eq!(sum.into_inner(), 45);
        }
    }

    #[test]
    fn limits_hold_for_the_thread_that_sets_them() {
        let all = num_threads();
        with_num_threads(3, || {
            assert_eq!(num_threads(), 3);
            with_num_threads(0, || assert_eq!(num_threads(), 1));
            assert_eq!(num_threads(), 3);
            assert_eq!(thread::spawn(num_threads).join().unwrap(), all);
        });
        assert_eq!(num_threads(), all);
    }
}
