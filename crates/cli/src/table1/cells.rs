//! The runs: each is trained, asked and probed by processes of this program, several at once, and
//! gone on with wherever it was stopped.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use engine::CancelToken;
use serde::{Deserialize, Serialize};

use crate::report::{Failure, Interrupted};

/// How often it is looked whether a process has ended.
const TICK: Duration = Duration::from_millis(100);
/// How long a process may take to stop, once it is asked to.
const PATIENCE: Duration = Duration::from_mins(2);

/// The longest answer: the world's are short.
pub(super) const MAX_NEW_TOKENS: &str = "48";

/// Where the files of one run are.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    /// The seed.
    pub(super) seed: u64,
    directory: PathBuf,
}

impl Cell {
    /// Returns the run of a row and a seed.
    pub(super) fn new(output: &Path, row: &str, seed: u64) -> Self {
        let directory = output.join("runs").join(row).join(format!("seed-{seed}"));
        Self { seed, directory }
    }

    pub(super) fn recipe(&self) -> PathBuf {
        self.directory.join("recipe.toml")
    }

    /// The directory of the training run.
    pub(super) fn trained(&self) -> PathBuf {
        self.directory.join("train")
    }

    /// The answers and their scores.
    pub(super) fn answers(&self) -> PathBuf {
        self.directory.join("eval")
    }

    pub(super) fn probe(&self) -> PathBuf {
        self.directory.join("probe.json")
    }

    fn log(&self) -> PathBuf {
        self.directory.join("log.txt")
    }

    fn done(&self, what: &str) -> PathBuf {
        self.directory.join(format!("{what}.done.json"))
    }

    /// Returns how long a part took, none if it is not finished.
    pub(super) fn finished(&self, what: &str) -> Option<Done> {
        serde_json::from_slice(&fs::read(self.done(what)).ok()?).ok()
    }

    /// Writes a file of the run.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn put(&self, path: &Path, text: &str) -> Result<()> {
        fs::create_dir_all(&self.directory)
            .with_context(|| format!("cannot make directory `{}`", self.directory.display()))?;
        put(path, text)
    }

    /// Does a part of the run, if it is not done yet.
    ///
    /// # Errors
    /// If it fails, or is interrupted.
    pub(super) fn part(&self, what: &str, work: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        if self.finished(what).is_some() {
            return Ok(());
        }
        let start = Instant::now();
        work(&self.log())?;
        // Of a part that was interrupted these are the seconds since it went on.
        let done = Done { seconds: start.elapsed().as_secs_f64() };
        self.put(&self.done(what), &(serde_json::to_string(&done)? + "\n"))
    }
}

/// A part of a run that is finished.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Done {
    /// How long it took.
    pub(super) seconds: f64,
}

/// Runs this program with arguments; what it says goes to the end of a file.
///
/// # Errors
/// If it fails, with the last lines that it said, or is interrupted.
pub(super) fn call(arguments: &[String], log: &Path, cancel: &CancelToken) -> Result<()> {
    if cancel.is_cancelled() {
        return Err(Interrupted.into());
    }
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make directory `{}`", folder.display()))?;
    }
    let open = || -> Result<File> {
        let file = OpenOptions::new().create(true).append(true).open(log);
        file.with_context(|| format!("cannot write `{}`", log.display()))
    };
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(open()?).stderr(open()?);
    let mut child = apart(&mut command).spawn().context("cannot start this program once more")?;
    let mut asked = None;
    let status = loop {
        if let Some(status) = child.try_wait().context("cannot wait for a process")? {
            break status;
        }
        if cancel.is_cancelled() {
            // Training goes on from the checkpoint that it writes now, asking after its last answer.
            let since: &Instant = asked.get_or_insert_with(|| {
                interrupt(&child);
                Instant::now()
            });
            if since.elapsed() > PATIENCE {
                child.kill().context("cannot end a process")?;
            }
        }
        std::thread::park_timeout(TICK);
    };
    outcome(status, arguments, (log, cancel))
}

/// Lets a process be interrupted by this one alone. A terminal tells all of its group, and who is
/// told twice ends at once.
#[cfg(unix)]
fn apart(command: &mut Command) -> &mut Command {
    std::os::unix::process::CommandExt::process_group(command, 0)
}

/// Asks a process to end after what it is at.
#[cfg(unix)]
fn interrupt(child: &Child) {
    // If it has ended meanwhile, there is nobody to be asked.
    let _ = rustix::process::kill_process(
        rustix::process::Pid::from_child(child),
        rustix::process::Signal::INT,
    );
}

/// Elsewhere the terminal's interruption reaches every process.
#[cfg(not(unix))]
fn apart(command: &mut Command) -> &mut Command {
    command
}

#[cfg(not(unix))]
fn interrupt(_: &Child) {}

fn outcome(
    status: ExitStatus,
    arguments: &[String],
    (log, cancel): (&Path, &CancelToken),
) -> Result<()> {
    if cancel.is_cancelled() {
        return Err(Interrupted.into());
    }
    if status.success() {
        return Ok(());
    }
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(3).collect();
    let said: Vec<&str> = lines.into_iter().rev().collect();
    let message = format!("`aki {}` failed ({status}): {}", arguments.join(" "), said.join(" / "));
    let hint = format!("`{}` has all that it said; the same command goes on", log.display());
    Err(Failure::new(message).hint(hint).into())
}

/// Something to do, possibly after something else.
#[derive(Debug)]
pub(super) struct Task<T> {
    pub(super) what: T,
    /// The place of what has to be done before.
    pub(super) after: Option<usize>,
}

impl<T> Task<T> {
    /// Returns a task that waits for nothing.
    pub(super) fn free(what: T) -> Self {
        Self { what, after: None }
    }
}

/// Does every task, so many at once: the first of those that wait for nothing undone. The first
/// failure ends it after the tasks under way.
///
/// # Errors
/// If a task fails.
pub(super) fn all<T: Sync>(
    tasks: &[Task<T>],
    processes: usize,
    work: impl Fn(&T) -> Result<()> + Sync,
) -> Result<()> {
    let progress = Progress { states: vec![State::Waiting; tasks.len()], failure: None };
    let queue = Queue { tasks, progress: Mutex::new(progress), changed: Condvar::new() };
    std::thread::scope(|scope| {
        for _ in 0..processes.min(tasks.len()) {
            scope.spawn(|| {
                while let Some(turn) = queue.next() {
                    if let Err(error) = work(&tasks[turn.task].what) {
                        queue.progress().failure.get_or_insert(error);
                    }
                }
            });
        }
    });
    let failure = queue.progress().failure.take();
    failure.map_or(Ok(()), Err)
}

/// The tasks and how far they are.
struct Queue<'a, T> {
    tasks: &'a [Task<T>],
    progress: Mutex<Progress>,
    changed: Condvar,
}

struct Progress {
    /// Of each task.
    states: Vec<State>,
    /// The first.
    failure: Option<anyhow::Error>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Done,
}

impl<'a, T> Queue<'a, T> {
    /// Returns a task that can be begun, as soon as there is one; none if all are begun, or one has
    /// failed.
    fn next(&'a self) -> Option<Turn<'a, T>> {
        let mut progress = self.progress();
        loop {
            let Progress { states, failure } = &mut *progress;
            if failure.is_some() {
                return None;
            }
            let is_ready = |task: &usize| {
                let after = self.tasks[*task].after;
                states[*task] == State::Waiting
                    && after.is_none_or(|after| states[after] == State::Done)
            };
            if let Some(task) = (0..self.tasks.len()).find(is_ready) {
                states[task] = State::Running;
                return Some(Turn { queue: self, task });
            }
            if !states.contains(&State::Running) {
                return None;
            }
            progress = self.changed.wait(progress).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task under way; when it is dropped the task is done, and whoever waits for it looks again.
struct Turn<'a, T> {
    queue: &'a Queue<'a, T>,
    task: usize,
}

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        let mut progress = self.queue.progress();
        progress.states[self.task] = State::Done;
        if std::thread::panicking() {
            // Nothing is begun after what did not end; the panic itself goes on.
            progress.failure.get_or_insert(anyhow::anyhow!("a task ended too early"));
        }
        self.queue.changed.notify_all();
    }
}

/// Writes a file of which a kill leaves all or nothing.
///
/// # Errors
/// If it cannot be written.
pub(super) fn put(path: &Path, text: &str) -> Result<()> {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, text)
        .and_then(|()| fs::rename(&temporary, path))
        .with_context(|| format!("cannot write `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn a_part_that_is_done_is_not_done_again() {
        let dir = tempfile::tempdir().unwrap();
        let cell = Cell::new(dir.path(), "mma", 1);
        let failed = cell.part("train", |_| bail!("no"));
        assert!(failed.is_err() && cell.finished("train").is_none());
        cell.part("train", |_| Ok(())).unwrap();
        cell.part("train", |_| bail!("not again")).unwrap();
        assert!(cell.finished("train").is_some());
    }

    /// Tasks named by their places, of which some wait for others.
    fn tasks(after: &[Option<usize>]) -> Vec<Task<usize>> {
        after.iter().enumerate().map(|(what, after)| Task { what, after: *after }).collect()
    }

    #[test]
    fn after_a_failure_no_further_task_is_begun() {
        let done = Mutex::new(Vec::new());
        let result = all(&tasks(&[None; 4]), 1, |task| {
            done.lock().unwrap().push(*task);
            anyhow::ensure!(*task != 1, "task 1");
            Ok(())
        });
        assert_eq!(result.unwrap_err().to_string(), "task 1");
        assert_eq!(*done.lock().unwrap(), [0, 1]);
    }

    #[test]
    fn a_task_begins_when_what_it_waits_for_is_done_and_others_meanwhile() {
        let done = Mutex::new(Vec::new());
        let has_begun = (Mutex::new(false), Condvar::new());
        // The second and third wait for the last; the first ends when the fourth has begun.
        let waiting = tasks(&[None, Some(4), Some(1), None, None]);
        all(&waiting, 2, |task| {
            if *task == 3 {
                *has_begun.0.lock().unwrap() = true;
                has_begun.1.notify_all();
            }
            if *task == 0 {
                let begun = has_begun.0.lock().unwrap();
                let all_of = Duration::from_mins(1);
                let waited = has_begun.1.wait_timeout_while(begun, all_of, |it| !*it).unwrap();
                assert!(!waited.1.timed_out(), "nothing is done meanwhile");
            }
            done.lock().unwrap().push(*task);
            Ok(())
        })
        .unwrap();
        let done = done.lock().unwrap();
        let place = |task| done.iter().position(|it| *it == task).unwrap();
        assert_eq!(done.len(), 5);
        assert!(place(4) < place(1) && place(1) < place(2), "{done:?}");
    }

    #[test]
    fn nothing_is_begun_after_a_task_that_panicked_and_nobody_waits_for_it() {
        let begun = Mutex::new(Vec::new());
        let ended = std::thread::scope(|scope| {
            let run = || {
                all(&tasks(&[None, Some(0)]), 2, |task| {
                    begun.lock().unwrap().push(*task);
                    assert_ne!(*task, 0, "on purpose");
                    Ok(())
                })
            };
            scope.spawn(run).join().is_err()
        });
        assert!(ended, "the panic goes on");
        assert_eq!(*begun.lock().unwrap_or_else(PoisonError::into_inner), [0]);
    }
}
