//! Ctrl-C: the first one ends the generation, the next one the program.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use engine::CancelToken;

use crate::output;

/// Exit code of a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// What Ctrl-C ends; nothing while no generation runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt {
    current: Arc<Mutex<Option<Armed>>>,
}

/// What one Ctrl-C does.
#[derive(Debug)]
struct Armed {
    token: CancelToken,
    /// What is said then.
    note: Option<&'static str>,
}

impl Interrupt {
    /// Takes over Ctrl-C.
    ///
    /// # Errors
    /// If the system does not allow it.
    pub(crate) fn install() -> Result<Self> {
        let interrupt = Self::default();
        let handler = interrupt.clone();
        ctrlc::set_handler(move || handler.interrupt()).context("cannot handle Ctrl-C")?;
        Ok(interrupt)
    }

    /// Returns a token that the next Ctrl-C cancels.
    pub(crate) fn arm(&self) -> CancelToken {
        self.put(None)
    }

    /// Returns a token that the next Ctrl-C cancels, saying so.
    pub(crate) fn arm_with(&self, note: &'static str) -> CancelToken {
        self.put(Some(note))
    }

    fn put(&self, note: Option<&'static str>) -> CancelToken {
        let token = CancelToken::new();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Some(Armed { token: token.clone(), note });
        token
    }

    /// Lets the next Ctrl-C end the program.
    pub(crate) fn disarm(&self) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    #[allow(clippy::exit, reason = "the user asked twice, or nothing is running that could stop")]
    fn interrupt(&self) {
        match self.current.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(Armed { token, note }) => {
                token.cancel();
                if let Some(note) = note {
                    output::note(note);
                }
            }
            None => std::process::exit(INTERRUPTED),
        }
    }
}
