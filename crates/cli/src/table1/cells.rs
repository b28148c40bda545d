//! The runs: each is trained, asked and probed by processes of this program, several at once, and
//! gone on with wherever it was stopped.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
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
        // Beside its place first: a kill leaves all of it or nothing.
        let temporary = path.with_extension("tmp");
        fs::write(&temporary, text)
            .and_then(|()| fs::rename(&temporary, path))
            .with_context(|| format!("cannot write `{}`", path.display()))
    }

    /// Does a part of the run, if it is not done yet.
    ///
    /// # Errors
    /// If it fails, or is interrupted.
    pub(super) fn part(&self, what: &str, work: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        self.part_after(what, 0.0, work)
    }

    /// Does a part that goes on with something, which took some seconds that are counted in.
    ///
    /// # Errors
    /// If it fails, or is interrupted.
    pub(super) fn part_after(
        &self,
        what: &str,
        seconds: f64,
        work: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        if self.finished(what).is_some() {
            return Ok(());
        }
        let start = Instant::now();
        work(&self.log())?;
        // Of a part that was interrupted these are the seconds since it went on.
        let done = Done { seconds: seconds + start.elapsed().as_secs_f64() };
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

/// Does every task, so many at once. The first failure ends it after the tasks under way.
///
/// # Errors
/// If a task fails.
pub(super) fn all<T: Sync>(
    tasks: &[T],
    processes: usize,
    work: impl Fn(&T) -> Result<()> + Sync,
) -> Result<()> {
    let next = Mutex::new((tasks.iter(), None));
    let lock = || next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    std::thread::scope(|scope| {
        for _ in 0..processes.min(tasks.len()) {
            let (lock, work) = (&lock, &work);
            scope.spawn(move || {
                loop {
                    let task = {
                        let mut next = lock();
                        if next.1.is_some() { None } else { next.0.next() }
                    };
                    let Some(task) = task else { break };
                    if let Err(error) = work(task) {
                        lock().1.get_or_insert(error);
                    }
                }
            });
        }
    });
    let failure = lock().1.take();
    failure.map_or(Ok(()), Err)
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

    #[test]
    fn after_a_failure_no_further_task_is_begun() {
        let done = Mutex::new(Vec::new());
        let result = all(&[1, 2, 3, 4], 1, |task| {
            done.lock().unwrap().push(*task);
            anyhow::ensure!(*task != 2, "task 2");
            Ok(())
        });
        assert_eq!(result.unwrap_err().to_string(), "task 2");
        assert_eq!(*done.lock().unwrap(), [1, 2]);
    }
}
