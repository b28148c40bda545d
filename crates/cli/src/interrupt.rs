//! Ctrl-C: the first one ends the generation, the next one the program.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use engine::CancelToken;

/// Exit code of a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// What Ctrl-C ends; nothing while no generation runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt {
    current: Arc<Mutex<Option<CancelToken>>>,
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
        let token = CancelToken::new();
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
        token
    }

    /// Lets the next Ctrl-C end the program.
    pub(crate) fn disarm(&self) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    #[allow(clippy::exit, reason = "the user asked twice, or nothing is running that could stop")]
    fn interrupt(&self) {
        match self.current.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(token) => token.cancel(),
            None => std::process::exit(INTERRUPTED),
        }
    }
}
